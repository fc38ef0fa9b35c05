"""What holds products of second derivatives to first derivatives: layer by layer, and on networks that are to pass."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfsgd
from tests.own import refusal
from tests.test_hessian import shrunk
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.networks import guard
from tfsgd.networks.derivatives import exact_derivatives
from tfsgd.networks.gauss_newton_product import GaussNewtonProduct
from tfsgd.networks.guard import LIMITS
from tfsgd.networks.hessian import HessianVectorProduct
from tfsgd.networks.input_hessian import InputProduct
from tfsgd.networks.load_network import load_network
from tfsgd.networks.operators import product_of

L = keras.layers
RNG = np.random.default_rng(1)
IMAGES, LABELS = RNG.random((6, 6, 6, 2), np.float32), RNG.integers(0, 3, 6)
PRODUCTS = (HessianVectorProduct, GaussNewtonProduct)


class Stopped(keras.layers.Layer):
    """x, and a derivative of half of it."""

    def call(self, x: Any) -> Any:
        return x * (0.5 + 0.5 * tf.stop_gradient(tf.tanh(x)))


class OwnMoments(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        mean, variance = keras.ops.moments(x, axes=[1, 2], keepdims=True)
        return (x - mean) / keras.ops.sqrt(variance + 1e-3)


class Written(keras.Model):
    """Subclassed, with a normalization that Keras would stop a derivative in."""

    def __init__(self) -> None:
        super().__init__(name="written")
        self.first, self.norm, self.flat, self.last = (
            L.Conv2D(3, 3),
            L.LayerNormalization(),
            L.Flatten(),
            L.Dense(3),
        )

    def call(self, x: Any, training: bool = False) -> Any:
        return self.last(self.flat(keras.ops.tanh(self.norm(self.first(x)))))


def resized(interpolation: str) -> Callable[[], Any]:
    return lambda: L.Resizing(9, 9, interpolation=interpolation)


def sequence(*layers: Any) -> Any:
    return keras.Sequential([L.Reshape((-1, 3)), *layers])


HONEST: dict[str, Callable[[], Any]] = {
    "relu": lambda: L.ReLU(), "leaky relu": lambda: L.LeakyReLU(), "prelu": lambda: L.PReLU(), "elu": lambda: L.ELU(),
    "selu": lambda: L.Activation("selu"), "gelu": lambda: L.Activation("gelu"), "swish": lambda: L.Activation("swish"),
    "softplus": lambda: L.Activation("softplus"),     "softmax": lambda: L.Softmax(), "mish": lambda: L.Activation("mish"), "hard sigmoid": lambda: L.Activation("hard_sigmoid"),
    "max pooling": lambda: L.MaxPooling2D(2), "average pooling": lambda: L.AveragePooling2D(2),
    "global max": lambda: L.GlobalMaxPooling2D(keepdims=True), "global average": lambda: L.GlobalAveragePooling2D(keepdims=True),
    "depthwise": lambda: L.DepthwiseConv2D(2), "separable": lambda: L.SeparableConv2D(3, 2), "transposed": lambda: L.Conv2DTranspose(2, 2),
    "dilated": lambda: L.Conv2D(2, 2, dilation_rate=2), "strided": lambda: L.Conv2D(2, 2, strides=2), "grouped": lambda: L.Conv2D(3, 2, groups=3),
    "batch norm": lambda: L.BatchNormalization(), "rms norm": lambda: L.RMSNormalization(), "unit norm": lambda: L.UnitNormalization(),
    "spectral norm": lambda: L.SpectralNormalization(L.Conv2D(2, 2)), "dropout": lambda: L.Dropout(0.5), "noise": lambda: L.GaussianNoise(0.5),
    "rescaling": lambda: L.Rescaling(2.0), "padding": lambda: L.ZeroPadding2D(1), "cropping": lambda: L.Cropping2D(1),
    "flip": lambda: L.RandomFlip(), "nearest": lambda: L.UpSampling2D(2), "lstm": lambda: sequence(L.LSTM(3)), "gru": lambda: sequence(L.GRU(3)),
    "einsum": lambda: L.EinsumDense("abcd,de->abce", (5, 5, 4)), "nested": lambda: keras.Sequential([L.Conv2D(2, 2), L.ReLU()]),
}  # fmt: skip
MENDED: dict[str, Callable[[], Any]] = {
    "layer norm": lambda: L.LayerNormalization(), "group norm": lambda: L.GroupNormalization(3), "own moments": OwnMoments,
    "bilinear": resized("bilinear"), "bicubic": resized("bicubic"), "lanczos3": resized("lanczos3"), "nearest resizing": resized("nearest"),
    "up bilinear": lambda: L.UpSampling2D(interpolation="bilinear"), "softsign": lambda: L.Activation("softsign"),
    "area": lambda: L.Lambda(lambda x: tf.image.resize(x, (4, 4), "area")),
    "smoothed": lambda: L.Lambda(lambda x: tf.image.resize(x, (3, 3), antialias=True)),
}  # fmt: skip
REFUSED: dict[str, Callable[[], Any]] = {
    "stop gradient": Stopped,
    "no second derivative": lambda: L.Lambda(lambda x: tf.raw_ops.Softsign(features=x)),
    "bilinear of another door": lambda: L.Lambda(lambda x: tf.raw_ops.ResizeBilinear(images=x, size=[9, 9])),
}


def network(layer: Any, dtype: str | None = None) -> Any:
    keras.utils.set_random_seed(2)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype or "float32")
    try:
        return keras.Sequential(
            [keras.Input((6, 6, 2)), L.Conv2D(3, 2, activation="tanh"), layer(), L.Flatten(), L.Dense(4, activation="tanh"), L.Dense(3)]
        )  # fmt: skip
    finally:
        keras.config.set_dtype_policy(before)


def table(kind: str, product: Any) -> dict[str, float]:
    """Its figures, the asymmetry too; they are printed, for whoever asks by `-s`."""
    with mock.patch.object(guard, "IMPLIED", -1.0):
        found = dict(product.evidence)
    return found


@pytest.mark.parametrize("kind", [*HONEST, *MENDED])
def test_a_product_through_this_layer_is_the_difference_of_first_derivatives(kind: str) -> None:
    model = network((HONEST | MENDED)[kind])
    for of in PRODUCTS[: 2 if kind in MENDED else 1]:
        found = table(kind, of(model, IMAGES, LABELS))
        assert found.keys() == {"difference", "asymmetry"}
        assert found["difference"] < 1e-5
        assert found["asymmetry"] < 1e-12


@pytest.mark.parametrize(
    "method", ["bilinear", "nearest", "bicubic", "lanczos3", "lanczos5", "gaussian", "mitchellcubic", "area"]
)
@pytest.mark.parametrize("size", [(9, 4), (3, 8)])
def test_a_resize_is_the_one_that_it_stands_for(method: str, size: tuple[int, int]) -> None:
    for settings in ({}, {"antialias": True}, {"preserve_aspect_ratio": True}):
        expected = tf.image.resize(IMAGES, size, method, **settings)
        with exact_derivatives():
            found = tf.image.resize(IMAGES, size, method, **settings)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_traced_product_of_chunks_is_the_one_that_is_held() -> None:
    model = network(MENDED["bilinear"])
    product = HessianVectorProduct(model, IMAGES, LABELS, chunk_size=4)
    vectors = [RNG.standard_normal(v.shape).astype(np.float32) for v in model.trainable_variables]
    eager = product.chunk_product(model.trainable_variables, [*map(tf.constant, vectors)], IMAGES, LABELS)
    found = product(np.concatenate([*map(np.ravel, vectors)]))
    expected = np.concatenate([np.ravel(one) for one in eager]) / len(LABELS)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kind", REFUSED)
def test_a_product_that_would_be_wrong_is_refused(kind: str) -> None:
    model = network(REFUSED[kind])
    said = refusal(lambda: HessianVectorProduct(model, IMAGES, LABELS).evidence)
    assert said.startswith("sequential")
    assert "leave this measure out" in said


def test_a_curvature_is_refused_before_it_is_measured() -> None:
    model = network(Stopped)
    assert "StopGradient" in refusal(lambda: tfsgd.top_eigenvalue(model, IMAGES, LABELS))


def of_pixels(*layers: Any) -> Any:
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((6, 6, 2)), *layers, L.Conv2D(3, 2, activation="relu"), L.Flatten(), L.Dense(3)])  # fmt: skip
    return InputProduct(model, np.where(IMAGES < 0.4, 0, IMAGES), LABELS)


def test_the_hessian_of_the_pixels_is_held_to_first_derivatives_too() -> None:
    for kind, layers in {"relu": (), "bilinear": (resized("bilinear")(),), "norm": (L.LayerNormalization(),)}.items():  # fmt: skip
        found = table(kind, of_pixels(*layers))
        assert found["difference"] < 1e-5
        assert found["asymmetry"] < 1e-12
    raw = of_pixels(REFUSED["bilinear of another door"]())
    assert "ResizeBilinear" in refusal(lambda: raw.evidence)
    stdcnn = shrunk("stdcnn")
    images = RNG.random((2, *stdcnn.input_shape[1:]), np.float32)
    assert table("stdcnn", InputProduct(stdcnn, images, LABELS[:2]))["difference"] < 1e-5


@pytest.mark.parametrize("layer", [L.ReLU, Stopped])
def test_a_network_so_sure_that_all_is_zero_is_searched_instead(layer: Any) -> None:
    model = keras.Sequential([network(layer), L.Rescaling(1e5)])
    product = HessianVectorProduct(model, IMAGES, np.argmax(model(IMAGES), 1))
    if layer is Stopped:
        assert "the network stops a derivative" in refusal(lambda: product.evidence)
    else:
        assert product.evidence == {}


def test_a_layer_that_knows_float32_alone_is_searched_instead() -> None:
    def single(x: Any) -> Any:
        return tf.nn.relu(tf.cast(x, "float32"))

    assert HessianVectorProduct(network(lambda: L.Lambda(single)), IMAGES, LABELS).evidence == {}
    model = network(lambda: L.Lambda(lambda x: single(tf.stop_gradient(x) + x)))
    assert "StopGradient" in refusal(lambda: HessianVectorProduct(model, IMAGES, LABELS).evidence)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_what_sixteen_bits_cannot_tell_is_refused_or_near(dtype: str) -> None:
    product = HessianVectorProduct(network(L.ReLU, dtype), IMAGES, LABELS)
    assert 1e-4 < product.evidence["rounding"] < LIMITS["rounding"]


def test_a_subclassed_model_passes() -> None:
    written = Written()
    written(IMAGES)
    assert HessianVectorProduct(written, IMAGES, LABELS).evidence["difference"] < 1e-5


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("stdcnn", "inference"),
        ("m1", "inference"),
        ("c1", "inference"),
        ("c1", "training"),
        ("resnet18", "training"),
    ],
)
def test_the_architectures_pass(name: str, mode: Any) -> None:
    model = shrunk(name)
    images, labels = RNG.random((6, *model.input_shape[1:]), np.float32), RNG.integers(0, 10, 6)
    product = product_of(TopEigenvalue(mode=mode), model, images, labels, batch_size=6)
    assert table(f"{name} {mode}", product)["difference"] < 1e-4


@pytest.mark.parametrize(("layer", "refused"), [(L.LayerNormalization, True), (L.ReLU, False)])
def test_a_saved_model_is_searched_for_what_stops_a_derivative(
    layer: Any, refused: bool, tmp_path: Path
) -> None:
    network(layer).export(str(tmp_path / "saved"), verbose=False)
    saved = load_network(tmp_path / "saved")
    if refused:
        said = refusal(lambda: tfsgd.top_eigenvalue(saved, IMAGES, LABELS))
        assert "moments/StopGradient" in said
    else:
        assert np.isfinite(tfsgd.top_eigenvalue(saved, IMAGES, LABELS).value)


def test_nothing_of_the_network_is_changed() -> None:
    model = network(L.LayerNormalization)
    before, moments, resize = [w.copy() for w in model.get_weights()], tf.nn.moments, tf.image.resize
    found = tfsgd.top_eigenvalue(model, IMAGES, LABELS)
    assert found.more["difference"] < 1e-5
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert model(IMAGES).dtype == tf.float32
    assert (tf.nn.moments, tf.image.resize) == (moments, resize)


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_a_network_that_is_sure_of_all_its_images_has_the_closed_form(scale: int) -> None:
    """Two classes, one dense layer: H = B ⊗ [[1, -1], [-1, 1]], B the mean of p(1 - p) x xᵀ; 1e-32 at scale 8."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    images = np.where(labels[:, None, None, None], 0.8, 0.2) + 0.05 * rng.standard_normal((40, 4, 4, 1))
    images = np.clip(images, 0, 1).astype(np.float32)
    dense = L.Dense(2)
    model = keras.Sequential([keras.Input((4, 4, 1)), L.Flatten(), dense])
    dense.set_weights(
        [np.tile([[-scale, scale]], (16, 1)).astype(float), np.array([8.0 * scale, -8.0 * scale])]
    )
    weights, bias = (w.astype(np.float64) for w in dense.get_weights())
    rows = images.reshape(40, 16).astype(np.float64)
    margins = np.abs(np.diff(rows @ weights + bias)[:, 0])
    curved = np.exp(-margins) / (1 + np.exp(-margins)) ** 2
    extended = np.hstack([rows, np.ones((40, 1))])
    block = (extended.T * curved) @ extended / 40
    top, trace = 2 * np.linalg.eigvalsh(block)[-1], 2 * np.trace(block)
    assert tfsgd.top_eigenvalue(model, images, labels, tolerance=1e-3).value == pytest.approx(top, rel=1e-4)
    for of in (HessianVectorProduct, GaussNewtonProduct):
        product = of(model, images, labels)
        assert TopEigenvalue(tolerance=1e-3).run(product, 34).value == pytest.approx(top, rel=1e-4)
        assert sum(product(e)[i] for i, e in enumerate(np.eye(34))) == pytest.approx(trace, rel=1e-4)
        assert product.evidence["difference"] < 1e-5


def test_weights_of_two_precisions() -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, L.Dense(3, dtype="float64")(L.Dense(4)(L.Flatten()(image))))
    plain = keras.Model(image, L.Dense(3)(L.Dense(4)(L.Flatten()(image))))
    plain.set_weights(model.get_weights())
    images, labels = RNG.random((20, 4, 4, 1), np.float32), RNG.integers(0, 3, 20)
    found, expected = (tfsgd.top_eigenvalue(m, images, labels, tolerance=1e-4) for m in (model, plain))
    assert found.value == pytest.approx(expected.value, rel=1e-5)


def test_equal_names_of_nested_models_are_two_layers() -> None:
    def block(n: int, units: int) -> Any:
        one = keras.Input((n,))
        return keras.Model(one, L.Dense(units, name="fc")(one))

    model = keras.Sequential([keras.Input((4, 4, 1)), L.Flatten(), block(16, 4), block(4, 3)])
    product = HessianVectorProduct(model, RNG.random((3, 4, 4, 1)), np.zeros(3, int))
    assert product.layers == (("fc", slice(0, 68)), ("fc (2)", slice(68, 83)))
