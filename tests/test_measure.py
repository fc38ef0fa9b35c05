"""Measuring without a sweep: networks from elsewhere against Foolbox and a dense Hessian, and stored sweeps."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

from tests.foreign import (
    CLASSES,
    SHAPE,
    TEST_IMAGES,
    dense_hessian,
    fitted,
    foolbox,
    letters,
    network,
    save_constants,
)
from tfsgd.measures.spec import Request
from tfsgd.sweeping import trial as trials

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
    (folder / "text.keras").write_text("no network\n")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def run_measure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process: (exit code, standard output, standard error)."""
    from tfsgd import measure
    from tfsgd.sweeping import run

    for module in (measure, run):
        monkeypatch.setattr(module, "send_native_logs_to", lambda path: None)

    def call(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["measure", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            measure.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def on_letters(run_measure: Run, made: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Measures on the letters, in the folder where everything was made."""
    monkeypatch.chdir(made)
    return lambda *arguments: run_measure(*arguments, "--dataset", "letters.npz")


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def accuracies(evidence: Any) -> dict[tuple[str, float], float]:
    """By attack and epsilon."""
    return {
        (m["label"], m["settings"]["epsilon"]): m["values"]["accuracy"]
        for m in evidence["measurements"]
        if m["kind"] == "attack"
    }


def top(evidence: Any) -> Any:
    [found] = [m["values"] for m in evidence["measurements"] if m["label"] == "hessian"]
    return found


# Networks from elsewhere


@pytest.fixture(scope="module")
def reference(made: Path) -> tuple[dict[tuple[str, float], float], float]:
    """Foolbox's accuracies of `net.keras` on the test images, and λ1 of a dense Hessian."""
    from tfsgd.data.own import own_data, read_npz

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
    assert said.count("accuracy on test images") == len(names)
    assert "λ1" in said or "hessian" in said


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
        "test", "confidence", "input_gradient", "hessian", "fgsm", "fgsm", "zero_gradients", "trace",
    ]  # fmt: skip
    for each in one["measurements"]:
        assert len(each["identity"]) == 64
        assert each["seed"] == 0
    assert [m["examples"] for m in one["measurements"]] == [60, 60, 60, 240, 60, 60, 60, 240]
    assert one["measurements"][3]["settings"] == {"max_iterations": 100, "tolerance": 0.01}
    picture = tmp_path / "found.png"
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
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
    assert [(m["label"], m["examples"]) for m in one["measurements"]][3:5] == [("hessian", 64), ("bim", 20)]


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
    assert one["not_measured"] == {"hessian": why}
    assert why in said


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


def test_pgd_that_cannot_reach_the_surface_is_warned_of(on_letters: Run) -> None:
    code, _, err = on_letters("net.keras", *PLAIN_PGD, "--set", "attacks.pgd.steps=3")
    assert code == 0
    assert err.startswith("warning: attacks.pgd: 3 steps of 0.25 epsilon from the image itself")
    assert err.count("\n") == 1


# Refusals


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("softmax.keras", "expected logits, received probabilities; leave the softmax out"),
        ("noisy", "expected the same outputs for the same images, received different ones"),
        ("turned.keras", "turned.keras: it takes images of shape (10, 8, 3), letters.npz has (8, 10, 3)"),
        ("four.keras", "four.keras: it has 4 outputs, letters.npz has 3 classes"),
        ("none.keras", "none.keras: no such file or folder; expected LOGS/NAME"),
        ("text.keras", "text.keras: cannot be loaded as a network: "),
        ("empty", "empty: expected LOGS/NAME, a trial's folder or a SavedModel, found another folder"),
        ("two.keras", "two.keras: expected a network of one input of shape"),
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


# Networks of a sweep


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The logs of a finished sweep of two networks on the letters."""
    root = tmp_path_factory.mktemp("finished")
    np.savez(root / "letters.npz", **letters())
    (root / "measured_nets.py").write_text(
        "import keras\n\n"
        "def small(image_shape, classes):\n"
        "    return keras.Sequential([keras.Input(image_shape), keras.layers.Flatten(), keras.layers.Dense(classes)])\n"
    )
    plan = {
        "name": "tiny", "dataset": "letters.npz", "model": "measured_nets:small", "epochs": 3, "batch_sizes": [16],
        "seeds": [0], "regimes": {"LR": {"learning_rate": 0.05, "momentum": [0.0, 0.9]}},
        "attacks": {"fgsm": {"epsilon": [0.02]}}, "hessian": {"examples": 60, "max_iterations": 5}, "export": True,
    }  # fmt: skip
    (root / "tiny.yaml").write_text(yaml.safe_dump(plan))
    patch = pytest.MonkeyPatch()
    from tfsgd import sweep
    from tfsgd.sweeping import run

    patch.setattr(sweep, "send_native_logs_to", lambda path: None)
    patch.setattr(run, "send_native_logs_to", lambda path: None)
    patch.setattr(
        sys, "argv", ["sweep", str(root / "tiny.yaml"), "--logs", str(root / "logs"), "--workers", "1"]
    )
    with patch.context(), pytest.raises(SystemExit) as ended:
        sweep.main()
    patch.undo()
    assert ended.value.code == 0
    return root / "logs/tiny"


@pytest.fixture
def logs(finished: Path, tmp_path: Path) -> Path:
    """A copy of them, with the data where the sweep found it."""
    return Path(shutil.copytree(finished, tmp_path / "logs/tiny"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the networks of a sweep are measured for, one after the other; nothing may be trained."""
    names: list[str] = []
    real: Any = vars(trials)["measure"]

    def counted(subject: Any, requests: list[Request], observe: Any) -> Any:
        def noted(request: Request) -> None:
            names.append(f"{request.label} {request.epsilon}" if request.epsilon else request.label)
            observe(request)

        return real(subject, requests, noted)

    def training(*arguments: Any) -> Any:
        raise AssertionError("nothing is to be trained")

    monkeypatch.setattr(trials, "measure", counted)
    monkeypatch.setattr(trials, "train_trial", training)
    return names


def records(logs: Path) -> list[Any]:
    return [read(path) for path in sorted(logs.glob("trials/*/*/record.json"))]


MORE = ("--set", "attacks.fgsm.epsilon=[0.02,0.06]", "--set", "curvature.trace={probes: 6, examples: 60}")
ALONE = ("--workers", "1")


def test_only_what_is_missing_is_measured_and_the_rest_keeps_its_bits(
    run_measure: Run, logs: Path, asked: list[str], tmp_path: Path
) -> None:
    before = records(logs)
    networks = {path: path.read_bytes() for path in logs.glob("trials/*/*/model.keras")}
    out = tmp_path / "found.json"
    code, said, err = run_measure(logs, *MORE, *ALONE, "--out", out)
    assert (code, err) == (0, "")
    assert asked == ["fgsm 0.06", "trace"] * 2
    assert "2 trained, 2 to measure" in said
    after = records(logs)
    for old, new in zip(before, after, strict=True):
        count = len(old["measurements"])
        assert json.dumps(new["measurements"][:count]) == json.dumps(old["measurements"])
        assert [m["label"] for m in new["measurements"][count:]] == ["fgsm", "trace"]
        assert new | {"measurements": []} == old | {"measurements": []}
    assert networks == {path: path.read_bytes() for path in networks}
    assert [{k: v for k, v in each.items() if k != "target"} for each in read(out)] == after
    assert (tmp_path / "found.png").exists()

    asked.clear()
    code, said, err = run_measure(logs, *MORE, *ALONE)
    assert (code, err, asked) == (0, "", [])
    assert "2 trained, 0 to measure" in said
    assert records(logs) == after


def test_an_interruption_between_two_measurements_loses_only_the_one_at_hand(
    run_measure: Run, logs: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: Any = vars(trials)["measure"]

    def interrupted(subject: Any, requests: list[Request], observe: Any) -> Any:
        for found in counted(subject, requests, observe):
            if found.label == "trace":
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(trials, "measure", interrupted)
    code, _, err = run_measure(logs, *MORE, *ALONE)
    assert code == 130
    assert err.count("\n") == 1
    assert "the same command goes on" in err
    kept = records(logs)[0]["measurements"]
    assert kept[-1]["settings"]["epsilon"] == 0.06

    asked.clear()
    monkeypatch.setattr(trials, "measure", counted)
    assert run_measure(logs, *MORE, *ALONE)[0] == 0
    assert asked == ["trace", "fgsm 0.06", "trace"]
    assert records(logs)[0]["measurements"][: len(kept)] == kept


def test_two_workers_measure_what_one_does(run_measure: Run, logs: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(logs, tmp_path / "other/tiny"))
    assert run_measure(logs, *MORE, *ALONE)[0] == 0
    code, _, err = run_measure(other, *MORE, "--workers", "2")
    assert code == 0, err

    def values(folder: Path) -> list[Any]:
        return [[(m["identity"], m["values"]) for m in r["measurements"]] for r in records(folder)]

    assert [[i for i, _ in each] for each in values(other)] == [[i for i, _ in each] for each in values(logs)]
    for ours, theirs in zip(values(logs), values(other), strict=True):
        for (_, one), (_, same) in zip(ours, theirs, strict=True):
            assert one == pytest.approx(same, rel=1e-4)
    more = ("--set", "attacks.fgsm.epsilon=[0.02,0.09]")
    assert run_measure(other, *more, *ALONE)[0] == 0  # afterwards this process works alone


def test_one_trials_folder(run_measure: Run, logs: Path, asked: list[str]) -> None:
    folder = logs / "trials/lr/b0016-m0.9-s0"
    code, said, err = run_measure(folder, *MORE, *ALONE)
    assert (code, err, asked) == (0, "", ["fgsm 0.06", "trace"])
    assert "1 trained, 1 to measure" in said
    assert [len(r["measurements"]) for r in records(logs)] == [8, 10]


def test_a_trials_folder_that_was_copied_elsewhere_is_a_network_like_any_other(
    on_letters: Run, logs: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(logs / "trials/lr/b0016-m0.9-s0", tmp_path / "alone/mine"))
    before = (folder / "record.json").read_bytes()
    out = tmp_path / "found.json"
    code, _, err = on_letters(folder, *FEW, "--out", out)
    assert (code, err) == (0, "")
    [one] = read(out)["networks"]
    recorded = {k: v for k, v in accuracies(json.loads(before)).items() if k[0] == "fgsm"}
    assert accuracies(one)["fgsm", 0.02] == recorded["fgsm", 0.02]
    assert (folder / "record.json").read_bytes() == before


def test_a_network_that_is_gone_or_changed_is_named_and_the_others_are_measured(
    run_measure: Run, logs: Path, asked: list[str]
) -> None:
    changed = logs / "trials/lr/b0016-m0.0-s0/model.keras"
    kept = changed.read_bytes()
    changed.write_bytes(kept + b" ")
    code, _, err = run_measure(logs, *MORE, *ALONE)
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("failed: lr/b0016-m0.0-s0: ")
    assert f"{changed}: it is not the network that was trained (SHA-256)" in err
    assert asked == ["fgsm 0.06", "trace"]

    changed.unlink()
    code, _, err = run_measure(logs, *MORE, *ALONE)
    assert (code, err.count("\n")) == (1, 1)
    assert f"{changed}: the trained network is needed and not there" in err

    changed.write_bytes(kept)
    assert run_measure(logs, *MORE, *ALONE)[0] == 0
    assert [len(r["measurements"]) for r in records(logs)] == [10, 10]


def test_a_sweep_has_its_own_data_set(run_measure: Run, logs: Path) -> None:
    code, _, err = run_measure(logs, "--dataset", "letters.npz")
    assert (code, err.count("\n")) == (2, 1)
    assert "the networks of a sweep are measured on its own data set" in err


def test_a_folder_whose_networks_are_not_trained_yet_is_refused(run_measure: Run, logs: Path) -> None:
    shutil.rmtree(logs / "trials")
    code, _, err = run_measure(logs)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{logs}: no trained network" in err
