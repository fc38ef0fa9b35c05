"""A network with the images that it is measured on."""

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfsgd.data.dataset import Splits, to_unit
from tfsgd.errors import RequestError
from tfsgd.measures.attack import AttackSpec, run_checked
from tfsgd.measures.curvature_spec import CurvatureSpec, Vector
from tfsgd.measures.spec import Request, digest
from tfsgd.measures.temperature import calibrating
from tfsgd.measures.victim import Images, Labels, Mask, Victim
from tfsgd.networks.accuracy import Evaluator
from tfsgd.networks.compiled_victim import CompiledVictim
from tfsgd.networks.landscape import Landscape
from tfsgd.networks.operators import check_mode, product_of
from tfsgd.networks.surrogate import Sources


class MeasuredNetwork:
    """A network and the images that it is measured on; what several measurements need is computed once.

    Args:
        network: a Keras model in inference mode, or what looks like one: called with images, float32 in [0, 1],
            and `training=False` it returns logits; it has `input_shape`, `name` and `trainable_variables`.
        splits: the images, cut to those that are used.
        batch_size: with which it was trained, where that is known.
        sources: other networks, for attacks that need them.
        initial: gives the weights with which the training began, see `tfsgd.training.model.initial_weights`.
    """

    def __init__(
        self,
        network: Any,
        splits: Splits,
        batch_size: int | None = None,
        sources: Sources | None = None,
        initial: Callable[[], list[NDArray[Any]] | None] = lambda: None,
    ) -> None:
        self._batch_size, self._initial = batch_size, initial
        self._step: Callable[[Vector], NDArray[np.float64]] | None = None
        self._sources = sources or Sources()
        self.network = network
        self.splits = splits
        self._outcomes: dict[str, NDArray[np.generic]] = {}
        self._clean: dict[tuple[str, int], Mask] = {}
        self._products: dict[_ProductKey, Any] = {}

    @property
    def victim(self) -> Victim:
        """For attacks."""
        self._compiled.beside = self._sources
        return self._compiled

    @cached_property
    def _compiled(self) -> CompiledVictim:
        return CompiledVictim.of(self.network)

    @cached_property
    def evaluate(self) -> Evaluator:
        """For natural accuracy."""
        return Evaluator(self.network)

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Puts back what code of one's own changes of the network's variables: other numbers are as without it.

        Raises:
            ArithmeticError: it has changed one.
        """
        variables = getattr(self.network, "variables", self.network.trainable_variables)
        pairs = [(variable, variable.numpy()) for variable in variables]
        changed = []
        try:
            yield
        finally:
            changed = [
                (v, before) for v, before in pairs if not np.array_equal(v.numpy(), before, equal_nan=True)
            ]
            for variable, before in changed:
                variable.assign(before)
        if changed:
            raise ArithmeticError(f"it changed the network ({changed[0][0].name}), which is as before again")

    def images(self, split: str, examples: int) -> tuple[Images, Labels]:
        """The first so many images of a split in [0, 1], and their labels."""
        first = getattr(self.splits, split).first(examples)
        return to_unit(first.images), first.labels

    def labels(self, split: str, examples: int) -> Labels:
        """The labels alone."""
        labels: Labels = getattr(self.splits, split).first(examples).labels
        return labels

    def logits(self, split: str, examples: int) -> NDArray[np.float64]:
        """Of them, `(N, classes)`."""
        return self.evaluate.logits(getattr(self.splits, split).first(examples))

    def weights(self) -> list[NDArray[np.floating[Any]]]:
        """The values of the variables that are trained."""
        return [np.asarray(variable) for variable in self.network.trainable_variables]

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

    def keep(self, request: Request, outcomes: NDArray[np.generic]) -> str:
        """Keeps what became of every image under an attack, by the request's identity; its SHA-256."""
        self._outcomes[request.identity] = outcomes
        return digest(outcomes)

    def forget(self) -> None:
        """What is known of its weights, which have changed; graphs stay, they read the weights anew."""
        self._clean.clear()
        self._outcomes.clear()

    def go_on_with(self, other: "MeasuredNetwork") -> None:
        """Becomes another one of the same structure, whose weights its network gets: its graphs are traced already."""
        self.network.set_weights(other.network.get_weights())
        self._batch_size, self._initial, self._sources = other._batch_size, other._initial, other._sources
        self.forget()
        same = self._products.items() if self.splits is other.splits else ()
        self.splits, self._products = other.splits, {key: product for key, product in same if not key.at}
        for product in self._products.values():
            vars(product).pop("evidence", None)

    def new_outcomes(self) -> dict[str, NDArray[np.generic]]:
        """What became of every image under the attacks since this was last asked, by the identity of the request."""
        new, self._outcomes = self._outcomes, {}
        return new

    @contextlib.contextmanager
    def while_trained(self, step: Callable[[Vector], NDArray[np.float64]]) -> Iterator[None]:
        """While it lasts `next_step` is that of the optimizer, see `tfsgd.training.next_step.NextStep`."""
        self._step = step
        try:
            yield
        finally:
            self._step = None

    def next_step(self, gradient: Vector) -> NDArray[np.float64] | None:
        """What the optimizer would add to the weights now for a gradient, both `(dimension,)`; `None`: there is none."""
        return self._step(gradient) if self._step else None

    @property
    def _temperature(self) -> float:
        """That which calibrates the network on the validation images."""
        split = self.splits.validation
        return calibrating(self.evaluate.logits(split), split.labels)

    def features(self, split: str, examples: int) -> NDArray[np.float64] | None:
        """What the last dense layer sees of them, `(N, d)`; `None`: there is no such layer."""
        try:
            return Landscape(self.network, *self.images(split, examples)).head().features
        except RequestError:
            return None

    def initial_weights(self) -> list[NDArray[np.floating[Any]]] | None:
        """The values of the variables that are trained, before the training; `None`: they are not known."""
        return self._initial()

    def product(self, spec: CurvatureSpec, split: str, examples: int) -> Any:
        """v -> Hv on them, or the product that the measure asks for; on what its attack leaves of them, if it has one."""
        # What was found with these weights is not that of others, which a training may have given meanwhile.
        key = _ProductKey(
            spec.operator,
            spec.mode,
            spec.loss,
            (getattr(spec, "batch_size", None), self._batch_size) if self._is_by_batch(spec) else None,
            getattr(spec, "normalized", False),
            json.dumps(spec.settings().get("attacked")),
            digest(np.concatenate([np.ravel(w) for w in self.weights()]))
            if self._is_of_weights(spec)
            else "",
            split,
            examples,
        )
        if key not in self._products:
            images, labels = self.images(split, examples)
            images = self._under(spec.attacked, images, labels) if spec.attacked else images
            self._products[key] = self._product(spec, images, labels)
        return self._products[key]

    def check(self, spec: CurvatureSpec) -> None:
        """Refuses a measure that cannot be taken on the network.

        Raises:
            RequestError: why not.
        """
        check_mode(spec, self.network, None)

    def _product(self, spec: CurvatureSpec, images: Images, labels: Labels) -> Any:
        temperature = self._temperature if spec.operator == "calibrated" else 1.0
        return product_of(spec, self.network, images, labels, self._batch_size, temperature)

    @staticmethod
    def _is_by_batch(spec: CurvatureSpec) -> bool:
        return spec.mode == "training" or spec.operator == "batches"

    @staticmethod
    def _is_of_weights(spec: CurvatureSpec) -> bool:
        """Whether its images or its loss depend on the weights."""
        return spec.attacked is not None or spec.operator == "calibrated"

    def _under(self, attack: AttackSpec, images: Images, labels: Labels) -> Images:
        """What an attack leaves of images at its first epsilon, by the seed 0; at 0 they are what they are."""
        epsilon = attack.epsilon[0]
        if not epsilon:
            return images
        return run_checked(attack, self.victim, images, labels, epsilon, 0).images


class _ProductKey(NamedTuple):
    """On what a product depends, besides the network."""

    operator: str
    mode: str
    loss: str
    batch_sizes: tuple[int | None, int | None] | None
    normalized: bool
    attacked: str
    at: str  # a hash of the weights, where its images or its loss are theirs
    split: str
    examples: int


_last: dict[str, MeasuredNetwork] = {}  # one at most


def with_known_graphs(subject: MeasuredNetwork, structure: str) -> MeasuredNetwork:
    """What was measured last here with a subject's weights and images, if its network has the same structure; else the subject.

    A trial's graphs take seconds to trace, and the next trial's are the same.

    Args:
        subject: what is to be measured.
        structure: a hash of all that its graphs depend on.
    """
    last = _last.get(structure, subject)
    if last is not subject:
        last.go_on_with(subject)
    return last


def keep_graphs(subject: MeasuredNetwork, structure: str) -> None:
    """Has `with_known_graphs` give it to the next one, in the place of the one before."""
    _last.clear()
    _last[structure] = subject
