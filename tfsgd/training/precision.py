"""In which precision a network is trained; whatever is measured on it is measured in float32."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfsgd.plan.config import Experiment

CPUINFO = Path("/proc/cpuinfo")
UNITS = ("avx512_bf16", "amx_bf16")  # of a processor, that multiply bfloat16


def build_in(experiment: Experiment, precision: str) -> Any:
    """The experiment's network with fresh weights, which are float32 in either precision.

    In `bfloat16` all layers but the last compute in it, as under Keras's policy `mixed_bfloat16`
    (Micikevicius et al. 2018, Section 3: weights, sums and the loss stay in float32); the logits are float32.
    """
    network = experiment.build()
    if precision == "float32":
        return network
    last = network.layers[-1]

    def mixed(layer: Any) -> Any:
        config = layer.get_config()
        if layer is not last and not isinstance(layer, keras.layers.InputLayer):
            config["dtype"] = "mixed_bfloat16"
        return type(layer).from_config(config)

    twin = keras.models.clone_model(network, clone_function=mixed)
    twin.set_weights(network.get_weights())
    return twin


class Twin(keras.callbacks.Callback):
    """Keeps the float32 network, on which everything is measured, at the weights of the one that is trained.

    Args:
        network: that one, outside of any strategy.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def on_train_begin(self, logs: Any = None) -> None:
        self.network.set_weights(self.model.get_weights())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.network.set_weights(self.model.get_weights())


def is_slow_here() -> bool:
    """Whether nothing here multiplies bfloat16 faster than float32: no GPU, and a processor without such a unit."""
    try:
        flags = CPUINFO.read_text().split()
    except OSError:
        return False
    return not tf.config.list_physical_devices("GPU") and not set(UNITS) & set(flags)
