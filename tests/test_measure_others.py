"""Networks that expect something else: own layers, other pixels, a softmax at the end; and configs of a data set alone."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tfsgd
from tests.foreign import CLASSES, SHAPE, letters, network
from tfsgd.errors import RequestError
from tfsgd.models.softmax import without_softmax

Run = Callable[..., tuple[int, str, str]]
FGSM = ("--set", "attacks.pgd=null", "--set", "attacks.fgsm.epsilon=[0.05]")
FEW = (*FGSM, "--set", "hessian.max_iterations=4", "--set", "hessian.tolerance=1.0")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("others")
    np.savez(folder / "letters.npz", **letters())
    network().save(folder / "plain.keras")
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def found(
    run: Run, tmp_path: Path, *arguments: Any, data: tuple[Any, ...] = ("--dataset", "letters.npz")
) -> Any:
    out = tmp_path / "found.json"
    code, _, err = run(*arguments, *data, *FEW, "--out", out)
    assert code == 0, err
    [one] = json.loads(out.read_text())["networks"]
    return one


def values(one: Any) -> list[float]:
    """Of natural accuracy and its loss, FGSM and λ1: what another network would change."""
    by = {m["label"]: m["values"] for m in one["measurements"]}
    return [by["test"]["loss"], by["test"]["accuracy"], by["fgsm"]["accuracy"], by["hessian"]["value"]]


# Pixels


def test_what_a_network_expects_is_told_and_epsilon_stays_in_pixels(
    here: Path, run_measure: Run, tmp_path: Path
) -> None:
    """Against the same weights behind a layer that does the arithmetic in Keras's own Normalization."""
    scaled = (np.float32(255) * np.array(m, np.float32) for m in (MEAN, STD))
    mean, std = scaled
    wise = network(keras.layers.Normalization(mean=mean / 255, variance=(std / 255) ** 2))
    wise.save("wise.keras")
    plain = network()
    plain.set_weights([w for w in wise.get_weights() if w.size != 1 or w.ndim][-len(plain.get_weights()) :])
    plain.save("naive.keras")
    plain.export("naive", verbose=False)
    expected = values(found(run_measure, tmp_path, "wise.keras"))
    options = ("--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD)))
    one = found(run_measure, tmp_path, "naive.keras", *options)
    assert values(one) == pytest.approx(expected, rel=1e-3)
    assert one["network"]["expects"] == {"scale": 1.0, "mean": list(MEAN), "std": list(STD)}
    assert values(found(run_measure, tmp_path, "naive", *options)) == pytest.approx(expected, rel=1e-3)
    of_bytes = (f"--mean={','.join(map(str, mean))}", f"--std={','.join(map(str, std))}", "--scale", 255)
    assert values(found(run_measure, tmp_path, "naive.keras", *of_bytes)) == pytest.approx(expected, rel=1e-3)
    assert values(found(run_measure, tmp_path, "naive.keras")) != pytest.approx(expected, rel=1e-3)
    loaded = tfsgd.load_network("naive.keras", mean=MEAN, std=STD)
    images = np.random.default_rng(0).random((5, *SHAPE), np.float32)
    assert np.allclose(loaded(images), wise(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scale", "0"), "--scale 0: expected a number above 0"),
        (
            ("--mean", "0.5,0.5"),
            "--mean: expected one number, or one for each of the 3 channels of plain.keras",
        ),
        (("--mean", "half"), "--mean half: expected a number, or one for each channel"),
        (("--std", "0.5,0,0.5"), "--std 0: expected numbers above 0"),
        (("--code", "none.py"), "--code none.py: no such file"),
        (("--code", "no-name"), "--code no-name: expected FILE.py or module:NAME"),
        (("--code", "no_such_place:Layer"), "--code: no_such_place:Layer: no module 'no_such_place'"),
        (("--set", "attacks.fgsm.epsilon=[9.0]"), "--set attacks.fgsm.epsilon: expected"),
        (("--set", "hessian.bogus=1"), "--set hessian.bogus: unknown key"),
    ],
)
def test_options_that_cannot_be_are_named(
    here: Path, run_measure: Run, options: tuple[str, ...], message: str
) -> None:
    code, _, err = run_measure("plain.keras", "--dataset", "letters.npz", *options)
    assert (code, err.count("\n")) == (2, 1), err
    assert message in err


def test_weights_of_pytorch_without_it_say_what_to_install(
    here: Path, run_measure: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With it: `tests/test_torch.py`."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (here / "net.pt").write_bytes(b"weights")
    code, _, err = run_measure("net.pt", "--dataset", "letters.npz")
    assert (code, err) == (
        2,
        "error: net.pt: a PyTorch network needs torch; pip install 'tfsgd[torch]'\n",
    )


# A softmax at the end


def endings() -> dict[str, Callable[[Any], Any]]:
    return {
        "activation": lambda net: keras.layers.Dense(CLASSES, activation="softmax"),
        "layer": lambda net: keras.layers.Softmax(),
        "named": lambda net: keras.layers.Activation("softmax"),
    }


@pytest.mark.parametrize("how", endings())
def test_a_softmax_is_refused_with_the_lines_that_take_it_off_and_they_do(how: str, tmp_path: Path) -> None:
    body = network()
    model = keras.Sequential([keras.Input(SHAPE), *body.layers, endings()[how](body)])
    model.save(tmp_path / "softmax.keras")
    with pytest.raises(RequestError, match="expected logits, found a softmax in the last layer") as refused:
        tfsgd.load_network(tmp_path / "softmax.keras")
    first, second = str(refused.value).rpartition("leave the softmax out: ")[2].split("; ")[:2]
    images = np.random.default_rng(0).random((4, *SHAPE), np.float32)
    probabilities = np.asarray(model(images, training=False))
    stripped = tfsgd.load_network(tmp_path / "softmax.keras", strip_softmax=True)
    names: dict[str, Any] = {"model": model, "keras": keras}
    exec(first, names)
    exec(second.replace("logits.keras", str(tmp_path / "logits.keras")), names)
    by_hand = tfsgd.load_network(tmp_path / "logits.keras")
    for net in (stripped, by_hand):
        logits = np.asarray(net(images, training=False))
        assert not np.allclose(logits.sum(1), 1)
        assert np.allclose(keras.ops.softmax(logits), probabilities, atol=1e-6)


def test_a_softmax_inside_a_network_inside_is_said_and_one_without_stays_as_it_is() -> None:
    inner = keras.Sequential([keras.Input(SHAPE), *network().layers, keras.layers.Softmax()], name="inner")
    outer = keras.Sequential([keras.Input(SHAPE), inner])
    with pytest.raises(RequestError, match="--strip-softmax: its softmax is a layer inside 'inner'"):
        without_softmax(outer, "net.keras")
    plain = network()
    assert without_softmax(plain, "net.keras") is plain


# Code and configs


LAYERS = """
import keras
class Doubled(keras.layers.Layer):
    def call(self, x): return 2 * x
"""


def test_code_is_enough_and_no_one_runs_it_unnamed(
    here: Path,
    run_measure: Run,
    tmp_path: Path,
    module: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = module(LAYERS)
    with monkeypatch.context() as there:
        there.syspath_prepend(str(tmp_path))
        network(__import__(name).Doubled()).save(tmp_path / "own.keras")
    file = tmp_path / f"{name}.py"

    def forget() -> None:  # as in a process of its own
        keras.saving.get_custom_objects().pop("Doubled", None)
        sys.modules.pop(name, None)

    forget()
    code, _, err = run_measure(tmp_path / "own.keras", "--dataset", "letters.npz")
    assert code == 2
    assert "which is one's own; give --code FILE.py, the file that has it" in err
    assert name not in sys.modules
    with_code = found(run_measure, tmp_path, tmp_path / "own.keras", "--code", file)
    forget()
    config = tmp_path / "data.yaml"  # a data set, and where the layers are
    config.write_text(f"dataset: letters.npz\nmodel: {name}:Doubled\n")
    (tmp_path / "letters.npz").write_bytes(Path("letters.npz").read_bytes())
    with_config = found(run_measure, tmp_path, tmp_path / "own.keras", data=("--config", config))
    assert values(with_config) == values(with_code)
    forget()
    file.write_text("raise OSError('not today')\n")
    code, _, err = run_measure(tmp_path / "own.keras", "--dataset", "letters.npz", "--code", f"{file}")
    assert (code, f"cannot be imported: OSError: not today ({file}, line 1)" in err) == (2, True), err


@pytest.mark.parametrize(
    "more",
    [
        "",
        "seeds: [0]\nepochs: 3\n",
        "attacks: {fgsm: {epsilon: [0.1]}, pgd: {epsilon: [0.1]}}\nquick: {epochs: 1}\n",
    ],
)
def test_a_config_for_measure_needs_a_data_set_alone(
    here: Path, run_measure: Run, tmp_path: Path, more: str
) -> None:
    Path("some.yaml").write_text(f"dataset: letters.npz\n{more}")
    one = found(run_measure, tmp_path, "plain.keras", data=("--config", "some.yaml"))
    assert [m["label"] for m in one["measurements"] if m["kind"] == "attack"] == ["fgsm"]
    Path("some.yaml").write_text("dataset: letters.npz\nattakcs: {}\n")
    code, _, err = run_measure("plain.keras", "--config", "some.yaml")
    assert (code, "some.yaml: attakcs: unknown key; did you mean 'attacks'?" in err) == (2, True)


def test_options_of_files_are_refused_for_a_sweep(run_measure: Run) -> None:
    code, _, err = run_measure("docs/results/fmnist_stdcnn-seeds", "--scale", 255)
    assert (code, "--scale: it is for networks from elsewhere" in err) == (2, True)
