"""The last dense layer of a network: what it sees, and its weights."""

from typing import Any

import keras

from tfsgd.errors import RequestError
from tfsgd.networks.float64 import graph_of

PASSED = (
    "Dropout",
    "SpatialDropout2D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
)  # none at inference


def dense_end(network: Any) -> list[Any]:
    """The last dense layer, after the one before it where that feeds it through nothing but a ReLU and dropout.

    Raises:
        RequestError: the network does not end with a dense layer without an activation.
    """
    graph = graph_of(network)
    tensor = graph.outputs[0] if graph is not None and getattr(graph, "outputs", None) else None
    last = _made_by(tensor) if tensor is not None else None
    if not _is_dense(last, ("linear",)):
        name = getattr(network, "name", "the network")
        raise RequestError(
            f"measure: {name} does not end with a dense layer without an activation, of which this measure is; leave it out"
        )
    tensor = _input_of(tensor)
    while (layer := _made_by(tensor)) is not None and type(layer).__name__ in PASSED:
        tensor = _input_of(tensor)
    return [layer, last] if _is_dense(layer, ("linear", "relu")) else [last]


def features_of(network: Any) -> Any:
    """A model of the images whose outputs are what each layer of `dense_end` sees, in its order."""
    graph = graph_of(network)
    tensors: list[Any] = []
    tensor = graph.outputs[0]
    for _ in dense_end(network):
        while not _is_dense(_made_by(tensor), ("linear", "relu")):
            tensor = _input_of(tensor)
        tensor = _input_of(tensor)
        tensors.insert(0, tensor)
    return keras.Model(graph.inputs, tensors)


def _made_by(tensor: Any) -> Any:
    return tensor._keras_history.operation


def _input_of(tensor: Any) -> Any:
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index].input_tensors[0]


def _is_dense(layer: Any, activations: tuple[str, ...]) -> bool:
    return isinstance(layer, keras.layers.Dense) and layer.activation.__name__ in activations
