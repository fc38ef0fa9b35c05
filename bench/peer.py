"""The other side: StdCNN, M1 and C1 in PyTorch, with torchattacks and PyHessian, as one would write it.

Images lie in memory as one float tensor, an epoch is a permutation of its indices (no DataLoader),
convolutions get channels_last, the optimizer is PyTorch's fused SGD, running loss and accuracy stay
tensors until the epoch ends.
"""

import itertools
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchattacks
from pyhessian import hessian
from torch import Tensor, nn
from torch.nn import functional
from torchattacks.attack import Attack

from bench.worker import Run, cpu_seconds

LEARNING_RATE, MOMENTUM = 0.01, 0.9
ATTACK_BATCH, HESSIAN_BATCH, EVALUATION_BATCH = 250, 250, 1_000  # images in one pass
PAD = 4

# The subclass below counts on it, and PyHessian asks for second derivatives in the old way.
warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph=True")


def start(threads: int) -> None:
    """Before anything is computed."""
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)


# Networks


class Flatten(nn.Module):
    """Flattens in memory order (height, width, channels), which copies nothing under channels_last."""

    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 2, 3, 1).flatten(1)


def stdcnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 10, 3), nn.ReLU(), nn.Conv2d(10, 10, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(10, 20, 3), nn.ReLU(), nn.Conv2d(20, 20, 3), nn.ReLU(), nn.MaxPool2d(2),
        Flatten(), nn.Linear(320, 50), nn.ReLU(), nn.Dropout(0.5), nn.Linear(50, 10),
    )  # fmt: skip


def m1() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.ReLU(), nn.Conv2d(20, 20, 5), nn.ReLU(),
        Flatten(), nn.Linear(8_000, 500), nn.ReLU(), nn.Linear(500, 10),
    )  # fmt: skip


def c1() -> nn.Sequential:
    def block(channels: int) -> tuple[nn.Module, ...]:
        # TensorFlow's "same" pooling pads an even image on the far side only: ceil_mode.
        pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        return nn.Conv2d(channels, 64, 5, padding=2), nn.ReLU(), pool, nn.BatchNorm2d(64)

    return nn.Sequential(
        *block(3), *block(64), Flatten(),
        nn.Linear(4_096, 384), nn.ReLU(), nn.Linear(384, 192), nn.ReLU(), nn.Linear(192, 10),
    )  # fmt: skip


class Block(nn.Module):
    """ResNet-18's basic block; its parts stand in the order in which Keras lists their weights."""

    def __init__(self, channels: int, filters: int, strides: int) -> None:
        super().__init__()
        # TensorFlow's "same" convolution of stride 2 pads an even image on the far side only.
        self.pad = nn.ZeroPad2d((0, 1, 0, 1) if strides == 2 else 1)
        self.conv1 = nn.Conv2d(channels, filters, 3, strides, bias=False)
        self.norm1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.projects = strides != 1 or channels != filters
        if self.projects:
            self.conv3 = nn.Conv2d(channels, filters, 1, strides, bias=False)
        self.norm2 = nn.BatchNorm2d(filters)
        if self.projects:
            self.norm3 = nn.BatchNorm2d(filters)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(self.pad(x))))
        y = self.norm2(self.conv2(y))
        return functional.relu(y + (self.norm3(self.conv3(x)) if self.projects else x))


def resnet18() -> nn.Sequential:
    widths = (64, 64, 64, 128, 128, 256, 256, 512, 512)
    blocks = [Block(before, now, 1 if before == now else 2) for before, now in itertools.pairwise(widths)]
    stem = (nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), Flatten(), nn.Linear(512, 10))


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {
    "stdcnn": stdcnn,
    "m1": m1,
    "c1": c1,
    "resnet18": resnet18,
}


def load_network(folder: Path, model: str, weights: str) -> nn.Sequential:
    """A network with the weights that our side has saved, in Keras's order and layout."""
    network = NETWORKS[model]()
    with np.load(folder / f"{weights}.npz") as arrays:
        load_weights(network, [arrays[name] for name in arrays.files])
    return network.to(memory_format=torch.channels_last)


def load_weights(network: nn.Sequential, arrays: list[Any]) -> None:
    """Copies Keras's weights: kernels (height, width, in, out) and (in, out), BatchNorm's four."""
    waiting = iter(arrays)
    for layer in network:
        for tensor in _tensors(layer):
            tensor.data.copy_(_as_torch(torch.from_numpy(next(waiting))))
    assert next(waiting, None) is None


def _tensors(layer: nn.Module) -> Iterator[Tensor]:
    parts = [part for part in layer.modules() if not list(part.children())]
    for part in parts:
        yield from part.parameters()
        yield from (b for b in part.buffers() if b.dim())  # BatchNorm's statistics, not its counter


def _as_torch(array: Tensor) -> Tensor:
    if array.dim() == 4:
        return array.permute(3, 2, 0, 1)
    return array.T if array.dim() == 2 else array


# Images


def load_images(folder: Path, name: str, examples: int) -> tuple[Tensor, Tensor]:
    """Images as floats in [0, 1], `(N, height, width, channels)`, and labels."""
    with np.load(folder / "images.npz") as arrays:
        images, labels = arrays[name][:examples], arrays[f"{name}_labels"][:examples]
    return torch.from_numpy(images.astype(np.float32) / 255), torch.from_numpy(labels)


def channels_first(images: Tensor) -> Tensor:
    """A view for PyTorch's networks: `(N, channels, height, width)`, channels_last in memory."""
    return images.permute(0, 3, 1, 2)


def crop_and_flip(images: Tensor) -> Tensor:
    """Random crop from the image padded by 4, and horizontal flip."""
    count, height, width, _ = images.shape
    padded = functional.pad(images, (0, 0, PAD, PAD, PAD, PAD))
    rows = torch.randint(2 * PAD + 1, (count, 1)) + torch.arange(height)
    columns = torch.randint(2 * PAD + 1, (count, 1)) + torch.arange(width)
    columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


# Training and measuring


def sgd(network: nn.Module, learning_rate: float, momentum: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=learning_rate, momentum=momentum, fused=True)


def train_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    batch_size: int,
    augment: bool,
) -> tuple[float, float]:
    """One epoch in a fresh order; returns its running loss and accuracy."""
    network.train()
    loss_sum, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
    for index in torch.randperm(len(labels)).split(batch_size):
        batch, label = images[index], labels[index]
        if augment:
            batch = crop_and_flip(batch)
        optimizer.zero_grad()
        outputs = network(channels_first(batch))
        loss = functional.cross_entropy(outputs, label)
        loss.backward()
        optimizer.step()
        loss_sum += loss.detach() * len(label)
        correct += (outputs.argmax(1) == label).sum()
    return float(loss_sum) / len(labels), int(correct) / len(labels)


@torch.inference_mode()
def evaluate(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean loss and accuracy in inference mode."""
    network.eval()
    loss_sum, correct = 0.0, 0
    for batch, label in zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True):
        outputs = network(channels_first(batch))
        loss_sum += float(functional.cross_entropy(outputs, label, reduction="sum"))
        correct += int((outputs.argmax(1) == label).sum())
    return loss_sum / len(labels), correct / len(labels)


def accuracy_under(attack: Attack, images: Tensor, labels: Tensor) -> float:
    """Accuracy on the images that an attack of torchattacks has perturbed."""
    correct = 0
    for batch, label in zip(images.split(ATTACK_BATCH), labels.split(ATTACK_BATCH), strict=True):
        perturbed = attack(channels_first(batch), label)
        with torch.inference_mode():
            correct += int((attack.model(perturbed).argmax(1) == label).sum())
    return correct / len(labels)


class Converged(Exception):  # noqa: N818 - it ends an iteration, it is no error
    """The residual is small enough."""


class ToResidual(hessian):
    """PyHessian's power iteration and products, ended by the residual instead of a relative change.

    Its `eigenvalues(maxIter, tol)` stops when two estimates in a row differ by little. Here `tol` is
    0, and each product is looked at as it comes: the residual |Hv - av| / |a| decides. The start
    vector is our side's, so that both sides take the same number of products.
    """

    def __init__(
        self, network: nn.Module, images: Tensor, labels: Tensor, tolerance: float, first: list[Tensor]
    ) -> None:
        size = HESSIAN_BATCH
        batches = list(zip(channels_first(images).split(size), labels.split(size), strict=True))
        super().__init__(network, nn.CrossEntropyLoss(), dataloader=batches, cuda=False)
        self._tolerance = tolerance
        self._first = first
        self.products = 0

    def dataloader_hv_product(self, v: list[Tensor]) -> tuple[float, list[Tensor]]:
        if self.products == 0:
            v = self._first
        value, product = super().dataloader_hv_product(v)
        self.products += 1
        squares = [((p - value * d) ** 2).sum() for p, d in zip(product, v, strict=True)]
        self.residual = float(torch.stack(squares).sum().sqrt()) / abs(value)
        if self.residual <= self._tolerance:
            raise Converged(value)
        return value, product

    def top(self) -> dict[str, Any]:
        """The dominant eigenvalue, with the evidence for it."""
        self.products = 0
        try:
            (value,), _ = self.eigenvalues(maxIter=200, tol=0)
        except Converged as converged:
            value = converged.args[0]
        return {"eigenvalue": value, "residual": self.residual, "iterations": self.products}


def start_vector(network: nn.Sequential) -> list[Tensor]:
    """Our side's start vector (unit length, Keras's order and layout) as PyTorch's parameters."""
    flat = np.random.default_rng(0).standard_normal(sum(p.numel() for p in network.parameters()))
    return as_parameters(network, (flat / np.linalg.norm(flat)).astype(np.float32))


def as_parameters(network: nn.Sequential, flat: Any) -> list[Tensor]:
    """A float32 vector in Keras's order and layout, cut into pieces of the shapes of PyTorch's parameters."""
    # torch.channels_last kernels are Keras's with the axes permuted: cut the vector accordingly.
    parameters = [p for layer in network for p in layer.parameters()]
    pieces, begin = [], 0
    for parameter in parameters:
        shape = tuple(parameter.shape)
        keras_shape = {4: shape[2:] + shape[1::-1], 2: shape[::-1]}.get(len(shape), shape)
        piece = torch.from_numpy(flat[begin : begin + parameter.numel()]).reshape(keras_shape)
        pieces.append(_as_torch(piece))
        begin += parameter.numel()
    return pieces


# Jobs


def logits(folder: Path, model: str, weights: str) -> Run:
    network = load_network(folder, model, weights).eval()
    images, _ = load_images(folder, images_of(model), 256)

    def run() -> dict[str, Any]:
        with torch.inference_mode():
            return {"logits": network(channels_first(images)).tolist()}

    return run


def matrix_product(folder: Path, size: int = 2048) -> Run:
    left, right = torch.randn(size, size), torch.randn(size, size)

    def run() -> dict[str, Any]:
        cpu = cpu_seconds()
        for _ in range(8):
            left @ right
        return {"gflops": 8 * 2 * size**3 / (cpu_seconds() - cpu) / 1e9}

    return run


def train(folder: Path, model: str, batch_size: int, examples: int) -> Run:
    images, labels = load_images(folder, images_of(model), examples)
    network = load_network(folder, model, model)
    optimizer = sgd(network, LEARNING_RATE, MOMENTUM)

    def run() -> dict[str, Any]:
        augment = images.shape[-1] == 3
        return {"loss": train_epoch(network, optimizer, images, labels, batch_size, augment)[0]}

    return run


def fgsm(folder: Path, examples: int, epsilon: float) -> Run:
    network, images, labels = _attacked(folder, examples)
    attack = torchattacks.FGSM(network, eps=epsilon)
    return lambda: {"accuracy": accuracy_under(attack, images, labels)}


def pgd(folder: Path, examples: int, epsilon: float, steps: int) -> Run:
    network, images, labels = _attacked(folder, examples)
    attack = torchattacks.PGD(network, eps=epsilon, alpha=epsilon / 30, steps=steps, random_start=True)
    return lambda: {"accuracy": accuracy_under(attack, images, labels)}


def hessian_product(folder: Path, examples: int) -> Run:
    iteration, network = _hessian(folder, examples, 0.0)
    vector = start_vector(network)
    return lambda: {"curvature": iteration.dataloader_hv_product(vector)[0]}


def eigenvalue(folder: Path, examples: int, tolerance: float) -> Run:
    iteration, _ = _hessian(folder, examples, tolerance)
    return lambda: iteration.top()


def trial(folder: Path, points: list[dict[str, Any]], plan: dict[str, Any]) -> Run:
    noise = images_of(plan["model"]) == "noise"
    images = {
        name: load_images(folder, "noise" if noise else name, plan[f"{name}_examples"])
        for name in ("train", "validation", "test")
    }

    def run() -> dict[str, Any]:
        for point in points:
            result = run_trial(folder, point, plan, images)
        return result

    return run


def run_trial(
    folder: Path, point: dict[str, Any], plan: dict[str, Any], images: dict[str, tuple[Tensor, Tensor]]
) -> dict[str, Any]:
    """What one of our trials measures: training with validation, all splits, attacks, curvature."""
    network = load_network(folder, plan["model"], plan["model"])
    augment = images_of(plan["model"]) == "noise"
    optimizer = sgd(network, point["learning_rate"], point["momentum"])
    history = []
    for epoch in range(plan["epochs"]):
        if point["halve_every_epochs"] and epoch and epoch % point["halve_every_epochs"] == 0:
            for group in optimizer.param_groups:
                group["lr"] /= 2
        running = train_epoch(network, optimizer, *images["train"], point["batch_size"], augment)
        history.append((*running, *evaluate(network, *images["validation"])))
    figures = {name: evaluate(network, *pair) for name, pair in images.items()}
    test_images, test_labels = images["test"]
    attacks = {}
    for epsilon in plan["epsilons"]:
        for attack in (
            torchattacks.FGSM(network, eps=epsilon),
            torchattacks.PGD(network, eps=epsilon, alpha=epsilon / 30, steps=plan["steps"]),
        ):
            attacks[f"{attack.attack} {epsilon}"] = accuracy_under(attack, test_images, test_labels)
    train_images, train_labels = (part[: plan["hessian_examples"]] for part in images["train"])
    first = start_vector(network)
    found = ToResidual(network, train_images, train_labels, plan["tolerance"], first).top()
    if plan["logs"]:
        name = f"b{point['batch_size']}-m{point['momentum']}-lr{point['learning_rate']}"
        torch.save(network.state_dict(), Path(plan["logs"]) / f"{name}.pt")
        record = {"history": history, "figures": figures, "attacks": attacks, "hessian": found}
        (Path(plan["logs"]) / f"{name}.json").write_text(json.dumps(record))
    return {"accuracy": figures["test"][1], "eigenvalue": found["eigenvalue"]}


JOBS = {
    "logits": logits,
    "matrix_product": matrix_product,
    "train": train,
    "fgsm": fgsm,
    "pgd": pgd,
    "hessian_product": hessian_product,
    "eigenvalue": eigenvalue,
    "trial": trial,
}


def images_of(model: str) -> str:
    return "noise" if model in ("c1", "resnet18") else "train"


def _attacked(folder: Path, examples: int) -> tuple[nn.Sequential, Tensor, Tensor]:
    network = load_network(folder, "stdcnn", "stdcnn-trained").eval()
    return network, *load_images(folder, "test", examples)


def _hessian(folder: Path, examples: int, tolerance: float) -> tuple[ToResidual, nn.Sequential]:
    network = load_network(folder, "stdcnn", "stdcnn-trained")
    images, labels = load_images(folder, "train", examples)
    return ToResidual(network, images, labels, tolerance, start_vector(network)), network


if __name__ == "__main__":  # a script that trains several networks, one after the other
    start(int(sys.argv[1]))
    trial(Path(sys.argv[2]), **json.loads(sys.argv[3]))()
