"""Another network, whose perturbations are tried on the one that is measured."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfsgd.errors import RequestError
from tfsgd.measures.attack import AttackSpec, Outcome
from tfsgd.measures.victim import Images, Labels
from tfsgd.networks.compiled_victim import CompiledVictim
from tfsgd.networks.load_network import load_network, network_sha256


class Source:
    """A network from a file; a perturbation that was computed once is kept.

    Args:
        path: a `.keras` file or a SavedModel's folder.

    Attributes:
        sha256: of the file, or of all files of the folder.

    Raises:
        RequestError: it is no network that can be attacked.
    """

    def __init__(self, path: Path) -> None:
        network = load_network(path)
        self.sha256 = network_sha256(path)
        self._path = path
        self._image_shape = tuple(network.input_shape[1:])
        self._victim = CompiledVictim.of(network)
        self._known: dict[Any, Outcome] = {}

    def perturbed(
        self, spec: AttackSpec, images: Images, labels: Labels, epsilon: float, seed: int
    ) -> Outcome:
        """What an attack on this network leaves; arguments as of `AttackSpec.run`.

        Raises:
            RequestError: the images or labels do not fit it, or its outputs are not finite.
        """
        if images.shape[1:] != self._image_shape:
            raise RequestError(
                f"source: {self._path}: it takes images of shape {self._image_shape}, these have {images.shape[1:]}"
            )
        digest = hashlib.sha256(images.tobytes() + labels.tobytes()).digest()
        key = (spec.model_dump_json(), epsilon, seed, digest)
        if key not in self._known:
            logits = self._victim.logits(images)
            if not np.isfinite(logits).all():
                raise RequestError(f"source: {self._path}: its outputs are not finite: its training diverged")
            if labels.max() >= logits.shape[1]:
                raise RequestError(
                    f"source: {self._path}: it has {logits.shape[1]} outputs, there are labels up to {labels.max()}"
                )
            self._known[key] = spec.run(self._victim, images, labels, epsilon, seed)
        return self._known[key]


class Sources:
    """Networks by the name that a config gives them, each loaded once.

    Args:
        find: a name -> the network's file; by default the name is a path, from the working directory.
    """

    def __init__(self, find: Callable[[str], Path] = Path) -> None:
        self._find = find
        self._known: dict[str, Source] = {}

    def __call__(self, name: str) -> Source:
        """The network of a name.

        Raises:
            RequestError: there is none; the line begins with `source`.
        """
        if name not in self._known:
            try:
                self._known[name] = Source(self._find(name))
            except RequestError as error:
                raise RequestError(f"source: {error}") from None
        return self._known[name]
