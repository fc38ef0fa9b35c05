"""The networks of Table 1 of the paper, as Keras models that return logits.

Each function below is one column of the table: it takes the image tensor and Keras's `layers`
module, and returns the logits. Keras is imported only when a network is built, so that names and
input shapes can be checked without TensorFlow.

To add a model, write its function and give it a line in `MODELS`. A model of one's own needs no line
here, see `tfsgd/plan/user_model.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def stdcnn(image: Any, layers: Any, classes: int) -> Any:
    """Conv(3,3,10) Conv(3,3,10) MP(2,2) Conv(3,3,20) Conv(3,3,20) MP(2,2) FC(50) Dropout(0.5) FC(10)."""
    x = layers.Conv2D(10, 3, activation="relu")(image)
    x = layers.Conv2D(10, 3, activation="relu")(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(20, 3, activation="relu")(x)
    x = layers.Conv2D(20, 3, activation="relu")(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(50, activation="relu")(x)
    x = layers.Dropout(0.5)(x)
    return layers.Dense(classes, name="logits")(x)


def m1(image: Any, layers: Any, classes: int) -> Any:
    """Conv(5,5,20) Conv(5,5,20) FC(500) FC(10)."""
    x = layers.Conv2D(20, 5, activation="relu")(image)
    x = layers.Conv2D(20, 5, activation="relu")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(500, activation="relu")(x)
    return layers.Dense(classes, name="logits")(x)


def c1(image: Any, layers: Any, classes: int) -> Any:
    """Conv(5,5,64) MP(3,3) BN Conv(5,5,64) MP(3,3) BN FC(384) FC(192) FC(10)."""
    x = layers.Conv2D(64, 5, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = _batch_norm(layers)(x)
    x = layers.Conv2D(64, 5, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = _batch_norm(layers)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(384, activation="relu")(x)
    x = layers.Dense(192, activation="relu")(x)
    return layers.Dense(classes, name="logits")(x)


def resnet18(image: Any, layers: Any, classes: int, width: int = 64) -> Any:
    """He et al. 2016, Section 4.2's form for 32x32 images with ResNet-18's eight basic blocks.

    A 3x3 stem without pooling, convolutions without bias, 1x1 projections with BatchNorm where
    the shape changes.
    """

    def conv(x: Any, filters: int, size: int, strides: int = 1) -> Any:
        x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False)(x)
        return _batch_norm(layers)(x)

    def basic_block(x: Any, filters: int, strides: int) -> Any:
        shortcut = x
        if strides != 1 or x.shape[-1] != filters:
            shortcut = conv(x, filters, 1, strides)
        y = layers.ReLU()(conv(x, filters, 3, strides))
        y = conv(y, filters, 3)
        return layers.ReLU()(layers.Add()([y, shortcut]))

    x = layers.ReLU()(conv(image, width, 3))
    for stage in range(4):
        x = basic_block(x, width * 2**stage, strides=1 if stage == 0 else 2)
        x = basic_block(x, width * 2**stage, strides=1)
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(classes, name="logits")(x)


def _batch_norm(layers: Any) -> Any:
    # PyTorch's 0.9 and 1e-5. Keras's default momentum of 0.99 would still hold 37 % of the start
    # values after 100 steps, which at large batch sizes would be read as an effect of the batch
    # size. Synchronized: on several replicas the statistics are those of the whole batch.
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=True)


@dataclass(frozen=True)
class Architecture:
    """A network and the only images that it takes."""

    body: Callable[..., Any]
    image_shape: tuple[int, int, int]  # (height, width, channels)
    title: str = ""  # for people

    def build(self, image_shape: tuple[int, int, int], classes: int) -> Any:
        """A `keras.Model` with fresh weights, from images of a shape to logits of so many classes."""
        import keras

        # The input is named: its default name depends on how many models the process has made.
        image = keras.Input(image_shape, name="image")
        return keras.Model(image, self.body(image, keras.layers, classes), name=self.body.__name__)

    def check(self, image_shape: tuple[int, int, int], classes: int) -> None:
        """Nothing to check: the shipped networks have tests, and a config says whether the images fit."""


MODELS = {
    "stdcnn": Architecture(stdcnn, (28, 28, 1), "StdCNN"),
    "m1": Architecture(m1, (28, 28, 1), "M1"),
    "c1": Architecture(c1, (32, 32, 3), "C1"),
    "resnet18": Architecture(resnet18, (32, 32, 3), "ResNet18"),
}


def build_model(name: str, classes: int = 10) -> Any:
    """Builds a network of Table 1 with fresh weights (Glorot uniform, zero bias).

    Args:
        name: a key of `MODELS`.
        classes: number of logits.

    Returns:
        A `keras.Model`: float32 images in [0, 1], shape `(N, height, width, channels)`, to
        logits, shape `(N, classes)`.
    """
    architecture = MODELS[name]
    return architecture.build(architecture.image_shape, classes)
