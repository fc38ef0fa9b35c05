"""The Hessian of the loss in training mode against finite differences of Keras's own first derivative."""

import math
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.synthetic import experiment, record
from tests.test_hessian import shrunk, with_weights
from tfsgd.data.dataset import Split, Splits
from tfsgd.errors import RequestError
from tfsgd.measures.curvature.batch_sharpness import BatchSharpness
from tfsgd.measures.curvature.gauss_newton import GaussNewton
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.measures.curvature.trace import Trace
from tfsgd.measures.spec import Request
from tfsgd.networks.batch_hessian import BatchProduct
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.networks.operators import product_of
from tfsgd.plan.trials import grid
from tfsgd.records.record import EIGENVALUE_COLUMNS
from tfsgd.reporting.table.rows import TrialRow, derived

RNG = np.random.default_rng(1)


@pytest.fixture(autouse=True)
def _same_draws_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "RNG", np.random.default_rng(1))


def training_gradient(model: Any, images: np.ndarray, labels: np.ndarray, batch_size: int) -> np.ndarray:
    """Of the mean over batches, through Keras's own training mode (whose first derivative is right)."""
    kept = model.get_weights()
    total = np.zeros(sum(int(np.prod(v.shape)) for v in model.trainable_variables))
    for start in range(0, len(labels), batch_size):
        batch = slice(start, start + batch_size)
        with tf.GradientTape() as tape:
            logits = model(images[batch], training=True)
            loss = tf.reduce_sum(
                keras.losses.sparse_categorical_crossentropy(labels[batch], logits, from_logits=True)
            )
        gradients = tape.gradient(loss, model.trainable_variables)
        total = total + np.concatenate([g.numpy().ravel() for g in gradients]) / len(labels)
    model.set_weights(kept)  # the running statistics have moved
    return total


def training_difference(
    model: Any, images: np.ndarray, labels: np.ndarray, batch_size: int, vector: np.ndarray
) -> np.ndarray:
    weights = np.concatenate([v.numpy().ravel() for v in model.trainable_variables])
    slopes = []
    for sign in (1, -1):
        with_weights(model, weights + sign * 1e-5 * vector)
        slopes.append(training_gradient(model, images, labels, batch_size))
    with_weights(model, weights)
    return (slopes[0] - slopes[1]) / 2e-5


@pytest.mark.parametrize("name", ["c1", "resnet18", "unsynchronized"])
@pytest.mark.usefixtures("float64")
def test_product_in_training_mode_is_the_finite_difference_of_training_modes_gradient(name: str) -> None:
    model = normalized() if name == "unsynchronized" else shrunk(name)
    images, labels = RNG.random((13, *model.input_shape[1:])), RNG.integers(0, 10, 13)
    spec = TopEigenvalue(mode="training")
    before = [w.copy() for w in model.get_weights()]
    product = product_of(spec, model, images, labels, batch_size=4)
    u, v = RNG.standard_normal((2, product.dimension))
    v /= np.linalg.norm(v)
    exact = product(v)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    difference = training_difference(model, images[:12], labels[:12], 4, v)  # the 13th fills no batch
    assert np.linalg.norm(exact - difference) < 2e-6 * np.linalg.norm(exact)
    assert u @ exact == pytest.approx(v @ product(u), rel=1e-8)
    inference = product_of(TopEigenvalue(), model, images, labels)(v)
    assert np.linalg.norm(inference - exact) > 0.1 * np.linalg.norm(exact)


def normalized() -> Any:
    """BatchNorm over images and pixels, over images alone, without scale or shift, and one that is frozen."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    frozen = layers.BatchNormalization(trainable=False, name="frozen")
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(7), layers.BatchNormalization(center=False)])
    model = keras.Sequential(
        [keras.Input((6, 6, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(scale=False),
         layers.Activation("tanh"), frozen, layers.Flatten(), layers.Dense(8), layers.Activation("tanh"),
         inner, layers.Dense(10)]
    )  # fmt: skip
    frozen.set_weights([RNG.random(4) + 0.5 for _ in range(4)])
    return model


def test_without_statistics_training_mode_is_inference_mode() -> None:
    model = shrunk("stdcnn")  # its dropout stays off
    images, labels = RNG.random((6, 20, 20, 1), np.float32), RNG.integers(0, 10, 6)
    vector = RNG.standard_normal(sum(int(np.prod(v.shape)) for v in model.trainable_variables))
    one = product_of(TopEigenvalue(mode="training"), model, images, labels, batch_size=3)(vector)
    other = product_of(TopEigenvalue(), model, images, labels)(vector)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


class Hidden(keras.layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.inside = keras.layers.BatchNormalization()

    def call(self, x: Any, training: bool = False) -> Any:
        return self.inside(x, training=training)


class Written(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="written")
        self.inside, self.last = keras.layers.BatchNormalization(), keras.layers.Dense(3)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.last(self.inside(x, training=training))


def test_statistics_that_cannot_be_reached_are_refused() -> None:
    images, labels = RNG.random((6, 5), np.float32), RNG.integers(0, 3, 6)
    spec = TopEigenvalue(mode="training")
    hidden = keras.Sequential([keras.Input((5,)), Hidden(), keras.layers.Dense(3)])
    with pytest.raises(RequestError, match=r"the layer hidden has statistics of its own.*mode: inference"):
        product_of(spec, hidden, images, labels, batch_size=3)
    written = Written()
    written(images)
    with pytest.raises(RequestError, match="written is no functional or sequential model"):
        product_of(spec, written, images, labels, batch_size=3)
    with pytest.raises(RequestError, match=r"without a record.*batch size"):
        product_of(spec, hidden, images, labels)


@pytest.mark.parametrize("spec", [Trace(mode="training"), GaussNewton(mode="training")])
def test_every_curvature_measure_has_a_training_mode(spec: Any) -> None:
    """Of the same network the two modes give two numbers, in one table of measurements."""
    model = shrunk("c1")
    split = Split(RNG.integers(0, 256, (12, 8, 8, 3)).astype(np.uint8), RNG.integers(0, 10, 12))
    subject = MeasuredNetwork(model, Splits(split, split, split, "", "drawn"), batch_size=4)
    requests = [
        Request("m", "m", each, "train", 12) for each in (spec, spec.model_copy(update={"mode": "inference"}))
    ]
    one, other = (request.measure_on(subject) for request in requests)
    assert one.identity != other.identity
    assert one.settings["mode"] == "training"
    assert abs(one.values["value"] - other.values["value"]) > 0.1 * abs(other.values["value"])


def test_batch_sharpness_in_training_mode_has_the_moments_of_the_whole_batch() -> None:
    model = shrunk("c1")
    images, labels = RNG.random((300, 8, 8, 3), np.float32), RNG.integers(0, 10, 300)
    spec = BatchSharpness(mode="training", batch_size=150, batches=2)
    product = product_of(spec, model, images, labels, batch_size=64)
    assert isinstance(product, BatchProduct)
    along, squared = product.along_gradient(np.arange(150))
    gradient = training_gradient(model, images[:150], labels[:150], 150)
    assert squared == pytest.approx(float(gradient @ gradient), rel=1e-4)
    assert np.isfinite(along)


def test_with_batch_norm_only_training_modes_eigenvalue_tells_of_stability() -> None:
    """η 0.01, momentum 0.9: the ceiling 2(1+γ)/η is 380."""
    of = experiment(dataset="cifar10", model="c1", batch_sizes=[64], seeds=[0], epochs=3)
    trial = next(t for t in grid(of) if t.settings.momentum == 0.9)
    plain = record(trial, of).model_copy(update={"batch_norm": True})
    inference = {**plain.history, EIGENVALUE_COLUMNS["inference"]: (None, 1200.0, 1100.0)}
    plain = plain.model_copy(update={"history": inference})
    assert TrialRow(plain, Path("x")).descent_eigenvalue is None
    assert plain.stability_history == ()
    assert math.isnan(derived(plain, None)["stability_ratio_max"])
    spec = TopEigenvalue(mode="training")
    values = {"value": 190.0, "error": 0.01, "products": 5, "converged": True}
    found = Request("top_eigenvalue", "in-training", spec, "train", 5000).measured(values, 1.0)
    history = {**inference, EIGENVALUE_COLUMNS["training"]: (None, 95.0, 190.0)}
    trained = plain.with_measurements(found).model_copy(update={"history": history})
    row = TrialRow(trained, Path("x"))
    assert row.descent_eigenvalue == found
    assert row.top_eigenvalue == plain.top_eigenvalue  # the paper's λ1 stays that of inference mode
    columns = derived(trained, row.descent_eigenvalue)
    assert (columns["stability_ratio"], columns["stability_ratio_max"]) == pytest.approx((0.5, 0.5))
