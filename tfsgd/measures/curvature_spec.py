"""What every curvature measure has: images that define the Hessian, and a `run` over its products."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import SerializeAsAny, SerializerFunctionWrapHandler, model_serializer, model_validator
from typing_extensions import Self

from tfsgd.fields import Count
from tfsgd.measures.attack import AttackSpec
from tfsgd.measures.spec import Kind, Request, Spec

if TYPE_CHECKING:
    from tfsgd.measures.subject import Subject

Vector = NDArray[np.floating[Any]]  # (number of trainable parameters,)
Matvec = Callable[[Vector], Vector]  # v -> Hv, H symmetric
Operator = Literal["hessian", "gauss_newton", "batches", "inputs", "landscape", "calibrated"]


class Batches(Protocol):
    """What `run` sees of an operator `batches`.

    Attributes:
        examples: images that batches are drawn from.
        batch_size: with which the network was trained; `None` where that is not known.
    """

    examples: int
    batch_size: int | None

    def gradient(self, indices: NDArray[np.integer[Any]]) -> Vector:
        """Gradient of the mean loss over the images of these indices, `(dimension,)`, in float64."""

    def along_gradient(self, indices: NDArray[np.integer[Any]]) -> tuple[float, float]:
        """gᵀH_B g and |g|², g the gradient of the mean loss over the images of these indices."""


class Inputs(Protocol):
    """What `run` sees of an operator `inputs`.

    Attributes:
        examples: images.
    """

    examples: int

    def __call__(
        self, vectors: NDArray[np.float64], indices: NDArray[np.integer[Any]]
    ) -> NDArray[np.float64]:
        """H_i v_i of the images of these indices, `(n, dimension)`, H_i with respect to the image's own pixels."""


@dataclass(frozen=True)
class Curvature:
    """A number that belongs to a Hessian, and the evidence for it.

    Attributes:
        value: NaN where H has non-finite entries.
        error: how far the value may be off, in the measure's own terms, which its docstring gives.
        products: Hessian-vector products taken.
        converged: whether the error is within what was asked for.
        more: whatever else was found, for the record: numbers or lists of numbers.
    """

    value: float
    error: float
    products: int
    converged: bool
    more: Mapping[str, Any] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """As a record keeps it."""
        is_number = isinstance(self.value, int | float | np.number)
        if is_number and self.converged and (self.error < 0 or not np.isfinite(self.value)):
            raise ValueError(
                f"the measure says that it has converged, with value {self.value} and error {self.error}"
            )
        found = {
            "value": self.value,
            "error": self.error,
            "products": self.products,
            "converged": self.converged,
        }
        if taken := found.keys() & self.more.keys():
            raise TypeError(f"the measure returned `more` with {min(taken)}, which Curvature has already")
        return {**found, **self.more}


class CurvatureSpec(Spec):
    """A number of the Hessian of the mean cross-entropy with respect to all trainable parameters.

    Attributes:
        measure: the kind: a file of `tfsgd.measures.curvature`, or `module:Class`; by default the block's label.
        examples: images that define H, without augmentation.
        split: from which they are the first.
        mode: inference: BatchNorm with its running statistics; training: with those of each batch of the trial's
            size, in which the loss is then taken: of the `examples` those that fill no batch are left out, unless
            there are fewer than a batch. Dropout is off in both.
        loss: whose Hessian it is: the cross-entropy, or of networks that are trained on it the squared error (`mse`).
        attacked: a shipped attack with its epsilons: the images are then those that it leaves of the `examples` at each epsilon.
        operator: whose products `run` sees: a class says it, no config.
    """

    kind: ClassVar[Kind] = "curvature"
    revision: ClassVar[int] = 2  # the first was wrong for images of which the network is sure
    operator: ClassVar[Operator] = "hessian"

    measure: str = ""
    examples: Count = 5_000
    split: Literal["train", "test"] = "train"
    mode: Literal["inference", "training"] = "inference"
    loss: Literal["cross_entropy", "mse"] = "cross_entropy"

    attacked: SerializeAsAny[AttackSpec] | None = None

    @model_validator(mode="after")
    def _has_such_a_loss(self) -> Self:
        if self.loss != "cross_entropy" and self.operator not in ("hessian", "gauss_newton", "batches"):
            raise ValueError(f"loss: expected cross_entropy, this measure has no other, received {self.loss}")
        return self

    @model_serializer(mode="wrap")
    def _without_the_usual(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """No attack and the usual loss are not told: configs and records say them no longer than they did."""
        found: dict[str, Any] = plain(self)
        for key, usual in (("attacked", None), ("loss", "cross_entropy")):
            if getattr(self, key) == usual:
                found.pop(key, None)
        return found

    def settings(self) -> dict[str, Any]:
        """As `Spec.settings`; of the attack what determines its perturbations."""
        found = super().settings()
        if self.attacked is not None:
            found["attacked"] = self.attacked.telling()
        return found

    def at_each_epsilon(self) -> dict[str, Self]:
        """What a label is followed by -> the measure on the images of one epsilon; without an attack it is itself."""
        if self.attacked is None:
            return {"": self}
        return {
            f"-{epsilon:g}": self.model_copy(
                update={"attacked": self.attacked.model_copy(update={"epsilon": (epsilon,)})}
            )
            for epsilon in self.attacked.epsilon
        }

    def run(self, matvec: Matvec, dimension: int, seed: int) -> Curvature:
        """Measures H by its products with vectors.

        Args:
            matvec: v -> Hv, vectors of shape `(dimension,)`.
            dimension: number of trainable parameters.
            seed: of whatever is drawn.

        Returns:
            The number, its error, and the products that it took.
        """
        raise NotImplementedError

    def values_on(self, subject: Subject, request: Request) -> Mapping[str, Any]:
        """As `Spec.values_on`."""
        return self.of(subject.product(self, request.split, request.examples), request.seed).values()

    def of(self, product: Any, seed: int = 0) -> Curvature:
        """Runs the measure on a product that `tfsgd.networks.operators.product_of` has made.

        Returns:
            What the measure found; its `more` holds the product's own evidence, too: how far it is from first
            derivatives, and of how many weights it is.

        Raises:
            RequestError: the product is wrong, or what the measure raises.
        """
        evidence = product.evidence
        found = self.run(product, product.dimension, seed)
        if not isinstance(found, Curvature):
            raise TypeError(f"the measure returned {type(found).__name__}, expected a Curvature")
        return replace(found, more={**evidence, **found.more})

    def unfit(self, dimension: int, batch_size: int | None) -> str:
        """What these settings ask for that is not there, in one line that begins with their key; empty: nothing.

        Args:
            dimension: number of trainable parameters.
            batch_size: with which the network is trained; `None` where that is not known.
        """
        return ""

    def vectors(self, dimension: int) -> int:
        """So many vectors of 8 bytes x parameters are in memory at once."""
        return 10
