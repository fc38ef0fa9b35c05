"""A network whose BatchNorm uses the statistics of the batch, with derivatives of every order.

In training mode TensorFlow's `tf.nn.moments` stops a gradient that the second derivative needs: the Hessian
is wrong without a sign of it. And a call in training mode changes running statistics and draws dropout's masks,
while a Hessian needs a function that stays what it is.
"""

from typing import Any

import keras
from keras import ops

from tfsgd.errors import RequestError


class TrainingMode:
    """Images of one batch to logits, with the batch's own moments; dropout stays off, statistics stay put.

    Args:
        network: a Keras model whose layers are a graph, functional or sequential; its weights are shared.

    Attributes:
        name: the network's.
        graph: a Keras model of its layers, but for its BatchNorm.
        trainable_variables: the network's, in its order.

    Raises:
        RequestError: it has statistics that cannot be reached.
    """

    def __init__(self, network: Any) -> None:
        self.name = network.name
        self.trainable_variables = network.trainable_variables
        if not getattr(network, "non_trainable_weights", ()):
            self.graph = network
            return
        try:
            graph = keras.Model(network.inputs, network.outputs)  # not compiled, as the clone would be too
            self.graph = keras.models.clone_model(graph, clone_function=_exact, recursive=True)
        except (ValueError, AttributeError, NotImplementedError):
            raise RequestError(
                f"mode: training: {network.name} is no functional or sequential model, so its BatchNorm layers "
                "cannot be reached; expected mode: inference"
            ) from None

    def __call__(self, images: Any, training: bool = False) -> Any:
        """Logits, `(N, classes)`, of all images together."""
        return self.graph(images, training=False)


class BatchMoments(keras.layers.Layer):
    """A BatchNormalization layer that always uses the moments of its input.

    Args:
        of: the layer whose scale, shift and epsilon it has.
    """

    def __init__(self, of: Any) -> None:
        super().__init__(name=of.name, dtype=of.dtype_policy)
        self.of = of

    def call(self, inputs: Any, mask: None = None) -> Any:
        """(x - mean) / √(variance + epsilon) · scale + shift, over all axes but the layer's own.

        As Keras's layer has it: in single precision where the network computes with 16 bits.
        """
        dtype = keras.backend.result_type(inputs.dtype, "float32")
        inputs = ops.cast(inputs, dtype)
        own = self.of.axis % len(inputs.shape)
        others = [axis for axis in range(len(inputs.shape)) if axis != own]
        centred = inputs - ops.mean(inputs, others, keepdims=True)
        found = centred * ops.rsqrt(ops.mean(ops.square(centred), others, keepdims=True) + self.of.epsilon)
        shape = [-1 if axis == own else 1 for axis in range(len(inputs.shape))]
        if self.of.scale:
            found = found * ops.cast(ops.reshape(self.of.gamma, shape), dtype)
        if self.of.center:
            found = found + ops.cast(ops.reshape(self.of.beta, shape), dtype)
        return ops.cast(found, self.compute_dtype)


def _exact(layer: Any) -> Any:
    """What stands for a layer: itself, unless it is a BatchNorm that trains."""
    if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable and not layer.renorm:
        return BatchMoments(layer)
    if layer.trainable and layer.non_trainable_weights:
        raise RequestError(
            f"mode: training: the layer {layer.name} has statistics of its own, and only those of a plain "
            "BatchNormalization can be taken from the batch; expected mode: inference"
        )
    return layer
