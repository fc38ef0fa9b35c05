"""The other side of the expensive measures: PyHessian, curvlinops with SciPy, Foolbox and ART, on the same weights.

Each is called as its documentation says, on the PyTorch network of `bench.peer`.
"""

import warnings
from pathlib import Path
from typing import Any

import foolbox
import numpy as np
import torch
from art.attacks import evasion
from art.estimators.classification import PyTorchClassifier
from art.utils import to_categorical
from curvlinops import HessianLinearOperator
from pyhessian import hessian
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn

from bench import peer
from bench.worker import Run

ART_BATCH = 250
SEED = 0

warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph=True")


def start(threads: int) -> None:
    """Before anything is computed."""
    peer.start(threads)
    torch.manual_seed(SEED)
    np.random.seed(SEED)


# Curvature


def trace(folder: Path, examples: int, probes: int) -> Run:
    """PyHessian's Hutchinson estimator, all probes."""
    found = _pyhessian(folder, examples)

    def run() -> dict[str, Any]:
        values = found.trace(maxIter=probes, tol=0)
        error = float(np.std(values, ddof=1)) / len(values) ** 0.5
        return {"value": float(np.mean(values)), "error": error, "products": len(values)}

    return run


def density(folder: Path, examples: int, probes: int, steps: int) -> Run:
    """PyHessian's stochastic Lanczos quadrature; the mean of its largest nodes."""
    found = _pyhessian(folder, examples)
    torch.eig = _eig

    def run() -> dict[str, Any]:
        nodes, _ = found.density(iter=steps, n_v=probes)
        return {"largest": float(np.mean([max(each) for each in nodes])), "products": probes * steps}

    return run


def _eig(matrix: Tensor, eigenvectors: bool) -> tuple[Tensor, Tensor]:
    """`torch.eig`, which PyHessian asks for and PyTorch no longer has, of a symmetric matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return torch.stack([values, torch.zeros_like(values)], 1), vectors


def extremes(folder: Path, examples: int, k: int, tolerance: float) -> Run:
    """The k largest eigenvalues and, where k is above 1, the lowest one: curvlinops's product in SciPy's `eigsh`."""
    network, images, labels = _network(folder, examples)
    batches = list(zip(images.split(peer.HESSIAN_BATCH), labels.split(peer.HESSIAN_BATCH), strict=True))
    operator = HessianLinearOperator(
        network, nn.CrossEntropyLoss(), list(network.parameters()), batches, check_deterministic=False
    ).to_scipy()
    counted = _Counted(operator)

    def run() -> dict[str, Any]:
        counted.products = 0
        rng = np.random.default_rng(SEED)
        ends = ("LA", "SA") if k > 1 else ("LA",)
        found = [
            eigsh(counted.operator(), k if which == "LA" else 1, which=which, tol=tolerance,
                  v0=rng.standard_normal(operator.shape[0]), return_eigenvectors=False)
            for which in ends
        ]  # fmt: skip
        lowest = {"lowest": float(found[1][0])} if k > 1 else {}
        return {
            "value": float(found[0].max()),
            "kth": float(found[0].min()),
            "products": counted.products,
        } | lowest

    return run


class _Counted:
    """An operator that counts its products."""

    def __init__(self, operator: Any) -> None:
        self._operator, self.products = operator, 0

    def operator(self) -> Any:
        from scipy.sparse.linalg import LinearOperator

        def product(vector: Any) -> Any:
            self.products += 1
            return self._operator @ vector.astype(np.float32)

        return LinearOperator(self._operator.shape, matvec=product, dtype=np.float32)


# Attacks


def foolbox_attack(folder: Path, kind: str, examples: int, epsilon: float, steps: int) -> Run:
    """Foolbox: the accuracy under `fgsm`, `pgd` or `noise`; of `minimal` (FMN) the median smallest epsilon."""
    network, images, labels = _network(folder, examples, "test")
    victim = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    attacks = foolbox.attacks
    attack = {
        "fgsm": lambda: attacks.LinfFastGradientAttack(),
        "pgd": lambda: attacks.LinfPGD(steps=steps, rel_stepsize=1 / 30, random_start=True),
        "noise": lambda: attacks.LinfRepeatedAdditiveUniformNoiseAttack(repeats=steps),
        "minimal": lambda: attacks.LInfFMNAttack(steps=steps),
    }[kind]()

    def run() -> dict[str, Any]:
        smallest, broken = np.empty(examples), np.empty(examples, bool)
        for begin in range(0, examples, peer.ATTACK_BATCH):
            part = slice(begin, begin + peer.ATTACK_BATCH)
            clean = images[part].contiguous()
            radius = None if kind == "minimal" else epsilon
            _, moved, success = attack(victim, clean, labels[part], epsilons=radius)
            distance = (moved - clean).abs().flatten(1).max(1).values.numpy()
            broken[part] = success.numpy()
            smallest[part] = np.where(broken[part], distance, np.inf)
        median = float(np.quantile(smallest, 0.5, method="inverted_cdf"))
        return {"accuracy": float(1 - broken.mean())} | ({"median": median} if kind == "minimal" else {})

    return run


def art_attack(folder: Path, kind: str, examples: int, epsilon: float, steps: int) -> Run:
    """ART: the accuracy under `fgsm`, `pgd`, `apgd`, `apgd-dlr` or `square`."""
    network, images, labels = _network(folder, examples, "test")
    classifier = PyTorchClassifier(
        network, nn.CrossEntropyLoss(), tuple(images.shape[1:]), 10, clip_values=(0, 1), device_type="cpu"
    )
    same: dict[str, Any] = {"eps": epsilon, "batch_size": ART_BATCH}
    auto = {**same, "eps_step": 2 * epsilon, "max_iter": steps, "nb_random_init": 1, "verbose": False}
    attack = {
        "fgsm": lambda: evasion.FastGradientMethod(classifier, **same),
        "pgd": lambda: evasion.ProjectedGradientDescentPyTorch(
            classifier, **same, eps_step=epsilon / 30, max_iter=steps, num_random_init=1, verbose=False
        ),
        "apgd": lambda: evasion.AutoProjectedGradientDescent(classifier, **auto, loss_type="cross_entropy"),
        "apgd-dlr": lambda: evasion.AutoProjectedGradientDescent(
            classifier, **auto, loss_type="difference_logits_ratio"
        ),
        "square": lambda: evasion.SquareAttack(classifier, **same, max_iter=steps, verbose=False),
    }[kind]()

    def run() -> dict[str, Any]:
        moved = attack.generate(images.numpy(), to_categorical(labels.numpy(), 10))
        predicted = classifier.predict(moved, batch_size=ART_BATCH).argmax(1)
        return {"accuracy": float((predicted == labels.numpy()).mean())}

    return run


# What all share


def _network(folder: Path, examples: int, split: str = "train") -> tuple[nn.Sequential, Tensor, Tensor]:
    """The trained StdCNN in inference mode, and images `(N, channels, height, width)`."""
    network = peer.load_network(folder, "stdcnn", "stdcnn-trained").eval()
    images, labels = peer.load_images(folder, split, examples)
    return network, peer.channels_first(images), labels


def _pyhessian(folder: Path, examples: int) -> hessian:
    network, images, labels = _network(folder, examples)
    size = peer.HESSIAN_BATCH
    batches = list(zip(images.split(size), labels.split(size), strict=True))
    return hessian(network, nn.CrossEntropyLoss(), dataloader=batches, cuda=False)


JOBS = {
    "trace": trace,
    "density": density,
    "extremes": extremes,
    "foolbox": foolbox_attack,
    "art": art_attack,
}
