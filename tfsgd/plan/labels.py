"""What a block of a config may be called: its label is a column of tables and reports."""

BUILT_IN = ("train", "validation", "test", "confidence", "input_gradient", "hessian", "zero_gradients")


def label_problem(label: str, kind: str, shipped: list[str]) -> str:
    """Why a block may not have its label, in one line; empty: it may.

    Args:
        label: of an attack or a curvature measure.
        kind: which one it is, see `Request.name`.
        shipped: all kinds that come with tfsgd: under such a name a reader expects nothing else.
    """
    if label == "hessian":
        return "hessian: expected another label: λ1 has this one, and a block of its own"
    if label in BUILT_IN:
        return f"{label}: expected another label: what is measured on every network has this one"
    if label.lower() in shipped and label.lower() != kind:
        return f"{label}: expected another label: it is the name of another kind than {kind}"
    return ""
