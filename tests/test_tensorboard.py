"""The real TensorBoard, asked over HTTP what it shows of a sweep."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import TINY


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of two epochs with the curvature of each."""
    root = tmp_path_factory.mktemp("sweep")
    hessian = {"examples": 64, "max_iterations": 3, "tolerance": 0.5, "every_epochs": 1}
    (root / "config.yaml").write_text(yaml.safe_dump(TINY | {"epochs": 2, "hessian": hessian}))
    command = [sys.executable, "-m", "tfsgd.sweep", str(root / "config.yaml"), "--logs", str(root)]
    subprocess.run(command, check=True, capture_output=True)
    return root / "tiny"


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
    runs = {f"trials/{name}{part}" for name in expected for part in ("", "/train", "/validation")}
    tags = ask_until(server + "data/plugin/scalars/tags", lambda answer: runs <= set(answer))
    for name, record in expected.items():
        train = f"trials/{name}/train"
        assert {"epoch_loss", "epoch_accuracy", "epoch_learning_rate", "epoch_top_hessian_eigenvalue"} <= set(
            tags[train]
        )

        def series(run: str, tag: str) -> list[float]:
            url = f"{server}data/plugin/scalars/scalars?run={run}&tag={tag}"
            return [value for _, _, value in ask_until(url, lambda answer: len(answer) > 0)]

        for tag, key in (("epoch_loss", "loss"), ("epoch_top_hessian_eigenvalue", "top_hessian_eigenvalue")):
            assert series(train, tag) == pytest.approx(record["history"][key], rel=1e-6)
        assert series(f"trials/{name}/validation", "epoch_accuracy") == pytest.approx(
            record["history"]["val_accuracy"]
        )
        final = f"trials/{name}"
        assert series(final, "test_accuracy") == pytest.approx([measured(record, "test")])
        assert series(final, "pgd_0.1_accuracy") == pytest.approx([measured(record, "pgd")])
        assert series(final, "hessian_eigenvalue") == pytest.approx([measured(record, "hessian", "value")])


def test_attacks_are_shown_and_the_config_is_there(server: str, logs: Path) -> None:
    for name in records(logs):
        found = ask_until(
            server + f"data/plugin/images/images?run=trials/{name}&tag=attacks&sample=0",
            lambda answer: answer,
        )
        picture = urllib.request.urlopen(
            f"{server}data/plugin/images/individualImage?{found[0]['query']}", timeout=30
        )
        assert picture.read(8) == b"\x89PNG\r\n\x1a\n"
        texts = ask(server + f"data/plugin/text/text?run=trials/{name}&tag=config")
        assert "relative_step_size" in texts[0]["text"]


def test_hparams_show_settings_and_measurements(server: str, logs: Path) -> None:
    expected = records(logs)
    url = server + "data/plugin/hparams/experiment"
    experiment = ask_until(url, lambda answer: answer.get("hparamInfos"), {"experimentName": ""})
    settings = {"regime", "batch_size", "momentum", "learning_rate", "seed"}
    assert {info["name"] for info in experiment["hparamInfos"]} == settings
    metrics = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert metrics == {"test_accuracy", "fgsm_0.1_accuracy", "pgd_0.1_accuracy", "hessian_eigenvalue"}
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
        values = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
        assert values["test_accuracy"] == pytest.approx(measured(record, "test"))
        assert values["hessian_eigenvalue"] == pytest.approx(measured(record, "hessian", "value"))
