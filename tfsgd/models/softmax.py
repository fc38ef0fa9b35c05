"""A softmax at the end of a network: refused with the lines that take it off, or taken off."""

from typing import Any

from tfsgd.errors import RequestError

PROBABILITIES = ("softmax", "sigmoid")


def refuse_probabilities(model: Any, what: str) -> None:
    """Refuses a functional or `Sequential` network that ends in a softmax or in sigmoids, or in more than one place.

    Of other networks it cannot tell.

    Raises:
        RequestError: in one line.
    """
    if not getattr(model, "inputs", None):
        return
    output = getattr(model, "output", None)  # a Sequential network has none, and one output
    if isinstance(output, list | tuple | dict):
        found = "a dict of " * isinstance(output, dict) + f"{len(output)}"
        raise RequestError(
            f"{what}: expected one output, the logits, found {found}; make a network of the logits alone by "
            "keras.Model(model.inputs, LOGITS), with one of model.outputs for LOGITS"
        )
    path = _path_to_last(model)
    activation = _activation(path[-1])
    if activation in PROBABILITIES:
        raise RequestError(
            f"{what}: expected logits, found a {activation} in the last layer; attacks on its output see no "
            f"gradient, leave the {activation} out{_lines(path)}"
        )


def without_softmax(model: Any, what: str) -> Any:
    """The network without the softmax that it ends in; one that ends in none stays as it is.

    Raises:
        RequestError: the softmax is a layer of a network inside the network.
    """
    if not getattr(model, "inputs", None) or isinstance(getattr(model, "output", None), list | tuple | dict):
        return model
    path = _path_to_last(model)
    if _activation(path[-1]) != "softmax":
        return model
    if hasattr(path[-1], "activation"):
        import keras

        path[-1].activation = keras.activations.linear
        return model
    if len(path) > 1:
        raise RequestError(
            f"{what}: --strip-softmax: its softmax is a layer inside '{path[0].name}', where it cannot be taken off; "
            "build the network without it, load its weights, and save that"
        )
    import keras

    return keras.Model(model.inputs[0], path[-1].input, name=model.name)


def _path_to_last(model: Any) -> list[Any]:
    """The last operation, after the networks that it is inside of."""
    named = model.get_config().get("output_layers") or [model.layers[-1].name]
    while isinstance(named, list | tuple):
        named = named[0]
    last = next(o for o in getattr(model, "operations", model.layers) if o.name == named)
    return [last, *_path_to_last(last)] if getattr(last, "layers", None) else [last]


def _activation(last: Any) -> str:
    return str(getattr(getattr(last, "activation", None), "__name__", type(last).__name__)).lower()


def _lines(path: list[Any]) -> str:
    """The two lines that take it off; nothing where two do not."""
    get = "".join(f".get_layer({one.name!r})" for one in path)
    if hasattr(path[-1], "activation"):
        first = f"model{get}.activation = keras.activations.linear"
    elif len(path) == 1:
        first = "model = keras.Model(model.inputs[0], model.layers[-1].input)"
    else:
        return ""
    return f": {first}; model.save('logits.keras')"
