"""Measuring without a sweep: networks from elsewhere against Foolbox and a dense Hessian; refusals."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf

from tests.foreign import (
    CLASSES,
    SHAPE,
    TEST_IMAGES,
    accuracies,
    dense_hessian,
    fitted,
    foolbox,
    letters,
    network,
    save_constants,
)

Run = Callable[..., tuple[int, str, str]]
Config = Callable[..., Path]

EPSILONS = "[0.02,0.06]"
FEW = ("--set", f"attacks.fgsm.epsilon={EPSILONS}", "--set", "attacks.pgd=null")
STEPS, STEP = 10, 0.25  # of PGD without a random start, the step in units of epsilon
PLAIN_PGD = (
    *("--set", f"attacks.fgsm.epsilon={EPSILONS}", "--set", f"attacks.pgd.epsilon={EPSILONS}"),
    *("--set", f"attacks.pgd.steps={STEPS}", "--set", f"attacks.pgd.relative_step_size={STEP}"),
    *("--set", "attacks.pgd.random_start=false", "--set", "attacks.pgd.early_stop=false"),
    *("--set", "hessian.tolerance=0.001"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `letters.npz` and networks of every kind, made without tfsgd."""
    folder = tmp_path_factory.mktemp("made")
    arrays = letters()
    np.savez(folder / "letters.npz", **arrays)
    images, labels = arrays["train_images"] / np.float32(255), arrays["train_labels"]
    net = fitted(network(), images, labels)
    net.save(folder / "net.keras")
    net.export(str(folder / "exported"), verbose=False)
    tf.saved_model.save(net, str(folder / "saved"))
    save_constants(net, folder / "constants")
    save_constants(net, folder / "noisy", noise=0.01)
    keras.Sequential([net, keras.layers.Softmax()]).save(folder / "softmax.keras")
    scaled = network(keras.layers.Rescaling(1 / 255))
    fitted(scaled, arrays["train_images"].astype(np.float32), labels).save(folder / "bytes.keras")
    network(shape=(10, 8, 3)).save(folder / "turned.keras")
    network(classes=4).save(folder / "four.keras")
    first, second = keras.Input(SHAPE), keras.Input(SHAPE)
    outputs = keras.layers.Dense(CLASSES)(keras.layers.Flatten()(first + second))
    keras.Model([first, second], outputs).save(folder / "two.keras")
    keras.Model(net.inputs, {"logits": net.outputs[0], "again": net.outputs[0]}).save(
        folder / "outputs.keras"
    )
    sigmoids = network(keras.layers.Rescaling(0.5))
    sigmoids = keras.Sequential([keras.Input(SHAPE), sigmoids, keras.layers.Activation("sigmoid")])
    sigmoids.export(str(folder / "sigmoids"), verbose=False)
    (folder / "text.keras").write_text("no network\n")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def on_letters(run_measure: Run, made: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Measures on the letters, in the folder where everything was made."""
    monkeypatch.chdir(made)
    return lambda *arguments: run_measure(*arguments, "--dataset", "letters.npz")


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def top(evidence: Any) -> Any:
    [found] = [m["values"] for m in evidence["measurements"] if m["label"] == "hessian"]
    return found


# Networks from elsewhere


@pytest.fixture(scope="module")
def reference(made: Path) -> tuple[dict[tuple[str, float], float], float]:
    """Foolbox's accuracies of `net.keras` on the test images, and λ1 of a dense Hessian."""
    from tfsgd.data.user_data import own_data, read_npz

    net = keras.saving.load_model(made / "net.keras", compile=False)
    arrays = read_npz(made / "letters.npz")
    images = tf.constant(arrays["test_images"] / np.float32(255))
    labels = tf.constant(arrays["test_labels"])
    victim = foolbox.TensorFlowModel(lambda x: net(x, training=False), bounds=(0, 1))
    attacks = {
        "fgsm": foolbox.attacks.LinfFastGradientAttack(),
        "pgd": foolbox.attacks.LinfPGD(steps=STEPS, rel_stepsize=STEP, random_start=False),
    }
    found = {}
    for label, attack in attacks.items():
        _, _, broken = attack(victim, images, labels, epsilons=[0.02, 0.06])
        for epsilon, each in zip((0.02, 0.06), broken.numpy(), strict=True):
            found[label, epsilon] = 1 - float(each.mean())
    train = own_data("letters.npz", arrays, "here")[1].train
    hessian = dense_hessian(net, train.images / np.float32(255), train.labels)
    return found, float(np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1])


def test_every_form_of_a_network_gives_foolboxs_accuracies_and_the_dense_hessians_eigenvalue(
    on_letters: Run, made: Path, tmp_path: Path, reference: Any
) -> None:
    foolboxs, eigenvalue = reference
    assert len(set(foolboxs.values())) > 2, "the attacks matter"
    out = tmp_path / "found.json"
    names = ["net.keras", "exported", "saved"]
    code, said, err = on_letters(*names, *PLAIN_PGD, "--out", out)
    assert (code, err) == (0, "")
    evidence = read(out)
    assert [each["target"] for each in evidence["networks"]] == names
    for each in evidence["networks"]:
        ours = accuracies(each)
        assert set(ours) == set(foolboxs)
        for key, accuracy in foolboxs.items():
            assert abs(ours[key] - accuracy) < 1.5 / TEST_IMAGES, (each["target"], key)
        assert top(each)["value"] == pytest.approx(eigenvalue, rel=2e-3)
        assert top(each)["converged"]
        assert top(each)["value"] == pytest.approx(top(evidence["networks"][0])["value"], rel=1e-4)
        assert each["network"] | {"sha256": ""} == {
            "sha256": "", "input_shape": list(SHAPE), "parameters": 267,
        }  # fmt: skip
    assert said.count("accuracy on test images") == len(names) + 1, "each alone, and all side by side"
    assert "λ1 (hessian)" in said


def test_training_mode_needs_the_batch_size_of_a_trial(on_letters: Run, tmp_path: Path) -> None:
    """A network from anywhere does not tell it: that measure is left out with the reason, the others are taken."""
    out = tmp_path / "found.json"
    trace = "curvature.trace={probes: 9, mode: training}"
    code, _, _ = on_letters("net.keras", *FEW, "--set", trace, "--out", out)
    assert code == 0
    [one] = read(out)["networks"]
    assert "trace" not in [m["label"] for m in one["measurements"]]
    assert "hessian" in [m["label"] for m in one["measurements"]]
    assert one["not_measured"]["trace"].startswith("mode: training: this network comes without a record")


def test_evidence_and_picture(on_letters: Run, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    code, said, _ = on_letters("net.keras", *FEW, "--set", "curvature.trace={probes: 9}", "--out", out)
    assert code == 0
    evidence = read(out)
    assert evidence["dataset"] == "letters.npz"
    assert len(evidence["data_sha256"]) == 64
    assert evidence["provenance"]["versions"]["tensorflow"] == tf.__version__
    [one] = evidence["networks"]
    assert one["network"]["sha256"] == hashlib.sha256((made / "net.keras").read_bytes()).hexdigest()
    assert [m["label"] for m in one["measurements"]] == [
        "test", "confidence", "input_gradient", "jacobian", "weights",
        "gradient_norm", "feature_rank", "temperature", "hessian", "fgsm", "fgsm", "zero_gradients", "trace",
    ]  # fmt: skip
    for each in one["measurements"]:
        assert len(each["identity"]) == 64
        assert each["seed"] == 0
    assert [m["examples"] for m in one["measurements"]] == [
        60,
        60,
        60,
        60,
        1,
        240,
        60,
        30,
        240,
        60,
        60,
        60,
        240,
    ]
    assert one["measurements"][8]["settings"] == {
        "max_iterations": 100,
        "tolerance": 0.01,
        "method": "rayleigh_ritz",
        "mode": "inference",
        "revision": 2,
    }
    picture = tmp_path / "found.png"
    pixels = matplotlib.image.imread(picture)[..., :3]
    assert min(pixels.shape[:2]) > 300
    assert (np.ptp(pixels, axis=2) > 0.3).sum() > 100  # curves in colours
    assert f"Evidence: {out}" in said
    assert f"Picture:  {picture}" in said


def test_a_config_says_what_is_measured(run_measure: Run, made: Path, tmp_path: Path, config: Config) -> None:
    shutil.copy(made / "letters.npz", tmp_path)
    none = dict.fromkeys(("train_examples", "validation_examples", "test_examples"))
    path = config(
        dataset="letters.npz", model="nowhere:net", attacks={"bim": {"epsilon": [0.06], "examples": 20}}, **none
    )  # fmt: skip
    (tmp_path / "nowhere.py").write_text("def net(image_shape, classes): ...\n")
    out = tmp_path / "found.json"
    code, _, err = run_measure(made / "net.keras", "--config", path, "--out", out)
    assert (code, err) == (0, "")
    [one] = read(out)["networks"]
    assert [(m["label"], m["examples"]) for m in one["measurements"]][8:10] == [("hessian", 64), ("bim", 20)]


def test_without_variables_attacks_run_and_the_hessian_is_refused_in_words(
    on_letters: Run, tmp_path: Path, reference: Any
) -> None:
    out = tmp_path / "found.json"
    code, said, err = on_letters("constants", *PLAIN_PGD, "--out", out)
    assert (code, err) == (0, "")
    [one] = read(out)["networks"]
    for key, accuracy in reference[0].items():
        assert abs(accuracies(one)[key] - accuracy) < 1.5 / TEST_IMAGES
    why = "the network tells no trainable variables, so there is no Hessian to take"
    none = "the network tells no trainable variables"
    assert one["not_measured"] == {"hessian": why, "weights": none, "gradient_norm": none}
    assert why in said


def test_what_needs_a_batch_size_is_said_and_all_else_is_measured(on_letters: Run, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    ask = ("--set", "curvature.batch_sharpness={}", "--set", "curvature.gradient_noise={batches: 3}")
    code, said, err = on_letters("net.keras", *FEW, *ask, "--out", out)
    assert (code, err) == (0, "")
    [one] = read(out)["networks"]
    assert list(one["not_measured"]) == ["batch_sharpness"]
    assert "batch_size: expected a number" in " ".join(said.split())
    assert one["measurements"][-1]["label"] == "gradient_noise"


def test_a_network_that_expects_bytes_is_warned_of_and_measured(on_letters: Run, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    code, _, err = on_letters("bytes.keras", *FEW, "--out", out)
    assert code == 0
    assert err.startswith("warning: bytes.keras: accuracy on clean images is 0.")
    assert "no better than guessing: nothing measured on it means anything" in err
    assert "Check that the network takes pixels in [0, 1] (not 0 to 255" in err
    assert err.count("\n") == 1
    [one] = read(out)["networks"]
    assert len(accuracies(one)) == 2
    assert one["warnings"] == [err.removeprefix("warning: bytes.keras: ").strip()]


def test_frozen_weights_are_warned_of_and_are_in_the_evidence(
    on_letters: Run, made: Path, tmp_path: Path
) -> None:
    net = keras.saving.load_model(made / "net.keras", compile=False)
    whole = sum(v.numpy().size for v in net.trainable_variables)
    next(layer for layer in net.layers if layer.weights).trainable = False
    net.save(tmp_path / "frozen.keras")
    code, _, err = on_letters(tmp_path / "frozen.keras", *FEW, "--out", tmp_path / "found.json")
    seen = sum(v.numpy().size for v in net.trainable_variables)
    assert code == 0
    assert f"frozen.keras: the Hessian is that of {seen:,} of {whole:,} weights" in err
    found = top(read(tmp_path / "found.json")["networks"][0])
    assert (found["parameters"], found["of"]) == (seen, whole)


def test_pgd_that_cannot_reach_the_surface_is_warned_of(on_letters: Run) -> None:
    code, _, err = on_letters("net.keras", *PLAIN_PGD, "--set", "attacks.pgd.steps=3")
    assert code == 0
    assert err.startswith("warning: attacks.pgd: 3 steps of 0.25 epsilon from the image itself")
    assert err.count("\n") == 1


def test_outputs_that_look_like_sigmoids_are_warned_of(on_letters: Run) -> None:
    code, _, err = on_letters("sigmoids", *FEW)
    assert code == 0
    assert (
        "sigmoids: all outputs on the first 60 test images are in [0, 1]: if they are sigmoids, leave those out"
        in err
    )


# Refusals


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "softmax.keras",
            "expected logits, found a softmax in the last layer; attacks on its output see no gradient",
        ),
        ("noisy", "expected the same outputs for the same images, received different ones"),
        ("turned.keras", "turned.keras: it takes images of shape (10, 8, 3), letters.npz has (8, 10, 3)"),
        ("four.keras", "four.keras: it has 4 outputs, letters.npz has 3 classes"),
        ("none.keras", "none.keras: no such file or folder; expected LOGS/NAME"),
        (
            "text.keras",
            "text.keras: expected a .keras file, found one of another kind, or one that is cut short",
        ),
        ("empty", "empty: expected LOGS/NAME, a trial's folder or a SavedModel, found another folder"),
        ("two.keras", "two.keras: expected a network of one input of shape"),
        (
            "outputs.keras",
            "outputs.keras: expected one output, the logits, found a dict of 2; make a network of",
        ),
    ],
)
def test_what_is_no_network_for_these_images_is_refused_before_any_is_measured(
    on_letters: Run, target: str, message: str
) -> None:
    code, out, err = on_letters("net.keras", target, *FEW)
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in out + err
    assert "[1 of " not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "net.keras: on which images? give --config CONFIG or --dataset NAME"),
        (["--dataset", "fashion_mnits"], "received 'fashion_mnits'; did you mean 'fashion_mnist'?"),
        (["--dataset", "letterz.npz"], "letterz.npz: no such file in "),
        (["--dataset", "letters.npz", "--config", "c.yaml"], "--config, --dataset: expected one of them"),
        (
            ["--dataset", "letters.npz", "--out", "nowhere/found.json"],
            "--out nowhere/found.json: expected a file",
        ),
        (["--dataset", "letters.npz", "--out", "found.txt"], "--out found.txt: expected a file .json"),
        (["--dataset", "letters.npz", "--set", "attacks.pgd.stepz=3"], "did you mean 'steps'?"),
        (["--dataset", "letters.npz", "--set", "attacks.pdg.epsilon=[0.1]"], "did you mean 'pgd'?"),
        (["--dataset", "letters.npz", "--set", "hessian.examples=241"], "expected at most the 240 images"),
        (["--dataset", "letters.npz", "--bogus"], "No such option: --bogus"),
        (["--config", "none.yaml"], "none.yaml: no such config"),
    ],
)
def test_wrong_requests_are_one_line_and_exit_code_2(
    run_measure: Run, made: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(made)
    code, out, err = run_measure("net.keras", *arguments)
    assert (code, err.count("\n")) == (2, 1), err
    assert message in err
    assert "Traceback" not in out + err
