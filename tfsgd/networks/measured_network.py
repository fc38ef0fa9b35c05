"""A network with the images that it is measured on."""

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

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
from tfsgd.networks.operators import product_of
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
        next_step: of the optimizer that trains it, see `tfsgd.training.next_step.NextStep`.
    """

    def __init__(
        self,
        network: Any,
        splits: Splits,
        batch_size: int | None = None,
        sources: Sources | None = None,
        initial: Callable[[], list[NDArray[Any]] | None] = lambda: None,
        next_step: Callable[[Vector], NDArray[np.float64] | None] = lambda gradient: None,
    ) -> None:
        self._batch_size, self._initial, self.next_step = batch_size, initial, next_step
        self._sources = sources or Sources()
        self.network = network
        self.splits = splits
        self._outcomes: dict[str, NDArray[np.generic]] = {}
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

    def new_outcomes(self) -> dict[str, NDArray[np.generic]]:
        """What became of every image under the attacks since this was last asked, by the identity of the request."""
        new, self._outcomes = self._outcomes, {}
        return new

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
        size = getattr(spec, "batch_size", None) if spec.mode == "training" else None
        attacked = json.dumps(spec.settings().get("attacked"))
        # What was found with these weights is not that of others, which a training may have given meanwhile.
        at = (
            digest(np.concatenate([np.ravel(w) for w in self.weights()])) if self._is_of_weights(spec) else ""
        )
        key = (
            spec.operator,
            spec.mode,
            spec.loss,
            size,
            getattr(spec, "normalized", False),
            attacked,
            at,
            split,
            examples,
        )
        if key not in self._products:
            images, labels = self.images(split, examples)
            images = self._under(spec.attacked, images, labels) if spec.attacked else images
            temperature = self._temperature if spec.operator == "calibrated" else 1.0
            self._products[key] = product_of(
                spec, self.network, images, labels, self._batch_size, temperature
            )
        return self._products[key]

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
