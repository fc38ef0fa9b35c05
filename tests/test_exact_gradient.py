"""The gradient that attacks follow, against float64 from end to end: loss, network and attack."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfsgd.data.dataset import Splits, to_unit
from tfsgd.measures.attacks.fgsm import FGSM
from tfsgd.measures.attacks.pgd import PGD
from tfsgd.measures.zero_gradients import direction
from tfsgd.models.paper import MODELS, build_model
from tfsgd.networks.compiled_victim import CompiledVictim
from tfsgd.networks.losses import LOSSES, UPHILL

SURE = Path(
    "docs/results/fmnist_stdcnn-seeds/trials/lr/b0064-m0.9-s0/model.keras"
)  # of a third of its images
SCALES = (1.0, 10.0, 100.0, 1000.0)


def log_sum(terms: np.ndarray) -> np.ndarray:
    top = terms.max(1)
    return top + np.log(np.exp(terms - top[:, None]).sum(1))


def s_of(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """log Σ_{j != y} exp z_j - z_y by its definition, in the precision of the logits."""
    others = np.array([np.delete(row, label) for row, label in zip(logits, labels, strict=True)])
    return log_sum(others) - logits[np.arange(len(labels)), labels]


def logits_of_every_margin() -> tuple[np.ndarray, np.ndarray]:
    """Rows that are sure, rightly and wrongly, by 0 to 80 nats; of one other class, or of several."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 5))
    labels = rng.integers(0, 5, 400)
    logits[np.arange(400), (labels + np.arange(400) % 2) % 5] += np.linspace(0, 80, 400)
    return labels, logits.astype(np.float32).astype(np.float64)


# The loss


def test_the_loss_and_its_first_two_derivatives_are_right_for_every_example() -> None:
    """Against softplus(s) and its closed form, in extended precision; softmax's own fails in the same rows."""
    labels, exact = logits_of_every_margin()
    wide, rows = exact.astype(np.longdouble), np.arange(len(labels))
    s = s_of(labels, wide)
    losses = np.where(s > 0, s, 0) + np.log1p(np.exp(-np.abs(s)))
    others = np.where(np.arange(5) == labels[:, None], -np.inf, wide)
    q = np.exp(others - log_sum(others)[:, None])  # of the other classes
    of_s = q.copy()
    of_s[rows, labels] = -1
    sure = np.exp(-np.abs(s))
    sigmoid = np.where(s > 0, 1, sure) / (1 + sure)
    direction_of = np.random.default_rng(1).normal(size=exact.shape)
    along = (of_s * direction_of).sum(1, keepdims=True)
    apart = direction_of[:, :, None] - direction_of[:, None, :]  # not u - qᵀu, which cancels
    curved = q * (q[:, None, :] * apart).sum(2)
    products = (sure / (1 + sure) ** 2)[:, None] * along * of_s + sigmoid[:, None] * curved

    z, v = tf.constant(exact, tf.float32), tf.constant(direction_of, tf.float32)
    found = {}
    for name in ("cross_entropy", "softmax_cross_entropy"):
        with tf.GradientTape() as outer:
            outer.watch(z)
            with tf.GradientTape() as inner:
                inner.watch(z)
                value = LOSSES[name](tf.constant(labels), z)
            gradient = inner.gradient(value, z)
            slope = tf.reduce_sum(gradient * v)
        found[name] = value.numpy(), gradient.numpy(), outer.gradient(slope, z).numpy()
    scale = np.abs(products).max(1)
    assert scale.min() > 1e-37  # what float32 holds
    value, gradient, product = found["cross_entropy"]
    np.testing.assert_allclose(value, losses, rtol=1e-5, atol=1e-37)
    np.testing.assert_allclose(gradient, sigmoid[:, None] * of_s, rtol=2e-5, atol=1e-37)
    assert (np.abs(product - products).max(1) / scale).max() < 1e-4
    _, gradient, product = found["softmax_cross_entropy"]
    assert (gradient[rows, labels][s < -17] == 0).all()
    assert (np.abs(product - products).max(1) / scale).max() > 0.9


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_way_up_is_that_of_float64_whatever_the_logits_are_made_of(dtype: str) -> None:
    labels, logits = logits_of_every_margin()
    held = tf.cast(logits, dtype)
    wide = tf.cast(held, tf.float64)
    ways = []
    for z in (held, wide):
        with tf.GradientTape() as tape:
            tape.watch(z)
            height = UPHILL["cross_entropy"](tf.constant(labels), z)
        ways.append(tf.cast(tape.gradient(height, z), tf.float64).numpy())
    digits = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 1e-5}[dtype]
    np.testing.assert_allclose(ways[0], ways[1], rtol=digits, atol=1e-6)
    assert (ways[0][np.arange(len(labels)), labels] == -1).all()


# The network


@pytest.fixture(scope="module")
def inputs(splits: Splits) -> tuple[np.ndarray, np.ndarray]:
    return to_unit(splits.test.images[:1000]), splits.test.labels[:1000]


def in_float64(network: Any, name: str, scale: float) -> Any:
    """The same weights, everything in double precision."""
    keras.config.set_dtype_policy("float64")
    try:
        twin = build_model(name)
        twin.set_weights(network.get_weights())
        return keras.Sequential([twin, keras.layers.Rescaling(scale)])
    finally:
        keras.config.set_dtype_policy("float32")


def float64_gradient(twin: Any, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of s by autograd, everything in double precision: there the softmax loses nothing below a margin of 36."""
    x = tf.constant(images, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        z = twin(x, training=False)
        others = tf.where(tf.one_hot(labels, z.shape[1]) > 0, tf.constant(-np.inf, tf.float64), z)
        height = tf.reduce_logsumexp(others, 1) - tf.gather(z, labels, batch_dims=1)
    return tape.gradient(height, x).numpy()


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        pytest.param(
            name,
            scale,
            marks=[] if name == "stdcnn" or scale == SCALES[-1] else [pytest.mark.long],
        )
        for name in ("stdcnn", "c1", "resnet18")
        for scale in SCALES
    ],
)
def test_signs_are_those_of_float64(name: str, scale: float, inputs: tuple[np.ndarray, np.ndarray]) -> None:
    """On 99.9 % of the pixels whose gradient is above 1e-12 of the image's largest."""
    count = {"stdcnn": 100, "c1": 16, "resnet18": 4}[name]
    keras.utils.set_random_seed(1)
    network = keras.saving.load_model(SURE, compile=False) if name == "stdcnn" else build_model(name)
    shape = MODELS[name].image_shape
    rng = np.random.default_rng(0)
    images = inputs[0][:count] if name == "stdcnn" else rng.random((count, *shape), np.float32)
    labels = inputs[1][:count] if name == "stdcnn" else np.argmax(network(images, training=False), 1)
    scaled = keras.Sequential([keras.Input(shape), network, keras.layers.Rescaling(scale)])
    exact = float64_gradient(in_float64(network, name, scale), images, labels)
    victim = CompiledVictim.of(scaled)
    large = np.abs(exact) > 1e-12 * np.abs(exact).max((1, 2, 3), keepdims=True)
    agree = {
        loss: float((np.sign(victim.gradient(images, labels, loss)) == np.sign(exact))[large].mean())
        for loss in ("cross_entropy", "softmax_cross_entropy")
    }
    assert agree["cross_entropy"] > 0.999
    if scale == 1000:  # where every image is sure
        assert agree["softmax_cross_entropy"] < 0.9


@pytest.mark.parametrize("scale", [pytest.param(1.0, marks=pytest.mark.long), 100.0])
def test_accuracies_are_those_of_attacks_in_float64(
    scale: float, inputs: tuple[np.ndarray, np.ndarray]
) -> None:
    """Within 3 of 1,000 images for FGSM, 1 of 200 for PGD; by softmax a tenth of the images is left besides."""
    network, (images, labels) = keras.saving.load_model(SURE, compile=False), inputs
    twin = in_float64(network, "stdcnn", scale)
    victim = CompiledVictim.of(
        keras.Sequential([keras.Input(images.shape[1:]), network, keras.layers.Rescaling(scale)])
    )
    for epsilon in (0.1, 0.3):
        moved = np.clip(images + epsilon * np.sign(float64_gradient(twin, images, labels)), 0, 1)
        truth = (np.argmax(twin(moved, training=False), 1) == labels).mean()
        left = FGSM(epsilon=(epsilon,)).run(victim, images, labels, epsilon, 0).correct.mean()
        softmax = FGSM(epsilon=(epsilon,), loss="softmax_cross_entropy")
        assert abs(left - truth) <= 0.003
        assert softmax.run(victim, images, labels, epsilon, 0).correct.mean() > truth + 0.1
    few, theirs, epsilon = images[:200], labels[:200], 0.05
    moved = few.astype(np.float64)
    for _ in range(10):
        moved = moved + epsilon / 4 * np.sign(float64_gradient(twin, moved, theirs))
        moved = np.clip(np.clip(moved, few - epsilon, few + epsilon), 0, 1)
    truth = (np.argmax(twin(moved, training=False), 1) == theirs).mean()
    settings: dict[str, Any] = {
        "steps": 10, "relative_step_size": 0.25, "random_start": False, "early_stop": False,
    }  # fmt: skip
    left = PGD(epsilon=(epsilon,), **settings).run(victim, few, theirs, epsilon, 0).correct.mean()
    assert abs(left - truth) <= 0.005


def test_the_gradient_of_a_linear_network_is_its_closed_form() -> None:
    """Σ q_j w_j - w_y, at margins of some 500 nats."""
    rng = np.random.default_rng(0)
    kernel = 100 * rng.normal(size=(16, 4))
    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
    network.set_weights([kernel, np.zeros(4)])
    images = rng.random((50, 4, 4, 1), np.float32)
    kernel = network.get_weights()[0].astype(np.float64)
    z = images.reshape(50, 16).astype(np.float64) @ kernel
    labels = z.argmax(1)
    others = np.where(np.arange(4) == labels[:, None], -np.inf, z)
    q = np.exp(others - log_sum(others)[:, None])
    expected = (q @ kernel.T - kernel.T[labels]).reshape(images.shape)
    victim = CompiledVictim.of(network)
    found = victim.gradient(images, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-2)
    assert direction(victim, images, labels).saturated > 0.7
    assert np.median(np.abs(victim.gradient(images, labels, "softmax_cross_entropy"))) < 1e-6


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_networks_of_16_bits_are_broken_as_their_float32_twins_are(
    policy: str, inputs: tuple[np.ndarray, np.ndarray]
) -> None:
    network, (images, labels) = (
        keras.saving.load_model(SURE, compile=False),
        (inputs[0][:500], inputs[1][:500]),
    )
    keras.config.set_dtype_policy(policy)
    try:
        narrow = build_model("stdcnn")
        narrow.set_weights(network.get_weights())
    finally:
        keras.config.set_dtype_policy("float32")
    attack = FGSM(epsilon=(0.1,))
    wide, left = (
        attack.run(CompiledVictim.of(n), images, labels, 0.1, 0).correct.mean() for n in (network, narrow)
    )
    softmax = FGSM(epsilon=(0.1,), loss="softmax_cross_entropy").run(
        CompiledVictim.of(narrow), images, labels, 0.1, 0
    )
    assert abs(left - wide) <= 0.03
    assert softmax.correct.mean() > wide + 0.2
