"""What is compared: each row is the same work on both sides, with the goal for it."""

from dataclasses import dataclass, field
from typing import Any

from bench import flops

PARTS = (
    "path", "train", "profile", "fgsm", "pgd", "hessian", "curvature", "attacks", "shares", "trial", "sweep", "growth",
)  # fmt: skip
EPSILONS = (0.3, 0.1)
STEPS = 40
LOGITS_TOLERANCE = 1e-4  # of the two sides, before anything is timed
TOLERANCE = 1e-2  # on the residual of the top eigenvalue


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    part: str
    title: str
    job: str  # of both sides, unless `their_job` names another
    arguments: dict[str, Any]
    ours: dict[str, Any] = field(default_factory=dict)  # more arguments of our side
    theirs: dict[str, Any] | None = None  # their arguments, where they are others
    their_job: str | None = None
    goal: float | None = None  # theirs over ours
    flops: float = 0.0  # of the whole work; 0: not counted
    pairs: int = 3  # at most
    threads: tuple[str, ...] = ("one", "all")
    warm_up: bool = True
    shows: str | None = None  # the result that the table shows
    agree: float | None = None  # how closely the results must agree, relatively
    also: tuple[str, ...] = ()  # other results that the table shows


def rows() -> list[Row]:
    """All rows but the sweep, in the table's order."""
    return [*_path(), *_training(), *_fgsm(), *_pgd(), *_hessian(), *_curvature(), *_attacks()]


def _path() -> list[Row]:
    # The peer here is our own bare loop: at most 10 % more CPU time means a ratio of 1/1.1.
    arguments = {"model": "stdcnn", "batch_size": 64, "examples": 55_000}
    title = "StdCNN, b = 64: Keras fit against a bare in-graph loop"
    return [Row("path", title, "train", arguments, their_job="bare_loop", goal=0.91, threads=("one",))]


def _training() -> list[Row]:
    found = []
    for model, name, batch_size, examples, goal in (
        ("stdcnn", "StdCNN", 64, 25_600, 1.0),
        ("stdcnn", "StdCNN", 512, 25_600, 1.6),
        ("stdcnn", "StdCNN", 4_096, 24_576, 1.6),
        ("m1", "M1", 64, 3_200, 1.0),
        ("m1", "M1", 512, 4_096, 1.6),
        ("m1", "M1", 4_096, 8_192, 1.6),
        ("c1", "C1", 128, 1_280, None),
        ("resnet18", "ResNet18", 128, 256, None),
    ):
        arguments = {"model": model, "batch_size": batch_size, "examples": examples}
        title = f"train {name}, b = {batch_size}, {examples:,} images"
        work = flops.training(model) * examples
        found.append(Row("train", title, "train", arguments, goal=goal, flops=work))
    return found


def _fgsm() -> list[Row]:
    examples = 5_000
    work = examples * (flops.input_gradient("stdcnn") + flops.forward("stdcnn"))
    arguments = {"examples": examples, "epsilon": 0.1}
    return [
        Row(
            "fgsm", f"FGSM, epsilon 0.1, {examples:,} images", "fgsm", arguments,
            flops=work, shows="accuracy", agree=5e-3,
        )
    ]  # fmt: skip


def _pgd() -> list[Row]:
    found = []
    for early_stop in (False, True):
        for epsilon in EPSILONS if early_stop else EPSILONS[1:]:
            examples = 500
            how = "with our early stop" if early_stop else "equal work"
            goal = 1.3 if not early_stop else 4.0 if epsilon == 0.3 else None
            found.append(
                Row(
                    "pgd", f"PGD-{STEPS}, epsilon {epsilon:g}, {examples} images, {how}", "pgd",
                    {"examples": examples, "epsilon": epsilon, "steps": STEPS},
                    ours={"early_stop": early_stop}, goal=goal,
                    flops=0 if early_stop else flops.pgd("stdcnn", STEPS) * examples,
                    shows="accuracy",
                )
            )  # fmt: skip
    return found


def _hessian() -> list[Row]:
    examples = 5_000
    return [
        Row(
            "hessian", f"one Hessian-vector product, {examples:,} images", "hessian_product",
            {"examples": examples}, flops=flops.hessian_product("stdcnn") * examples,
            shows="curvature", agree=1e-3,
        ),
        Row(
            "hessian", f"λ1, {examples:,} images, residual {TOLERANCE:g}", "eigenvalue",
            {"examples": examples, "tolerance": TOLERANCE}, goal=1.8, pairs=2,
            shows="eigenvalue", agree=1e-3,
        ),
    ]  # fmt: skip


def _curvature() -> list[Row]:
    """The measures beside λ1; a library's own method, with as many products where it says how many."""
    examples = 1_000
    one: dict[str, Any] = {"threads": ("one",), "pairs": 1, "warm_up": False}

    def row(
        title: str, kind: str, settings: dict[str, Any], job: str, theirs: dict[str, Any], **how: Any
    ) -> Row:
        return Row(
            "curvature", f"{title}, {examples:,} images", "curvature",
            {"kind": kind, "examples": examples, "settings": settings},
            their_job=job, theirs={"examples": examples, **theirs}, **one, **how,
        )  # fmt: skip

    return [
        row("λ1, residual 0.01: curvlinops, eigsh", "top_eigenvalue", {}, "extremes",
            {"k": 1, "tolerance": 1e-2}, shows="value", also=("products",), agree=1e-2),
        row("5 largest and lowest: curvlinops, eigsh", "extremes", {"k": 5}, "extremes",
            {"k": 5, "tolerance": 1e-2}, shows="value", also=("lowest", "products"), agree=1e-2),
        row("trace, 60 products: PyHessian", "trace", {"probes": 60}, "trace",
            {"probes": 60}, shows="value", also=("error", "products")),
        row("density, 2 probes of 30 steps: PyHessian", "spectrum", {"probes": 2, "steps": 30}, "density",
            {"probes": 2, "steps": 30}, shows="largest", also=("products",), agree=2e-2),
    ]  # fmt: skip


def _attacks() -> list[Row]:
    """Accuracies on the same images and weights, with the same budget."""
    examples, epsilon = 500, 0.05
    found = []
    for library, kind, ours, settings, steps in (
        ("foolbox", "fgsm", "fgsm", {}, 1),
        ("art", "fgsm", "fgsm", {}, 1),
        ("foolbox", "pgd", "pgd", {}, STEPS),
        ("art", "pgd", "pgd", {}, STEPS),
        ("art", "apgd", "apgd", {}, 100),
        ("art", "apgd-dlr", "apgd", {"loss": "dlr"}, 100),
        ("art", "square", "square", {"queries": 500}, 500),
        ("foolbox", "noise", "noise", {}, 10),
        ("foolbox", "minimal", "minimal", {"steps": 100}, 100),
    ):
        radius = 0.5 if kind == "minimal" else epsilon
        names = {"foolbox": "Foolbox", "art": "ART"}
        title = f"{kind}, epsilon {radius:g}, {examples} images: {names[library]}, {steps} steps"
        found.append(
            Row(
                "attacks", title, "attack",
                {"kind": ours, "examples": examples, "epsilon": radius, "settings": settings},
                their_job=library,
                theirs={"kind": kind, "examples": examples, "epsilon": radius, "steps": steps},
                shows="median" if kind == "minimal" else "accuracy", threads=("one",), pairs=1, warm_up=False,
            )
        )  # fmt: skip
    return found
