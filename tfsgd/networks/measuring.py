"""A request on a network -> a measurement."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any

from tfsgd.data.dataset import Splits, to_unit
from tfsgd.measures.always import InputGradient
from tfsgd.measures.attack import AttackSpec
from tfsgd.measures.curvature_spec import CurvatureSpec
from tfsgd.measures.spec import Measurement, Request
from tfsgd.measures.victim import Images, Labels, Mask, Victim
from tfsgd.networks.accuracy import Evaluator, certainty
from tfsgd.networks.compiled_victim import CompiledVictim, run_checked
from tfsgd.networks.direction import direction
from tfsgd.networks.input_gradient import steepness
from tfsgd.networks.operators import curvature_of, product_of
from tfsgd.networks.surrogate import Sources


class Subject:
    """A network and the images that it is measured on; what several measurements need is computed once.

    Args:
        network: a Keras model in inference mode, or what looks like one: called with images, float32 in [0, 1],
            and `training=False` it returns logits; it has `input_shape`, `name` and `trainable_variables`.
        splits: the images, cut to those that are used.
        batch_size: with which it was trained, where that is known.
        sources: other networks, for attacks that need them.
    """

    def __init__(
        self, network: Any, splits: Splits, batch_size: int | None = None, sources: Sources | None = None
    ) -> None:
        self._batch_size = batch_size
        self._sources = sources or Sources()
        self.network = network
        self.splits = splits
        self._clean: dict[tuple[str, int], Mask] = {}
        self._products: dict[tuple[Any, ...], Any] = {}

    @cached_property
    def victim(self) -> Victim:
        """For attacks."""
        victim = CompiledVictim.of(self.network)
        victim.beside = self._sources
        return victim

    @cached_property
    def evaluate(self) -> Evaluator:
        """For natural accuracy."""
        return Evaluator(self.network)

    def images(self, split: str, examples: int) -> tuple[Images, Labels]:
        """The first so many images of a split in [0, 1], and their labels."""
        first = getattr(self.splits, split).first(examples)
        return to_unit(first.images), first.labels

    def clean(self, split: str, examples: int) -> Mask:
        """Which of them get their true label unperturbed."""
        if (split, examples) not in self._clean:
            images, labels = self.images(split, examples)
            self._clean[split, examples] = self.victim.predict(images) == labels
            self._assert_natural(float(self._clean[split, examples].mean()), split, examples)
        return self._clean[split, examples]

    def _assert_natural(self, clean: float, split: str, examples: int) -> None:
        """Holds what attacks begin with to natural accuracy on the same images, which another graph computes."""
        natural = self.evaluate(getattr(self.splits, split).first(examples)).accuracy
        if (
            natural is not None and abs(clean - natural) > 1 / examples + 1e-3
        ):  # rounding decides at a boundary
            raise ArithmeticError(
                f"clean accuracy on {examples:,} {split} images is {clean:.4f} before an attack, and {natural:.4f} as natural "
                "accuracy: code of one's own has changed images, labels or the network"
            )

    def product(self, spec: CurvatureSpec, split: str, examples: int) -> Any:
        """v -> Hv on them, or the product that the measure asks for."""
        size = getattr(spec, "batch_size", None) if spec.mode == "training" else None
        key = (spec.operator, spec.mode, size, split, examples)
        if key not in self._products:
            images, labels = self.images(split, examples)
            self._products[key] = product_of(spec, self.network, images, labels, self._batch_size)
        return self._products[key]


def measure(subject: Subject, request: Request) -> Measurement:
    """Measures what is asked for on a network and its images.

    Raises:
        RequestError: the network cannot be attacked, see `Victim`.
    """
    began = time.perf_counter()
    values = _MEASURES[request.spec.kind](subject, request)
    return request.measured(values, time.perf_counter() - began)


def _accuracy(subject: Subject, request: Request) -> Mapping[str, Any]:
    split = getattr(subject.splits, request.split).first(request.examples)
    return asdict(subject.evaluate(split))


def _confidence(subject: Subject, request: Request) -> Mapping[str, Any]:
    split = getattr(subject.splits, request.split).first(request.examples)
    return asdict(certainty(subject.evaluate.logits(split), split.labels))


def _attack(subject: Subject, request: Request) -> Mapping[str, Any]:
    assert isinstance(request.spec, AttackSpec)
    assert request.epsilon is not None
    images, labels = subject.images(request.split, request.examples)
    outcome = run_checked(request.spec, subject.victim, images, labels, request.epsilon, request.seed)
    clean = subject.clean(request.split, request.examples)
    return {
        "accuracy": float(outcome.correct.mean()),
        "clean_accuracy": float(clean.mean()),
        **outcome.values,
    }


def _gradient(subject: Subject, request: Request) -> Mapping[str, Any]:
    images, labels = subject.images(request.split, request.examples)
    if isinstance(request.spec, InputGradient):
        return asdict(steepness(subject.victim, images, labels))
    return asdict(direction(subject.victim, images, labels))


def _curvature(subject: Subject, request: Request) -> Mapping[str, Any]:
    assert isinstance(request.spec, CurvatureSpec)
    product = subject.product(request.spec, request.split, request.examples)
    return curvature_of(request.spec, product, request.seed).values()


_MEASURES = {
    "accuracy": _accuracy,
    "confidence": _confidence,
    "attack": _attack,
    "gradient": _gradient,
    "curvature": _curvature,
}
