"""The real TensorBoard, asked over HTTP what it shows of a sweep."""

import io
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import TINY
from tests.sweeps import swept
from tfsgd.training.callbacks import EpochLog
from tfsgd.training.scalars import EpochScalars
from tfsgd.trials.pictures import attacks_picture

RIGHT, WRONG = matplotlib.colors.to_rgb("#1a7f37"), matplotlib.colors.to_rgb("#c62828")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of two epochs with the curvature of each."""
    root = tmp_path_factory.mktemp("sweep")
    hessian = {"examples": 64, "max_iterations": 3, "tolerance": 0.5, "every_epochs": 1}
    (root / "config.yaml").write_text(yaml.safe_dump(TINY | {"epochs": 2, "hessian": hessian}))
    return swept(root / "config.yaml", root)


@pytest.fixture(scope="module")
def server(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """TensorBoard on a free port of the loopback interface."""
    said = tmp_path_factory.mktemp("said") / "stderr"
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(logs),
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ]
    with said.open("w") as file:
        process = subprocess.Popen([*command, "--load_fast", "false"], stderr=file, stdout=file)
    try:
        yield _address(said, process)
    finally:
        process.terminate()
        process.wait(timeout=20)


def _address(said: Path, process: subprocess.Popen[bytes]) -> str:
    for _ in range(240):
        words = said.read_text().split()
        found = [word for word in words if word.startswith("http://127.0.0.1:")]
        if found:
            return found[0].rstrip("/") + "/"
        assert process.poll() is None, said.read_text()
        time.sleep(0.25)
    raise TimeoutError(said.read_text())


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def ask_until(url: str, wanted: Any, body: Any = None) -> Any:
    """Asks until TensorBoard has read everything."""
    for _ in range(120):
        answer = ask(url, body)
        if wanted(answer):
            return answer
        time.sleep(0.5)
    raise TimeoutError(answer)


def records(logs: Path) -> dict[str, Any]:
    paths = sorted((logs / "trials").glob("*/*/record.json"))
    return {f"{path.parent.parent.name}/{path.parent.name}": json.loads(path.read_text()) for path in paths}


def measured(record: Any, label: str, value: str = "accuracy") -> float:
    """The one number under a label."""
    [found] = [m["values"][value] for m in record["measurements"] if m["label"] == label]
    return float(found)


def test_scalars_are_those_of_the_records(server: str, logs: Path) -> None:
    expected = records(logs)
    runs = {f"trials/{name}" for name in expected}
    tags = ask_until(server + "data/plugin/scalars/tags", lambda answer: runs <= set(answer))
    assert set(tags) - {"."} == runs  # one run a trial; the one above them has HParams' own
    for name, record in expected.items():
        epochs = {
            "training/loss",
            "training/accuracy",
            "training/validation_loss",
            "training/validation_accuracy",
            "training/learning_rate",
        }
        final = {
            "accuracy/train",
            "accuracy/test",
            "robustness/fgsm_0.1",
            "robustness/pgd_0.1",
            "curvature/lambda1",
        }
        assert epochs | final <= set(tags[f"trials/{name}"])
        assert not any("top_hessian" in tag for tag in tags[f"trials/{name}"])  # λ1 has one name

        def series(run: str, tag: str) -> list[float]:
            url = f"{server}data/plugin/scalars/scalars?run={run}&tag={tag}"
            return [value for _, _, value in ask_until(url, lambda answer: len(answer) > 0)]

        run, history = f"trials/{name}", record["history"]
        assert series(run, "training/loss") == pytest.approx(history["loss"], rel=1e-6)
        assert series(run, "training/validation_accuracy") == pytest.approx(history["val_accuracy"])
        assert series(run, "curvature/lambda1") == pytest.approx(history["top_hessian_eigenvalue"], rel=1e-6)
        assert series(run, "accuracy/test") == pytest.approx([measured(record, "test")])
        assert series(run, "robustness/pgd_0.1") == pytest.approx([measured(record, "pgd")])


def test_a_training_that_goes_on_has_each_epoch_once(tmp_path: Path) -> None:
    """It was killed after its third epoch, with a checkpoint of the second."""

    def fit(known: list[dict[str, float]], losses: list[float]) -> None:
        log = EpochLog(lambda done, figures: None)
        log.epochs = known
        scalars = EpochScalars(tmp_path, log)
        scalars.on_train_begin()
        for loss in losses:
            log.epochs.append({"loss": loss, "top_hessian_eigenvalue": 10 * loss})
            scalars.on_epoch_end(len(log.epochs) - 1)

    fit([], [3.0, 2.0, 1.0])
    fit([{"loss": 3.0}, {"loss": 2.0}], [0.5, 0.25])
    events = EventAccumulator(str(tmp_path)).Reload()
    found = {
        tag: [(e.step, float(tf.make_ndarray(e.tensor_proto))) for e in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }
    assert found == {
        "training/loss": [(1, 3.0), (2, 2.0), (3, 0.5), (4, 0.25)],
        "curvature/lambda1": [(3, 5.0), (4, 2.5)],
    }


def test_attacks_are_shown_and_the_config_is_there(server: str, logs: Path) -> None:
    for name in records(logs):
        found = ask_until(
            server + f"data/plugin/images/images?run=trials/{name}&tag=under_attack/images&sample=0",
            lambda answer: answer,
        )
        picture = urllib.request.urlopen(
            f"{server}data/plugin/images/individualImage?{found[0]['query']}", timeout=30
        )
        pixels = matplotlib.image.imread(io.BytesIO(picture.read()))[..., :3]
        said = [np.isclose(pixels, colour, atol=0.1).all(axis=2).sum() for colour in (RIGHT, WRONG)]
        assert sum(said) > 20  # the classes over the images
        texts = ask(server + f"data/plugin/text/text?run=trials/{name}&tag=config")
        assert "relative_step_size" in texts[0]["text"]


def test_hparams_show_settings_and_measurements(server: str, logs: Path) -> None:
    expected = records(logs)
    url = server + "data/plugin/hparams/experiment"
    experiment = ask_until(url, lambda answer: answer.get("hparamInfos"), {"experimentName": ""})
    settings = {"regime", "batch_size", "momentum", "learning_rate", "seed"}
    assert {info["name"] for info in experiment["hparamInfos"]} == settings
    metrics = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert metrics == {"accuracy/test", "robustness/fgsm_0.1", "robustness/pgd_0.1", "curvature/lambda1"}
    query = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [{"metric": {"tag": tag}} for tag in sorted(metrics)],
        "startIndex": 0,
        "sliceSize": 100,
    }
    groups = ask_until(
        server + "data/plugin/hparams/session_groups",
        lambda answer: (
            len(answer["sessionGroups"]) == len(expected)
            and all(len(group["metricValues"]) == 4 for group in answer["sessionGroups"])
        ),
        query,
    )["sessionGroups"]
    shown = {(g["hparams"]["regime"], g["hparams"]["momentum"]): g for g in groups}
    for record in expected.values():
        group = shown[record["regime"], record["sgd"]["momentum"]]
        assert set(group["hparams"]) == settings
        assert (group["hparams"]["batch_size"], group["hparams"]["seed"]) == ("   64", "    0")  # not 64.000
        values = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
        assert values["accuracy/test"] == pytest.approx(measured(record, "test"))
        assert values["curvature/lambda1"] == pytest.approx(measured(record, "hessian", "value"))


def test_images_without_colours_have_no_picture() -> None:
    experiment: Any = SimpleNamespace(
        attacks={"fgsm": SimpleNamespace(is_recorded=False)}, data=SimpleNamespace(image_shape=(3, 8, 8))
    )
    subject: Any = None
    assert attacks_picture(subject, experiment, 0) is None
