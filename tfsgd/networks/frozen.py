"""Weights of a network that its Hessian does not see: frozen ones, and quantized ones."""

import math
from typing import Any

from tfsgd.networks.float64 import graph_of

QUANTIZED = ("int8", "uint8", "int4", "uint4")


def left_out(network: Any) -> int:
    """How many weights are not trainable, though a layer of their kind trains them: frozen, or quantized to integers.

    Statistics (BatchNorm's) and states (dropout's) are no weights. Of a SavedModel it is not known: 0.
    """
    graph = graph_of(network)
    if graph is None:
        return 0
    trained = {id(v) for v in graph.trainable_variables}
    fixed = {}
    for layer in graph._flatten_layers():
        for v in (*layer._trainable_variables, *layer._non_trainable_variables):
            made_to_train = any(v is other for other in layer._trainable_variables)
            if id(v) not in trained and (made_to_train or v.dtype in QUANTIZED):
                fixed[id(v)] = math.prod(v.shape)
    return sum(fixed.values())


def of_left_out(network: Any) -> str:
    """What a Hessian of the network leaves out, in a line; empty where that is nothing."""
    if not (fixed := left_out(network)):
        return ""
    seen = sum(math.prod(v.shape) for v in network.trainable_variables)
    return (
        f"the Hessian is that of {seen:,} of {seen + fixed:,} weights: the others are frozen or quantized. "
        "λ1 is at most that of all; set layer.trainable = True, or take the network before quantize()"
    )
