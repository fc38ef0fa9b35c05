"""What trained is what is recorded: policies of precision, functions that change their mind, Keras's settings, resumed parts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Run
from tests.own import Write, refusal
from tests.test_checkpoint import Killed, killer
from tests.test_train import experiment, small
from tfsgd.data.dataset import Splits
from tfsgd.models.paper import MODELS
from tfsgd.models.structure import PAPER_STRUCTURES, structure_sha256
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.user_model import UserModel
from tfsgd.training import checkpoint
from tfsgd.training.provenance import provenance
from tfsgd.training.train import train
from tfsgd.trials import standalone

POLICIES = ("float32", "mixed_float16", "mixed_bfloat16", "float64")


def layered(policies: list[str | None]) -> str:
    image = keras.Input((4, 4, 1), dtype="float32")
    x = image
    for policy in policies:
        x = keras.layers.Conv2D(2, 1, dtype=policy)(x)
    return structure_sha256(
        keras.Model(image, keras.layers.Dense(3, dtype="float32")(keras.layers.Flatten(dtype="float32")(x)))
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(POLICIES), min_size=1, max_size=3), st.sampled_from(POLICIES))
def test_a_structure_says_the_policy_of_each_layer_however_it_was_set(
    each: list[str], everywhere: str
) -> None:
    """Truth: hashes are equal where, and only where, the layers compute and store alike."""
    try:
        plain = layered(list(each))
        keras.config.set_dtype_policy(everywhere)
        assert layered(list(each)) == plain, "an explicit policy counts for what it is"
        by_default = layered([None] * len(each))
    finally:
        keras.config.set_dtype_policy("float32")
    assert by_default == layered([everywhere] * len(each))
    assert (by_default == plain) == (set(each) == {everywhere})
    assert (layered([None] * len(each)) == plain) == (set(each) == {"float32"})


def test_a_plain_network_has_the_hash_that_it_had() -> None:
    for name in ("stdcnn", "m1"):
        assert structure_sha256(MODELS[name].build((28, 28, 1), 10)) == PAPER_STRUCTURES[name]


MOODY = """
import keras
calls = 0
def moody(image_shape, classes):
    global calls
    calls += 1
    image = keras.Input(image_shape)
    x = keras.layers.Dense(5 + (calls == TURN))(keras.layers.Flatten()(image))
    return keras.Model(image, keras.layers.Dense(classes)(x))
"""


@pytest.mark.parametrize("turn", [2, 3, 4, 7])
def test_a_function_that_builds_another_network_at_a_later_call_is_refused(
    turn: int, module: Write, tmp_path: Path
) -> None:
    model = UserModel(f"{module(MOODY.replace('TURN', str(turn)))}:moody", tmp_path)
    for _ in range(turn - 1):
        model.build((4, 4, 1), 3)
    assert "built again, it has another structure" in refusal(lambda: model.build((4, 4, 1), 3))
    model.build((4, 4, 2), 3)  # of other images it may be another


def python(code: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("KERAS_BACKEND", "jax"), ("KERAS_BACKEND", "torch"), ("TF_USE_LEGACY_KERAS", "1")]
)
def test_variables_that_make_another_keras_are_refused_in_a_line(name: str, value: str) -> None:
    command = {"jax": "sweep", "torch": "report", "1": "measure"}[value]
    code, err = python(
        f"import sys; sys.argv = ['{command}', 'x']; from tfsgd.{command} import main; main()",
        **{name: value},
    )
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith(f"error: {name}={value}: ")


def test_settings_of_keras_json_are_set_or_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "keras.json"
    code = "from tfsgd.training.devices import configure_tensorflow as c; import keras; assert keras.backend.backend() == 'tensorflow'; c()"
    plain = {"floatx": "float32", "epsilon": 1e-7, "backend": "jax", "image_data_format": "channels_last"}
    for key, value in (("backend", "torch"), ("floatx", "float16"), ("image_data_format", "channels_first")):
        file.write_text(json.dumps(plain | {key: value}))
        environment = {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "tensorflow"}
        ended, err = python(code, **environment)
        if key == "backend":
            assert ended == 0, err
        else:
            assert f"RequestError: {file}: {key}: expected {plain[key]}, found {value}" in err


def test_a_training_that_goes_on_elsewhere_says_so_and_records_each_part(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, sgd, images = experiment(epochs=4), SGDSettings(64, 0.9, 0.02), small(splits)
    here = provenance()
    there = here.model_copy(
        update={"threads": here.threads + 3, "versions": here.versions | {"keras": "0.1"}}
    )
    for place, epoch in ((here, 1), (here, 2), (there, 3)):
        monkeypatch.setattr(checkpoint, "provenance", lambda place=place: place)
        with pytest.raises(Killed):
            train(sgd, 3, asked, images, tmp_path, "a" * 64, killer(epoch))
        # killed before its checkpoint: the epoch is trained again
    monkeypatch.setattr(checkpoint, "provenance", lambda: there)
    trained = train(sgd, 3, asked, images, tmp_path, "a" * 64)
    err = capsys.readouterr().err
    assert err.count("warning: ") == 1
    assert f"threads {there.threads} in place of {here.threads}" in err
    assert f"keras 0.1 in place of {here.versions['keras']}" in err
    assert [(part.until, part.provenance) for part in trained.made_by] == [(1, here), (4, there)]
    once = train(sgd, 3, experiment(epochs=1), images, tmp_path / "whole", "b" * 64)
    assert len(once.made_by) == 1


def test_what_is_recorded_of_onednn_is_what_tensorflow_runs_with() -> None:
    """It is on or off from TensorFlow's import on, which may come before tfsgd's."""
    text = "import os, tensorflow; os.environ['TF_ENABLE_ONEDNN_OPTS'] = '1'\n"
    text += "from tfsgd.training.provenance import provenance; print(provenance().onednn)"
    off = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0"}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=off)
    assert done.stdout == "False\n"


def test_a_file_that_is_written_anew_while_it_is_measured_is_refused(
    run_measure: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = keras.Input((28, 28, 1))
    network = keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(image)))
    file = tmp_path / "n.keras"
    network.save(file)
    load = standalone.load_network  # type: ignore[attr-defined]

    def meanwhile(path: Path, *how: Any) -> Any:
        found = load(path, *how)
        network.set_weights([np.ones_like(w) for w in network.get_weights()])
        network.save(path)
        return found

    monkeypatch.setattr(standalone, "load_network", meanwhile)
    code, _, err = run_measure(file, "--dataset", "fashion_mnist")
    assert code == 2
    assert f"{file}: it was written anew while it was read" in err
