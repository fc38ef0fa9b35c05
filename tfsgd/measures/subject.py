"""A network and its images, as a measure sees them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.victim import Images, Labels, Mask, Victim

if TYPE_CHECKING:
    from tfsgd.measures.curvature_spec import CurvatureSpec, Vector
    from tfsgd.measures.spec import Request


class Subject(Protocol):
    """What several measures need of one network is computed once."""

    @property
    def victim(self) -> Victim:
        """For attacks."""

    def unchanged(self) -> AbstractContextManager[None]:
        """Puts back what code of one's own changes of the network, and refuses what it has found on that."""

    def images(self, split: str, examples: int) -> tuple[Images, Labels]:
        """The first so many images of a split in [0, 1], and their labels."""

    def labels(self, split: str, examples: int) -> Labels:
        """The labels alone."""

    def logits(self, split: str, examples: int) -> NDArray[np.float64]:
        """Of them, `(N, classes)`, in inference mode."""

    def weights(self) -> list[NDArray[np.floating[Any]]]:
        """The values of the variables that are trained."""

    def initial_weights(self) -> list[NDArray[np.floating[Any]]] | None:
        """The same before the training; `None`: they are not known."""

    def next_step(self, gradient: Vector) -> NDArray[np.float64] | None:
        """What the optimizer would add to the weights now for a gradient, both `(dimension,)`; `None`: there is none."""

    def features(self, split: str, examples: int) -> NDArray[np.float64] | None:
        """What the last dense layer sees of the images, `(N, d)`; `None`: the network does not end with one."""

    def clean(self, split: str, examples: int) -> Mask:
        """Which of them get their true label unperturbed."""

    def keep(self, request: Request, outcomes: NDArray[np.generic]) -> str:
        """Keeps what became of every image under an attack; its SHA-256."""

    def product(self, spec: CurvatureSpec, split: str, examples: int) -> Any:
        """v -> Hv on them, or what else the measure's operator is; see `tfsgd.networks.hessian.Product`."""
