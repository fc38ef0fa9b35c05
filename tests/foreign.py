"""Networks from elsewhere, made by plain Keras and TensorFlow, on small colour images that are not square."""

from pathlib import Path
from typing import Any

import foolbox as _foolbox
import keras
import numpy as np
import tensorflow as tf

foolbox: Any = _foolbox  # it exports its names without saying so
SHAPE = (8, 10, 3)
CLASSES = 3
TEST_IMAGES = 60


def letters() -> dict[str, Any]:
    """Images of three classes: which third of the width is brighter; noise over it. Keys as in an `.npz`."""
    rng = np.random.default_rng(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % CLASSES
        images = rng.integers(60, 160, (count, *SHAPE))
        for image, label in zip(images, labels, strict=True):
            image[:, 3 * label : 3 * label + 3] += 50
        return images.astype(np.uint8), labels

    (train, y), (validation, v), (test, t) = part(240), part(30), part(TEST_IMAGES)
    return {
        "train_images": train, "train_labels": y, "validation_images": validation, "validation_labels": v,
        "test_images": test, "test_labels": t, "title": "Letters",
    }  # fmt: skip


def network(*before: Any, shape: tuple[int, ...] = SHAPE, classes: int = CLASSES, seed: int = 0) -> Any:
    """A convolution, BatchNorm and a dense layer: 267 trainable parameters; logits out."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape), *before, layers.Conv2D(4, 3, strides=2), layers.BatchNormalization(momentum=0.8),
            layers.ReLU(), layers.Flatten(), layers.Dense(classes),
        ]
    )  # fmt: skip


def fitted(model: Any, images: np.ndarray, labels: np.ndarray) -> Any:
    """The model after a short training by Keras alone."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss)
    model.fit(images, labels, batch_size=40, epochs=6, verbose=0)
    return model


class Constants(tf.Module):
    """A network whose weights are constants: a SavedModel of it tells no variables."""

    def __init__(self, model: Any, noise: float = 0.0) -> None:
        super().__init__()
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
        whole = tf.function(lambda image: model(image, training=False), [spec])
        self._frozen = convert_variables_to_constants_v2(whole.get_concrete_function())
        self._noise = noise

    def serve(self, image: tf.Tensor) -> tf.Tensor:
        """Logits."""
        [logits] = self._frozen(image)
        return logits + self._noise * tf.random.uniform([])


def save_constants(model: Any, path: Path, noise: float = 0.0) -> None:
    """Writes a SavedModel without variables; with noise its outputs differ between two calls."""
    module = Constants(model, noise)
    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="image")
    serve = tf.function(module.serve, [spec])
    tf.saved_model.save(module, str(path), {"serving_default": serve.get_concrete_function()})


def dense_hessian(model: Any, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """H of the mean cross-entropy in inference mode, column by column, by TensorFlow's own `jacobian`."""
    variables = model.trainable_variables
    with tf.GradientTape(persistent=True) as outer:
        with tf.GradientTape() as inner:
            losses = keras.losses.sparse_categorical_crossentropy(
                labels, model(images, training=False), from_logits=True
            )
            loss = tf.reduce_mean(losses)
        gradient = tf.concat([tf.reshape(g, [-1]) for g in inner.gradient(loss, variables)], 0)
    blocks = outer.jacobian(gradient, variables, experimental_use_pfor=False)
    return np.concatenate([block.numpy().reshape(len(gradient), -1) for block in blocks], 1)
