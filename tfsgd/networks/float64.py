"""A Keras network in float64, beside the one it is: the same layers, and values in place of its variables."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

Tensors = Sequence[tf.Tensor]


def graph_of(network: Any) -> Any:
    """The Keras model that computes the network's logits, also in training mode; `None` of a SavedModel."""
    graph = getattr(network, "graph", network)
    return graph if isinstance(graph, keras.Model) else None


def has_half(network: keras.Model) -> bool:
    """Whether a layer computes with 16 bits."""
    return any(tf.as_dtype(layer.compute_dtype).size < 4 for layer in network._flatten_layers())


@contextmanager
def in_double(network: keras.Model) -> Iterator[None]:
    """While this lasts, the network's layers compute in float64; values are given by `with_values`."""
    layers = [
        one for layer in network._flatten_layers() for one in (layer, getattr(layer, "_functional", None))
    ]
    kept: list[tuple[Any, str, Any]] = []
    double = keras.DTypePolicy("float64")
    for layer in filter(None, layers):
        kept.append((layer, "_dtype_policy", layer._dtype_policy))
        # What a model casts its images to: its input tensors', and a sequential model's its input layer's.
        inputs = [*(getattr(layer, "_inputs", None) or ()), layer]
        kept += [(t, "_dtype", t._dtype) for t in inputs if _is_float(getattr(t, "_dtype", "bool"))]
    try:
        for owner, name, _ in kept:
            setattr(owner, name, double if name == "_dtype_policy" else "float64")
        yield
    finally:
        for owner, name, value in reversed(kept):
            setattr(owner, name, value)


@contextmanager
def with_values(network: keras.Model, variables: Sequence[Any], values: Tensors) -> Iterator[None]:
    """While this lasts, some variables have these values, and all others their own in float64; none is assigned to."""
    scope = keras.StatelessScope()  # what is given to it at once it casts to the variable's own precision
    scope.state_mapping.update(
        {id(v): tf.cast(v, "float64") for v in network.variables if _is_float(v.dtype)}
    )
    scope.state_mapping.update({id(v): value for v, value in zip(variables, values, strict=True)})
    with scope:
        yield


def _is_float(dtype: str) -> bool:
    return bool(tf.as_dtype(dtype).is_floating)
