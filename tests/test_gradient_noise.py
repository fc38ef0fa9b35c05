"""The gradient noise scale against the gradients of all images, one by one, and against all batches there are."""

from itertools import combinations
from typing import Any

import keras
import numpy as np
import pytest

from tests.own import refusal
from tests.test_hessian import flat_gradient, small_network
from tfsgd.measures.curvature.gradient_noise import GradientNoise
from tfsgd.measures.curvature_spec import Vector
from tfsgd.networks.batch_hessian import BatchProduct

RNG = np.random.default_rng(4)
IMAGES, LABELS = RNG.random((23, 6, 6, 1)), RNG.integers(0, 4, 23)

pytestmark = pytest.mark.usefixtures("float64")


def exact(model: Any) -> tuple[float, float]:
    """tr S and |grad L|², from the gradient of each image alone."""
    each = np.array([flat_gradient(model, IMAGES[i : i + 1], LABELS[i : i + 1]) for i in range(23)])
    mean = each.mean(0)
    return float(((each - mean) ** 2).sum(1).mean()), float(mean @ mean)


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.long), 7])
def test_of_an_enumerable_network_it_is_the_ratio_within_its_error(batch_size: int) -> None:
    keras.utils.set_random_seed(0)
    model = small_network(hidden=3)
    trace, squared = exact(model)
    product = BatchProduct(model, IMAGES, LABELS, chunk_size=5)
    found = GradientNoise(batch_size=batch_size, batches=600).run(product, product.dimension, 1)
    assert found.more["squared_gradient"] == pytest.approx(squared, rel=1e-9)
    assert found.value == pytest.approx(trace / squared, abs=3 * found.error)
    assert found.error < 0.08 * found.value
    assert found.more["trace"] == pytest.approx(trace, abs=3 * found.more["trace_error"])
    assert found.value == found.more["trace"] / found.more["squared_gradient"]
    assert (found.products, found.converged) == (601, True)


class AllBatches:
    """Stands for the batches: per-image gradients of its own, and instead of random batches all, one after the other."""

    batch_size = None

    def __init__(self, each: np.ndarray, size: int) -> None:
        self.each, self.examples = each, len(each)
        self.waiting = [np.arange(len(each)), *map(np.array, combinations(range(len(each)), size))]

    def gradient(self, indices: np.ndarray) -> Vector:
        assert len(indices) == len(self.waiting[0])
        return self.each[self.waiting.pop(0)].mean(0)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_over_all_batches_there_are_it_is_exact(size: int) -> None:
    """Unbiased: the mean over the 7 choose b batches is tr S / |grad L|² without any error."""
    each = np.random.default_rng(size).standard_normal((7, 3)) + 0.5
    source: Any = AllBatches(each, size)
    count = len(source.waiting) - 1
    found = GradientNoise(batch_size=size, batches=count).run(source, 3)
    mean = each.mean(0)
    assert found.value == pytest.approx(((each - mean) ** 2).sum() / 7 / (mean @ mean), rel=1e-12)
    assert source.waiting == []


def test_without_a_gradient_there_is_no_ratio() -> None:
    source: Any = AllBatches(np.array([[1.0], [-1.0]]), 1)
    found = GradientNoise(batch_size=1, batches=2).run(source, 1)
    assert np.isnan(found.value)
    assert (found.converged, found.more["trace"]) == (False, 1.0)


def test_a_batch_of_all_images_is_refused() -> None:
    product = BatchProduct(small_network(hidden=2), IMAGES, LABELS)
    few = GradientNoise(batch_size=23)
    said = refusal(lambda: few.run(product, product.dimension, 0))
    assert "gradient_noise.batch_size: expected fewer than the 23 images of examples, received 23" in said
