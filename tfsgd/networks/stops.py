"""The operations of a network that stop a derivative, found in its graph."""

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

# What `tf.reduce_logsumexp` takes off before and adds after; and zero derivatives that are right.
HARMLESS = ("logsumexp",)
STOPPING = (
    "StopGradient",
    "PreventGradient",
    "ResizeBilinear",
)  # a bilinear resize has a first derivative alone


def stops(network: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> list[str]:
    """Their names, such as `layer_normalization/moments/StopGradient`, outermost first."""
    spec = tf.TensorSpec([None, *images.shape[1:]], images.dtype)
    graph = tf.function(network).get_concrete_function(spec).graph.as_graph_def()
    return [
        node.name
        for node in _nodes(graph)
        if node.op in STOPPING and not any(name in node.name for name in HARMLESS)
    ]


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def
