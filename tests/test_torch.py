"""A PyTorch network and the same in Keras have the same numbers; skipped where torch is not installed (make torch)."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tests.conftest import Run
from tfsgd.data.dataset import Splits
from tfsgd.errors import RequestError
from tfsgd.measures.attack import AttackSpec
from tfsgd.measures.attacks.apgd import APGD
from tfsgd.measures.attacks.fgsm import FGSM
from tfsgd.measures.attacks.minimal import Minimal
from tfsgd.measures.attacks.pgd import PGD
from tfsgd.measures.curvature.layers import Layers
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.measures.curvature.trace import Trace
from tfsgd.networks import losses
from tfsgd.networks.load_network import Pixels, load_network
from tfsgd.networks.measured_network import MeasuredNetwork

torch = pytest.importorskip("torch")

from tfsgd.networks import torch_losses  # noqa: E402
from tfsgd.networks.torch_network import TorchMeasured, TorchNetwork, load_torch  # noqa: E402

STORED = Path("docs/results/fmnist_stdcnn-seeds/trials/lr/b0064-m0.9-s0/model.keras")
PAGE = Path("docs/measuring-networks.md").read_text()
torch.set_num_threads(1)  # as TensorFlow has

SHAPE = (28, 28, 1)
FEW = 200  # images


@pytest.fixture(scope="module")
def build() -> Callable[[], Any]:
    """That of the page."""
    [text] = re.findall(r"```python\n(# my_net.py.*?)```", PAGE, re.S)
    names: dict[str, Any] = {}
    exec(text, names)
    return names["build"]


def ported(model: Any, module: Any) -> Any:
    """The module with a Keras network's weights: kernels turned, and what is flattened in another order."""
    kernels = [layer for layer in model.layers if layer.weights]
    modules = [layer for layer in module if list(layer.parameters())]
    for theirs, ours in zip(kernels, modules, strict=True):
        kernel, bias = map(np.array, theirs.get_weights())
        if kernel.ndim == 4:
            kernel = kernel.transpose(3, 2, 0, 1)
        elif kernel.shape[0] == 320:
            kernel = kernel.reshape(4, 4, 20, 50).transpose(2, 0, 1, 3).reshape(320, 50).T
        else:
            kernel = kernel.T
        with torch.no_grad():
            ours.weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel)))
            ours.bias.copy_(torch.from_numpy(bias))
    return module


@pytest.fixture(scope="module")
def weights(build: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored network's, as a file of PyTorch."""
    path = tmp_path_factory.mktemp("torch") / "net.pt"
    torch.save(ported(load_network(STORED), build()).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def pair(weights: Path, build: Callable[[], Any], splits: Splits) -> tuple[MeasuredNetwork, MeasuredNetwork]:
    """The network in TensorFlow and in PyTorch."""
    return MeasuredNetwork(load_network(STORED), splits), TorchMeasured(
        load_torch(weights, build, SHAPE), splits
    )


def test_logits_and_accuracy_agree(pair: tuple[MeasuredNetwork, MeasuredNetwork]) -> None:
    images, _ = pair[0].images("test", FEW)
    for ours, theirs in (
        [subject.logits("test", FEW) for subject in pair],
        [subject.victim.finite_logits(images) for subject in pair],
    ):
        assert np.abs(ours - theirs).max() < 1e-5 * np.abs(ours).max()
    assert [s.clean("test", FEW).mean() for s in pair] == [pair[0].clean("test", FEW).mean()] * 2


ATTACKS: dict[str, AttackSpec] = {
    "fgsm": FGSM(epsilon=(0.05,)),
    "fgsm by softmax": FGSM(epsilon=(0.05,), loss="softmax_cross_entropy"),
    "fgsm L2": FGSM(epsilon=(0.5,), norm="L2"),
    "pgd": PGD(epsilon=(0.03,), steps=10, relative_step_size=0.25),
    "pgd to the end": PGD(epsilon=(0.03,), steps=5, relative_step_size=0.25, early_stop=False, loss="margin"),
    "pgd L2": PGD(epsilon=(0.25,), steps=10, relative_step_size=0.25, norm="L2"),
    "apgd dlr to targets": APGD(epsilon=(0.02,), steps=10, loss="dlr", target="all", most_targets=2),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_accuracy_under_attack_agrees_to_four_digits(
    name: str, pair: tuple[MeasuredNetwork, MeasuredNetwork]
) -> None:
    spec, (images, labels) = ATTACKS[name], pair[0].images("test", FEW)
    ours, theirs = (spec.run(s.victim, images, labels, spec.epsilon[0], 0) for s in pair)
    assert 0.02 < ours.correct.mean() < 0.98 * pair[0].clean("test", FEW).mean()
    assert round(float(theirs.correct.mean()), 4) == round(float(ours.correct.mean()), 4)
    assert np.abs(theirs.images - ours.images).mean() < 1e-3 * spec.epsilon[0]
    if spec.norm == "Linf":
        assert np.abs(theirs.images - images).max() <= spec.epsilon[0] + 1e-6


def test_the_smallest_epsilon_agrees(pair: tuple[MeasuredNetwork, MeasuredNetwork]) -> None:
    images, labels = pair[0].images("test", 50)
    found = [Minimal(steps=30, epsilon=(0.5,)).run(s.victim, images, labels, 0.5, 0).values for s in pair]
    assert found[1]["median"] == pytest.approx(found[0]["median"], rel=1e-3)


def test_the_top_eigenvalue_agrees_to_four_digits(pair: tuple[MeasuredNetwork, MeasuredNetwork]) -> None:
    spec = TopEigenvalue(max_iterations=100, tolerance=1e-3)
    ours, theirs = (spec.of(s.product(spec, "train", FEW)) for s in pair)
    assert ours.converged
    assert theirs.converged
    assert theirs.value == pytest.approx(ours.value, rel=1e-4)
    assert theirs.more["standard_error"] == pytest.approx(ours.more["standard_error"], rel=1e-2)
    assert theirs.more["difference"] <= 1e-3


def test_products_traces_and_layers_agree(pair: tuple[MeasuredNetwork, MeasuredNetwork]) -> None:
    """Of the trace not the same probes: the parameters stand in another order."""
    products = [s.product(TopEigenvalue(), "train", FEW) for s in pair]
    assert products[1].loss == pytest.approx(products[0].loss, rel=1e-5)
    assert products[1].dimension == products[0].dimension
    assert list(products[1].counts) == list(products[0].counts)
    sizes = [[place.stop - place.start for _, place in p.layers] for p in products]
    assert sizes[1] == sizes[0]
    u, v = np.random.default_rng(0).standard_normal((2, products[1].dimension))
    assert u @ products[1](v) == pytest.approx(v @ products[1](u), rel=1e-4)
    traces = [Trace(probes=10).of(p) for p in products]
    assert abs(traces[0].value - traces[1].value) < 4 * np.hypot(traces[0].error, traces[1].error)
    few = (s.product(TopEigenvalue(), "train", 20) for s in pair)
    found = [Layers(probes=6, max_iterations=30, tolerance=0.1).of(p).more["eigenvalues"] for p in few]
    assert found[1] == pytest.approx(found[0], rel=0.1)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_and_their_gradients_are_tensorflows(name: str) -> None:
    """Where the network is sure, right and wrong, too."""
    rng = np.random.default_rng(0)
    logits = (rng.standard_normal((60, 5)) * np.repeat([1, 10, 40], 20)[:, None]).astype(np.float32)
    labels, targets = (rng.integers(0, 5, 60) for _ in range(2))

    def theirs(loss: Callable[..., Any], *more: NDArray[Any]) -> list[NDArray[Any]]:
        z = torch.from_numpy(logits).requires_grad_()
        value = loss(torch.from_numpy(labels), z, *map(torch.from_numpy, more))
        return [value.detach().numpy(), torch.autograd.grad(value.sum(), z)[0].numpy()]

    def ours(loss: Callable[..., Any], *more: NDArray[Any]) -> list[NDArray[Any]]:
        z = tf.constant(logits)
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = loss(tf.constant(labels), z, *map(tf.constant, more))
        return [value.numpy(), tape.gradient(value, z).numpy()]

    for of in ("LOSSES", "UPHILL"):
        pairs = zip(ours(getattr(losses, of)[name]), theirs(getattr(torch_losses, of)[name]), strict=True)
        assert all(np.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in pairs)
    apart = labels != targets
    pairs = zip(
        ours(losses.TARGETED[name], targets), theirs(torch_losses.TARGETED[name], targets), strict=True
    )
    assert all(np.allclose(a[apart], b[apart], rtol=1e-4, atol=1e-6) for a, b in pairs)
    if name in losses.DESCENDED:
        pairs = zip(ours(losses.squared_error), theirs(torch_losses.squared_error), strict=True)
        assert all(np.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in pairs)


def test_a_product_that_is_no_derivative_is_refused(splits: Splits) -> None:
    """A factor whose derivative is stopped: the gradient is another network's."""

    class Stopped(torch.nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.dense = torch.nn.Linear(784, 10)

        def forward(self, images: Any) -> Any:
            z = self.dense(images.flatten(1))
            return z * z.detach()

    subject = TorchMeasured(TorchNetwork(Stopped(), SHAPE, "stopped"), splits)
    with pytest.raises(
        RequestError, match="stopped: the Hessian would be wrong: a product with a vector has a "
    ):
        TopEigenvalue().of(subject.product(TopEigenvalue(), "train", 20))


# The command


@pytest.fixture
def here(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's file and the weights; the module is nobody else's."""
    [text] = re.findall(r"```python\n(# my_net.py.*?)```", PAGE, re.S)
    (tmp_path / "my_net.py").write_text(text)
    (tmp_path / "net.pt").write_bytes(weights.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_net", raising=False)
    return tmp_path


CHEAP = ("attacks.pgd={epsilon: [0.1], steps: 3, relative_step_size: 0.5, examples: 50}", "test_examples=200")
FAST = [word for text in (*CHEAP, "hessian.examples=50") for word in ("--set", text)]


def test_the_pages_command_measures(here: Path, run_measure: Run) -> None:
    [line] = re.findall(r"^python -m tfsgd.measure (net.pt .*)$", PAGE, re.M)
    more = ("--set", "curvature.batch_sharpness={}", "--set", "curvature.trace={examples: 20, probes: 6}")
    code, _, err = run_measure(*line.split(), *FAST, *more, "--out", "found.json")
    assert code == 0, err
    assert (
        "net.pt: the network is so sure of its answers that float32's softmax gradient points elsewhere"
        in err
    )
    assert err.count("\n") == 1
    [one] = json.loads((here / "found.json").read_text())["networks"]
    found = {m["label"]: m["values"] for m in one["measurements"]}
    labels = {"test", "fgsm", "pgd", "hessian", "trace", "zero_gradients", "input_gradient", "jacobian"}
    assert labels <= found.keys()
    assert found["hessian"]["converged"]
    assert one["not_measured"]["batch_sharpness"].startswith("it needs TensorFlow; of a PyTorch network")
    assert (one["network"]["parameters"], one["network"]["input_shape"]) == (23_010, [28, 28, 1])
    assert one["network"]["torch"] == torch.__version__


def test_other_pixels_are_told(here: Path, weights: Path, build: Callable[[], Any]) -> None:
    pixels = Pixels(255.0, (70.0,), (90.0,))
    plain, told = (load_torch(weights, build, SHAPE, p) for p in (Pixels(), pixels))
    images = torch.rand(4, *SHAPE)
    assert torch.allclose(told.logits(images), plain.logits((255 * images - 70) / 90), rtol=1e-4, atol=1e-4)
    assert told.in_double().logits(images.double()).dtype == torch.float64


NETS = {
    "softmax": "nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Softmax(1))",
    "random": "nn.Sequential(nn.Flatten(), nn.Linear(784, 10), Dropped())",
    "whole": "nn.Sequential(nn.Flatten(), nn.Linear(784, 10))",
    "other": "nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.ReLU(), nn.Linear(10, 10))",
    "nested": "nn.Sequential(nn.Flatten(), nn.Linear(784, 10))",
    "no module": "3",
    "raises": "1 / 0",
}
MODULE = """
import torch
from torch import nn
class Dropped(nn.Module):
    def forward(self, z):
        return nn.functional.dropout(z, 0.5, training=True)
def build():
    return {net}
"""


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        ("softmax", (), "net.pt: expected logits, received probabilities; leave the softmax out"),
        ("random", (), "net.pt: expected the same outputs for the same images, received different ones"),
        ("whole", (), "net.pt: expected a state dict, as torch.save(net.state_dict(), path) writes it"),
        ("other", (), "net.pt: its weights are not those of the module that --code gives: Error"),
        (
            "nested",
            (),
            "net.pt: expected a state dict alone, found a dict of epoch, state_dict; save that part",
        ),
        ("no module", (), "--code: expected a function that returns a torch.nn.Module, received int"),
        ("raises", (), "my_net.py): it raised ZeroDivisionError: division by zero"),
        ("other", ("--strip-softmax",), "net.pt: --strip-softmax: it is for Keras networks"),
        (
            "",
            (),
            "net.pt: expected one --code FILE.py:NAME, a function without arguments that returns the module",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_line(
    net: str, options: tuple[str, ...], message: str, here: Path, run_measure: Run
) -> None:
    name = f"net_{net.replace(' ', '_')}{len(options)}"
    (here / f"{name}.py").write_text(MODULE.format(net=NETS.get(net)))
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    state: Any = flat if net == "whole" else flat.state_dict()
    torch.save({"epoch": 3, "state_dict": state} if net == "nested" else state, here / "net.pt")
    code = ("--code", f"{name}.py:build") if net else ()
    ended, _, err = run_measure("net.pt", "--dataset", "fashion_mnist", *code, *options, *FAST)
    assert (ended, err.count("\n")) == (2, 1), err
    assert message.replace("my_net", name) in err
