"""Models and data of one's own: what a name stands for, and what is refused, in one line each."""

import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.own import Config, Write, arrays, refusal
from tfsgd.plan.config import Experiment
from tfsgd.plan.import_string import resolve
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.requests import requests_of
from tfsgd.plan.trials import grid, training_of
from tfsgd.reporting.table.studies import read_studies

# module:name


def test_the_configs_folder_comes_first_and_the_path_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"own_{uuid.uuid4().hex}"
    beside, elsewhere = tmp_path / "beside", tmp_path / "elsewhere"
    for folder in (beside, elsewhere):
        folder.mkdir()
        (folder / f"{name}.py").write_text(f"def f():\n    return {folder.name!r}\n")
    monkeypatch.syspath_prepend(str(elsewhere))
    path = list(sys.path)
    assert resolve(f"{name}:f", beside, "model")() == "beside"
    assert sys.path == path


def test_a_module_on_the_path_and_in_a_package_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "elsewhere" / f"own_{uuid.uuid4().hex}"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "nets.py").write_text("class Net: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    for code_dir in (None, tmp_path):
        assert resolve(f"{package.name}.nets:Net", code_dir, "model").__name__ == "Net"


def test_a_module_is_imported_once(module: Write, tmp_path: Path) -> None:
    name = module("count = []\ndef f(): ...\ndef g(): return count\ncount.append(1)")
    first = resolve(f"{name}:f", tmp_path, "model")
    assert resolve(f"{name}:f", tmp_path, "model") is first
    assert resolve(f"{name}:g", tmp_path, "model")() == [1]


def test_what_a_module_prints_leaves_standard_output_alone(
    module: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resolve(f"{module('print(1234)' + chr(10) + 'def f(): ...')}:f", tmp_path, "model")
    assert capsys.readouterr() == ("", "1234\n")


@pytest.mark.parametrize(
    ("text", "attribute", "message"),
    [
        ("def smaller(): ...", "small", "has no 'small'; did you mean 'smaller'?"),
        ("small = 3", "small", "expected 'small' to be a function or a class, found int"),
        (
            "small = 1\n1 / 0",
            "small",
            "cannot be imported: ZeroDivisionError: division by zero (FILE, line 2)",
        ),
        ("def small(:", "small", "cannot be imported: SyntaxError: invalid syntax (FILE, line 1)"),
        (
            "import nowhere_to_be_found as small",
            "small",
            "No module named 'nowhere_to_be_found' (FILE, line 1)",
        ),
        (
            "small = 1; raise SystemExit('no\\nway')",
            "small",
            "cannot be imported: SystemExit: no way (FILE, line 1)",
        ),
    ],
)
def test_a_module_that_cannot_be_used_is_named(
    text: str, attribute: str, message: str, module: Write, tmp_path: Path
) -> None:
    name = module(text)
    told = refusal(lambda: resolve(f"{name}:{attribute}", tmp_path, "model"))
    assert told.startswith(f"model: {name}:small: ")
    assert message.replace("FILE", str(tmp_path / f"{name}.py")) in told


def test_a_missing_module_is_named_with_the_nearest_file(tmp_path: Path) -> None:
    (tmp_path / "my_letterz_module.py").touch()
    told = refusal(lambda: resolve("my_letters_module:f", tmp_path, "dataset"))
    assert f"no module 'my_letters_module' in {tmp_path} or on Python's path" in told
    assert told.endswith("did you mean 'my_letterz_module'?")


@pytest.mark.parametrize("name", ["nets.py:", "a/b:small", "nets:small:x", ":small", "nets:sm all"])
def test_another_form_of_name_is_refused(name: str, tmp_path: Path) -> None:
    assert "expected module:name, such as" in refusal(lambda: resolve(name, tmp_path, "model"))


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text("def small(): ...\n")
    told = refusal(lambda: resolve("yaml:small", tmp_path, "model"))
    assert f"{tmp_path / 'yaml.py'}: a module 'yaml' has been imported from {yaml.__file__}" in told


# Functions that give data


DATA = """
import numpy as np
images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
def letters():
    print("drawing")
    return {"train_images": images, "train_labels": np.arange(60) % 3}
def moody():
    return letters() | {"train_images": np.random.default_rng().integers(0, 256, (60, 8, 8), np.uint8)}
def nothing(): ...
def wrong():
    return letters() | {"augment": "yes"}
def raises():
    import nowhere_to_be_found
def needs(count): ...
"""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", "expected to return a dict with train_images and train_labels, returned NoneType"),
        ("wrong", "augment: expected True or False, found 'yes'"),
        ("raises", "it raised ModuleNotFoundError: No module named 'nowhere_to_be_found' (FILE, line 13)"),
        ("needs", "it raised TypeError: needs() missing 1 required positional argument: 'count'"),
        ("leters", "has no 'leters'; did you mean 'letters'?"),
    ],
)
def test_a_function_that_gives_no_data_is_named_with_its_file(
    function: str, message: str, module: Write, own_config: Config, tmp_path: Path
) -> None:
    name = module(DATA)
    config = own_config(dataset=f"{name}:{function}")
    told = refusal(lambda: load_experiment(config))
    assert told.startswith(f"{config}: dataset: {name}:{function}")
    assert str(tmp_path / f"{name}.py") in told
    assert message.replace("FILE", str(tmp_path / f"{name}.py")) in told


def test_data_that_differ_from_call_to_call_are_refused(module: Write, own_config: Config) -> None:
    name = module(DATA)
    experiment = load_experiment(own_config(dataset=f"{name}:moody", model=f"{name}:nothing"))
    assert "it must give the same each time, fix its seed" in refusal(experiment.splits)


# Experiments


def test_a_resolved_config_is_read_without_the_module_or_the_file(
    module: Write, own_config: Config, tmp_path: Path
) -> None:
    name = module(DATA)
    np.savez(tmp_path / "letters.npz", **arrays())
    experiments = [
        load_experiment(own_config(dataset=dataset, model=f"{name}:nothing"))
        for dataset in (f"{name}:letters", "letters.npz")
    ]
    assert {experiment.code_dir for experiment in experiments} == {str(tmp_path.resolve())}
    for file in (f"{name}.py", "letters.npz"):
        (tmp_path / file).unlink()
    del sys.modules[name]
    for experiment in experiments:
        text = yaml.safe_dump(experiment.model_dump(mode="json"))
        again = Experiment.model_validate(yaml.safe_load(text))
        assert again == experiment.model_copy(update={"own_code": ()}), (
            "what may be imported is no file's to say"
        )
        assert again.examples("test") == experiment.data.test


def test_where_code_lies_does_not_count_for_what_a_trial_is(module: Write, own_config: Config) -> None:
    name = module(DATA)
    experiment = load_experiment(own_config(dataset=f"{name}:letters", model=f"{name}:nothing"))
    elsewhere = experiment.model_copy(update={"code_dir": "/elsewhere"})
    hashes = {training_of(grid(e)[0], e, "a" * 64, "b" * 64).hash for e in (experiment, elsewhere)}
    identities = [[request.identity for request in requests_of(e, 0)] for e in (experiment, elsewhere)]
    assert len(hashes) == 1
    assert identities[0] == identities[1]


def test_shipped_names_leave_no_folder_behind(config: Config) -> None:
    experiment = load_experiment(config())
    assert (experiment.code_dir, experiment.own_data) == (None, None)
    assert experiment.data.class_names is not None


@pytest.mark.parametrize("key", ["code_dir", "own_data"])
def test_what_the_tool_sets_is_not_set_by_hand(key: str, config: Config) -> None:
    assert f"{key}: it is set by the tool" in refusal(lambda: load_experiment(config(**{key: "/tmp"})))


def test_sizes_and_shapes_of_own_data_are_compared_with_the_config(own_config: Config, module: Write) -> None:
    data = f"{module(DATA)}:letters"
    told = refusal(lambda: load_experiment(own_config(dataset=data)))
    assert "stdcnn takes images of shape (28, 28, 1)" in told
    assert "(8, 8, 1); expected a model of your own, module:function" in told
    told = refusal(lambda: load_experiment(own_config(dataset=data, model=data, batch_sizes=[46])))
    assert "batch_sizes: expected at most the 45 training images, received 46" in told
    told = refusal(lambda: load_experiment(own_config(dataset=data, model=data, test_examples=11)))
    assert "test_examples: expected at most 10, received 11" in told


def test_a_missing_model_module_is_found_out_before_tensorflow_is_needed(config: Config) -> None:
    told = refusal(lambda: load_experiment(config(model="my_absent_nets:small")))
    assert "model: my_absent_nets:small: no module 'my_absent_nets'" in told


# The examples, as a user would run them


@pytest.mark.timeout(600)
def test_the_example_runs_with_two_workers_and_is_reported(run_sweep: Any, tmp_path: Path) -> None:
    code, out, err = run_sweep("examples/own.yaml", "--workers", 2, "--set", "batch_sizes=[8]")
    assert code == 0, err
    assert "own_shapes.py" in out + err
    records = [yaml.safe_load(path.read_text()) for path in (tmp_path / "logs").rglob("record.json")]
    assert len(records) == 2
    on_test = [next(m for m in record["measurements"] if m["label"] == "test") for record in records]
    best = max(found["values"]["accuracy"] for found in on_test)
    assert best > 0.9  # of 4 classes
    assert {record["model"] for record in records} == {"own_nets:small"}
    assert {found["examples"] for found in on_test} == {100}
    code, out, _ = run_sweep("examples/own.yaml", "--workers", 1, "--set", "batch_sizes=[8]")
    assert code == 0
    assert "0 to train" in out
    study = read_studies([tmp_path / "logs" / "own"])[0]
    assert study.chance == 0.25
    report = [sys.executable, "-m", "tfsgd.report", str(tmp_path / "logs" / "own")]
    done = subprocess.run(report, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "logs" / "own" / "report" / "index.html").exists()
