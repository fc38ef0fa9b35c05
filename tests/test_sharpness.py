"""Sharpness in weights against closed forms, dense Hessians, brute force, and what no rescaling may move."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

from tests.conftest import Config
from tests.own import refusal
from tests.test_curvature import Counted, matrix
from tests.test_hessian import dense_hessian, small_network, with_weights
from tfsgd.errors import RequestError
from tfsgd.measures.curvature.average_sharpness import AverageSharpness
from tfsgd.measures.curvature.fisher_rao import FisherRao
from tfsgd.measures.curvature.gradient_norm import GradientNorm
from tfsgd.measures.curvature.pac_bayes import PacBayes
from tfsgd.measures.curvature.relative_flatness import RelativeFlatness
from tfsgd.measures.curvature.worst_sharpness import WorstSharpness
from tfsgd.measures.logit_losses import hessians, slopes
from tfsgd.measures.sharpness_spec import SharpnessSpec, climbed
from tfsgd.networks.gauss_newton_product import GaussNewtonProduct
from tfsgd.networks.landscape import Landscape
from tfsgd.networks.losses import cross_entropy, normalized_logits
from tfsgd.plan.reading import load_experiment

RNG = np.random.default_rng(5)
IMAGES = RNG.random((12, 2, 2, 1))
WEIGHTS = [
    np.random.default_rng(seed).normal(size=shape) for seed, shape in enumerate([(4, 5), (5,), (5, 3), (3,)])
]
LOGITS = np.maximum(IMAGES.reshape(12, 4) @ WEIGHTS[0] + WEIGHTS[1], 0) @ WEIGHTS[2] + WEIGHTS[3]
LABELS = np.where(np.arange(12) % 4, LOGITS.argmax(1), LOGITS.argmin(1))  # most are right


@pytest.fixture(autouse=True, scope="module")
def _float64() -> Iterator[None]:
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def relu_network(bias: bool = True) -> Any:
    layers = keras.layers
    network = keras.Sequential(
        [keras.Input((2, 2, 1)), layers.Flatten(), layers.Dense(5, "relu", use_bias=bias), layers.Dropout(0.5),
         layers.Dense(3, use_bias=bias)]
    )  # fmt: skip
    network.set_weights(WEIGHTS if bias else WEIGHTS[::2])
    return network


def linear_network(pixels: int = 4) -> Any:
    keras.utils.set_random_seed(2)
    shape = (pixels, 1, 1)
    return keras.Sequential(
        [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(3, use_bias=False)]
    )


def run(spec: SharpnessSpec, network: Any, images: Any = IMAGES, labels: Any = LABELS, seed: int = 3) -> Any:
    landscape = Landscape(network, images, labels, spec.normalized, chunk_size=5)
    return spec.of(landscape, seed)


def mean_loss(logits: np.ndarray, labels: np.ndarray = LABELS) -> float:
    """The cross-entropy in NumPy."""
    true = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    return float((logsumexp(logits, axis=-1) - true).mean(-1))


# What they are made of


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_losss_derivatives_by_the_logits_are_tensorflows_in_float64(
    normalized: bool, scale: float
) -> None:
    logits, labels = scale * np.random.default_rng(0).normal(size=(6, 4)), np.array([0, 1, 2, 3, 0, 1])
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(z := tf.constant(logits))
        with tf.GradientTape() as inner:
            inner.watch(z)
            loss = cross_entropy(tf.constant(labels), normalized_logits(z) if normalized else z)
        slope = inner.gradient(loss, z)
    np.testing.assert_allclose(slopes(logits, labels, normalized), slope, rtol=1e-9, atol=1e-14)
    exact = outer.batch_jacobian(slope, z, experimental_use_pfor=False)
    np.testing.assert_allclose(hessians(logits, labels, normalized), exact, rtol=1e-7, atol=1e-12)


def test_of_a_sure_network_the_derivatives_do_not_vanish() -> None:
    """In float64 p_y is 1, and 1 - p_y is exp(-50)."""
    logits, labels = np.array([[50.0, 0.0]]), np.array([0])
    small = np.exp(-50)
    np.testing.assert_allclose(slopes(logits, labels), [[-small, small]], rtol=1e-12)
    np.testing.assert_allclose(hessians(logits, labels), [[[small, -small], [-small, small]]], rtol=1e-12)


@pytest.mark.parametrize("normalized", [False, True])
def test_a_landscape_is_the_loss_at_moved_weights_and_leaves_the_network_as_it_was(normalized: bool) -> None:
    network, images, labels = relu_network(), IMAGES, LABELS
    landscape = Landscape(network, images, labels, normalized, chunk_size=3)
    before = [w.tobytes() for w in network.get_weights()]
    shift = 0.1 * RNG.standard_normal(landscape.dimension)
    some = np.array([5, 0, 2, 6])
    value, gradient = landscape.slope(shift, some)
    steps = [1e-5 * unit for unit in np.eye(landscape.dimension)]
    found = [
        np.subtract(*(landscape.losses(shift + s * step, some).mean() for s in (1, -1))) / 2e-5
        for step in steps
    ]
    assert [w.tobytes() for w in network.get_weights()] == before
    np.testing.assert_allclose(gradient, found, rtol=1e-5, atol=1e-8)
    with_weights(network, landscape.weights + shift)
    logits = np.asarray(network(images))[some]
    if normalized:
        logits = logits - logits.mean(1, keepdims=True)
        logits /= np.linalg.norm(logits, axis=1, keepdims=True)
    assert value == pytest.approx(mean_loss(logits, labels[some]), rel=1e-12)


def test_weights_come_back_after_an_error() -> None:
    landscape = Landscape(relu_network(), IMAGES, LABELS)
    before = landscape.weights
    with pytest.raises(ValueError, match="made by a test"), landscape._moved(np.ones(landscape.dimension)):
        raise ValueError("made by a test")
    np.testing.assert_array_equal(landscape.weights, before)


# Averages


@pytest.mark.parametrize("adaptive", [False, True])
def test_average_sharpness_of_a_linear_network_is_that_of_numpys_softmax(adaptive: bool) -> None:
    network = linear_network()
    kernel = network.get_weights()[0]
    images = RNG.random((12, 4, 1, 1))
    found = run(AverageSharpness(sigma=0.3, adaptive=adaptive, draws=6), network, images)
    sizes = np.abs(kernel) if adaptive else np.ones_like(kernel)
    drawn = [np.random.default_rng((3, i)).standard_normal(12).reshape(4, 3) for i in range(6)]
    flat = images.reshape(12, 4)
    rises = [mean_loss(flat @ (kernel + 0.3 * sizes * d)) - mean_loss(flat @ kernel) for d in drawn]
    assert found.value == pytest.approx(np.mean(rises), rel=1e-10)
    assert found.error == pytest.approx(np.std(rises, ddof=1) / 6**0.5, rel=1e-8)
    assert found.products == 7


def test_average_sharpness_of_a_parabola_is_half_the_trace() -> None:
    truth = np.linspace(-3, 20, 30)
    found = AverageSharpness(sigma=0.1, draws=2_000).run(Counted(matrix(truth)), 30, 0)
    assert abs(found.value - 0.005 * truth.sum()) < 4 * found.error < 0.3 * found.value


def test_pac_bayes_sigma_of_a_parabola_solves_a_quadratic_equation() -> None:
    """The mean rise of w'Hw / 2 over the draws d is a σ² + b σ, a the mean of d'Hd / 2 and b that of d'Hw."""
    h = matrix(np.linspace(1, 20, 30))
    drawn = np.array([np.random.default_rng((4, i)).standard_normal(30) for i in range(8)])
    a, b = np.einsum("di,ij,dj->", drawn, h, drawn) / 16, (drawn @ h @ Counted.weights).mean()
    found = PacBayes(rise=0.5, draws=8, tolerance=1e-8).run(Counted(h), 30, 4)
    assert found.value == pytest.approx((-b + (b * b + 2 * a) ** 0.5) / (2 * a), rel=1e-6)
    assert found.converged


def test_what_no_noise_raises_so_far_is_not_known() -> None:
    found = run(PacBayes(rise=1e5, draws=2, normalized=True), relu_network())
    assert np.isnan(found.value)
    assert not found.converged


# The worst case


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_the_ascent_finds_what_a_grid_finds_in_three_dimensions(norm: str) -> None:
    """z = v relu(w x) with three weights: every point of a grid in the ball, in NumPy."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(1, "relu", use_bias=False), keras.layers.Dense(2, use_bias=False)]
    network = keras.Sequential([keras.Input((1, 1, 1)), keras.layers.Flatten(), *layers])
    images, labels = np.array([0.2, 0.5, 0.9, 1.0]).reshape(4, 1, 1, 1), np.array([0, 1, 0, 0])
    side = np.linspace(-0.5, 0.5, 61)
    grid = np.stack(np.meshgrid(side, side, side), -1).reshape(-1, 3)
    grid = grid if norm == "Linf" else grid[np.linalg.norm(grid, axis=1) <= 0.5]
    for w, *v in np.random.default_rng(1).normal(size=(3, 3)):
        network.set_weights([np.array([[w]]), np.array([v])])
        found = run(WorstSharpness(rho=0.5, norm=norm, batch_size=4, steps=30), network, images, labels)
        hidden = np.maximum((w + grid[:, :1]) * images.reshape(1, 4), 0)
        logits = hidden[:, :, None] * (np.array(v) + grid[:, 1:])[:, None, :]
        losses = logsumexp(logits, axis=2) - logits[:, np.arange(4), labels]
        flat = np.maximum(w * images.reshape(4), 0)[:, None] * np.array(v)
        best = losses.mean(1).max() - mean_loss(flat, labels)
        assert 0.995 * best <= found.value <= 1.05 * best


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_the_ascent_on_a_parabola_of_many_dimensions(norm: str) -> None:
    """On the L2 ball the maximum solves (μ - H) d = g, |d| = ρ; on L-infinity with a diagonal H it is a corner."""
    rng = np.random.default_rng(3)
    eigenvalues, g = np.sort(rng.exponential(5, 40)), rng.standard_normal(40)
    found = climbed(
        lambda d: (float(g @ d + eigenvalues @ d**2 / 2), g + eigenvalues * d), 40, 0.5, norm, 100
    )
    if norm == "Linf":
        best = 0.5 * np.abs(g).sum() + eigenvalues.sum() / 8
    else:
        low, high = eigenvalues[-1], eigenvalues[-1] + 100
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if np.linalg.norm(g / (middle - eigenvalues)) > 0.5 else (low, middle)
        d = g / (high - eigenvalues)
        best = g @ d + eigenvalues @ d**2 / 2
    assert found == pytest.approx(best, rel=1e-3)


def test_where_there_is_no_slope_the_ascent_still_climbs() -> None:
    eigenvalues = np.array([9.0, 1.0, 0.0])
    assert climbed(
        lambda d: (float(eigenvalues @ d**2 / 2), eigenvalues * d), 3, 1.0, "L2", 50
    ) == pytest.approx(4.5)


def test_sharpness_is_the_mean_over_batches_and_rises_as_they_shrink() -> None:
    network = relu_network()
    whole, halves = (run(WorstSharpness(rho=0.2, batch_size=size), network) for size in (12, 6))
    parts = [
        run(WorstSharpness(rho=0.2, batch_size=6), network, IMAGES[part], LABELS[part]).value
        for part in (slice(0, 6), slice(6, 12))
    ]
    assert halves.value == pytest.approx(np.mean(parts), rel=1e-9)
    assert halves.error == pytest.approx(np.std(parts, ddof=1) / 2**0.5, rel=1e-9)
    assert halves.value > whole.value > 0
    assert (whole.error, whole.more["batches"], halves.more["batches"]) == (0.0, 1, 2)


# Relative flatness and the Fisher-Rao norm


@pytest.mark.parametrize("normalized", [False, True])
def test_relative_flatness_is_that_of_the_block_of_a_dense_hessian(normalized: bool) -> None:
    network = relu_network()
    landscape = Landscape(network, IMAGES, LABELS, normalized)
    if normalized:
        columns = [
            (landscape.slope(1e-5 * unit)[1] - landscape.slope(-1e-5 * unit)[1]) / 2e-5
            for unit in np.eye(landscape.dimension)
        ]
        dense = np.array(columns)
    else:
        dense = dense_hessian(network, IMAGES, LABELS)
    found = run(RelativeFlatness(normalized=normalized), network)

    def kappa(kernel: np.ndarray, begin: int) -> float:
        inputs, units = kernel.shape
        block = dense[begin : begin + kernel.size, begin : begin + kernel.size].reshape(
            inputs, units, inputs, units
        )
        return float(np.einsum("isit,js,jt->", block, kernel, kernel))

    first, _, last, _ = network.get_weights()
    assert found.value == pytest.approx(kappa(last, first.size + 5), rel=1e-5)
    assert found.more["penultimate"] == pytest.approx(kappa(first, 0), rel=1e-5)


def test_a_layer_behind_another_activation_has_no_closed_form() -> None:
    network = small_network(hidden=2)
    found = run(RelativeFlatness(), network, RNG.random((7, 6, 6, 1)), np.arange(7) % 4)
    assert found.value > 0
    assert np.isnan(found.more["penultimate"])


@pytest.mark.parametrize("normalized", [False, True])
def test_fisher_rao_of_a_network_without_biases_counts_its_layers(normalized: bool) -> None:
    """Liang et al. 2019, theorem 3.1: <w, dl/dw> = layers <dl/dz, z>; of normalized logits it is 0."""
    network = relu_network(bias=False)
    logits = np.asarray(network(IMAGES))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    along = (p - np.eye(3)[LABELS]) * logits
    found = run(FisherRao(normalized=normalized), network)
    if normalized:
        assert found.value < 1e-12
        return
    squares = (2 * along.sum(1)) ** 2
    assert found.value == pytest.approx(squares.mean() ** 0.5, rel=1e-10)
    assert found.error == pytest.approx(squares.std(ddof=1) / 12**0.5 / (2 * found.value), rel=1e-8)
    variances = (p * logits**2).sum(1) - (p * logits).sum(1) ** 2
    assert found.more["of_model"] == pytest.approx((4 * variances.mean()) ** 0.5, rel=1e-10)


def test_fisher_rao_of_the_models_own_labels_is_the_gauss_newton_form() -> None:
    network = relu_network()
    product = GaussNewtonProduct(network, IMAGES, LABELS)
    weights = np.concatenate([w.ravel() for w in network.get_weights()])
    found = run(FisherRao(), network)
    assert found.more["of_model"] ** 2 == pytest.approx(weights @ product(weights), rel=1e-9)


def test_the_gradients_norm_and_what_stands_beside_it() -> None:
    network = relu_network()
    found = run(GradientNorm(), network)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images := tf.constant(IMAGES))
        losses = keras.losses.sparse_categorical_crossentropy(LABELS, network(images), from_logits=True)
        loss = tf.reduce_mean(losses)
    slope = np.concatenate([np.ravel(g) for g in tape.gradient(loss, network.trainable_variables)])
    pixels = np.abs(tape.gradient(losses, images)).reshape(12, -1).sum(1)
    assert found.value == pytest.approx(np.linalg.norm(slope), rel=1e-10)
    assert found.more["loss"] == pytest.approx(float(loss), rel=1e-10)
    assert found.more["input_gradient"] == pytest.approx(pixels.mean(), rel=1e-10)


# What a rescaling may not move

INVARIANT: list[SharpnessSpec] = [
    AverageSharpness(sigma=0.2, adaptive=True, draws=4),
    PacBayes(adaptive=True, draws=4, tolerance=1e-9),
    WorstSharpness(rho=0.3, adaptive=True, batch_size=6),
    WorstSharpness(rho=0.05, adaptive=True, norm="Linf", batch_size=6),
    RelativeFlatness(),
    FisherRao(),
]
MOVED: list[SharpnessSpec] = [
    AverageSharpness(sigma=0.2, draws=4),
    PacBayes(draws=4),
    WorstSharpness(rho=0.3, batch_size=6),
    WorstSharpness(rho=0.05, norm="Linf", batch_size=6),
]


def name(spec: SharpnessSpec) -> str:
    return f"{type(spec).__name__}-{spec.unusual().get('norm', '')}"


def rescaled(network: Any, first: float, last: float, last_bias: float) -> Any:
    w1, b1, w2, b2 = network.get_weights()
    network.set_weights([first * w1, first * b1, last * w2, last_bias * b2])
    return network


def numbers(spec: SharpnessSpec, network: Any) -> list[float]:
    found = run(spec, network)
    return [found.value, *(found.more[key] for key in ("penultimate", "of_model") if key in found.more)]


@pytest.mark.parametrize("spec", INVARIANT, ids=name)
@pytest.mark.parametrize("normalized", [False, True])
def test_rescaled_layers_do_not_move_it(spec: SharpnessSpec, normalized: bool) -> None:
    """relu(3 W1 x) W2 / 3 is the same network (Dinh et al. 2017)."""
    spec = spec.model_copy(
        update={"normalized": normalized, "rise": 0.05}
        if isinstance(spec, PacBayes)
        else {"normalized": normalized}
    )
    network = relu_network()
    before = numbers(spec, network)
    assert np.isfinite(before).all()
    assert numbers(spec, rescaled(network, 3, 1 / 3, 1)) == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize("spec", MOVED, ids=name)
def test_rescaled_layers_move_what_is_not_relative(spec: SharpnessSpec) -> None:
    network = relu_network()
    before = run(spec, network).value
    after = run(spec, rescaled(network, 10, 1 / 10, 1)).value
    assert abs(after - before) > 0.2 * abs(before)


def test_rescaled_layers_move_lambda1() -> None:
    network = relu_network()
    tops = []
    for factor in (1, 10):
        dense = dense_hessian(rescaled(network, factor, 1 / factor, 1), IMAGES, LABELS)
        tops.append(np.linalg.eigvalsh(dense)[-1])
    assert abs(np.log(tops[1] / tops[0])) > 0.5


@pytest.mark.parametrize("spec", INVARIANT, ids=name)
def test_scaled_logits_move_it_but_for_normalized_ones(spec: SharpnessSpec) -> None:
    network = relu_network()
    normalized = spec.model_copy(
        update={"normalized": True, **({"rise": 0.05} if isinstance(spec, PacBayes) else {})}
    )
    plain, unit = numbers(spec, network), numbers(normalized, network)
    rescaled(network, 1, 3, 3)
    assert numbers(normalized, network) == pytest.approx(unit, rel=1e-5, abs=1e-12)
    assert abs(numbers(spec, network)[0] - plain[0]) > 0.05 * abs(plain[0])


# What cannot be


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("average_sharpness: {sigma: 0.0}", "sigma: expected greater than 0, received 0.0"),
        ("average_sharpness: {sigma: -1.0}", "sigma: expected greater than 0, received -1.0"),
        ("worst_sharpness: {rho: 0.0}", "rho: expected greater than 0, received 0.0"),
        ("worst_sharpness: {norm: L1}", "norm: expected 'L2' or 'Linf', received 'L1'"),
        ("pac_bayes: {rise: -0.5}", "rise: expected greater than 0, received -0.5"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_in_a_line(config: Config, block: str, said: str) -> None:
    key, value = block.split(": ", 1)
    line = refusal(lambda: load_experiment(config(), (f"curvature.{key}={value}",)))
    assert f"curvature.{key}.{said}" in line


def test_a_network_without_a_dense_end_has_no_relative_flatness() -> None:
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.Input((2, 2, 1)), keras.layers.Conv2D(3, 2), keras.layers.Flatten()], name="convolutions"
    )
    with pytest.raises(RequestError, match="measure: convolutions does not end with a dense layer"):
        run(RelativeFlatness(), network)


def test_a_batch_larger_than_the_images_is_refused() -> None:
    assert WorstSharpness(examples=50).unfit(9, None) == (
        "batch_size: expected at most the 50 images of examples, received 100"
    )
