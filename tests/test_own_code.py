"""Layers and attacks of one's own: stored networks are loaded again, and changed code is never taken for what it was."""

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.conftest import Run, Work
from tests.own import Config, Write, arrays, refusal
from tfsgd.plan.user_model import UserModel
from tfsgd.source_hash import code_sha256
from tfsgd.training import model as training_model

CODE = """
import math
LIMIT = 3
LIMIT += 1
def helper(x): return min(x, LIMIT)
def other(x): return x
class Uses:
    def run(self, x): return helper(x) + math.pi
    class Inner: ...
Uses.table = {1: LIMIT}
if LIMIT > 2:
    def late(): return Uses
"""


@pytest.fixture
def code(module: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(tmp_path))

    def of(text: str, name: str) -> str:
        return code_sha256(getattr(__import__(module(text)), name))

    return of


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("x) + math.pi", "x) - math.pi", True),
        ("min(x, LIMIT)", "max(x, LIMIT)", True),
        ("LIMIT += 1", "LIMIT += 2", True),
        ("LIMIT = 3", "LIMIT = 2", True),
        ("import math", "import numpy as math", True),
        ("{1: LIMIT}", "{2: LIMIT}", True),
        ("class Inner: ...", "class Inner: x = 1", True),
        ("def other(x): return x", "def other(x): return 2 * x", False),
        ("def late(): return Uses", "def late(): return 1", False),
        ("import math", "import math  # for pi", False),
        ("class Inner: ...", "class Inner:\n        ...", False),
    ],
)
def test_code_counts_where_it_is_used(code: Any, old: str, new: str, counts: bool) -> None:
    assert old in CODE
    assert (code(CODE, "Uses") != code(CODE.replace(old, new), "Uses")) == counts


def test_code_behind_a_condition_counts(code: Any) -> None:
    assert code(CODE, "late") not in ("", code(CODE.replace("LIMIT > 2", "LIMIT > 1"), "late"))


def test_what_came_with_the_libraries_has_no_code_of_ones_own() -> None:
    assert {code_sha256(thing) for thing in (keras.layers.Dense, UserModel, len, int)} == {""}


LAYERS = """
import keras
FACTOR = 1
class Scale(keras.layers.Layer):
    def call(self, x): return x * FACTOR
def bent(x): return keras.ops.relu(x) + keras.ops.relu(-x) / 2
def hidden(image_shape, classes):
    image = keras.Input(image_shape)
    x = keras.layers.Dense(5, activation=bent)(keras.layers.Flatten()(image))
    return keras.Model(image, keras.layers.Dense(classes)(Scale()(x)))
"""


def test_networks_with_layers_of_ones_own_are_measured_again_and_never_with_other_code(
    module: Write, own_config: Config, run_sweep: Run, run_measure: Run, tmp_path: Path
) -> None:
    np.savez(tmp_path / "letters.npz", **arrays())
    name = module(LAYERS.replace("FACTOR = 1", "FACTOR = 2"))
    config = own_config(
        dataset="letters.npz",
        model=f"{name}:hidden",
        export=True,
        regimes={"LR": {"learning_rate": 0.05, "momentum": [0.0]}},
    )
    assert run_sweep(config)[0] == 0
    logs = tmp_path / "logs" / "tiny"
    [file] = logs.rglob("model.keras")

    def forget() -> None:  # as in a process of its own
        keras.saving.get_custom_objects().clear()
        del sys.modules[name]

    forget()
    code, _, err = run_measure(logs, "--workers", 1, "--set", "attacks.noise={epsilon: [0.1]}")
    assert code == 1
    assert name not in sys.modules, "a folder of results runs no code"
    assert "give --config" in err
    code, _, err = run_measure(
        logs, "--workers", 1, "--config", config, "--set", "attacks.noise={epsilon: [0.1]}"
    )
    assert code == 0, err
    record = json.loads((file.parent / "record.json").read_text())
    noise = [m for m in record["measurements"] if m["label"] == "noise"]
    assert len(noise) == 1

    forget()
    code, _, err = run_measure(file, "--dataset", tmp_path / "letters.npz", "--set", "hessian.examples=20")
    assert code == 2
    assert "Could not locate" in err
    assert "give --code FILE.py" in err
    code, _, err = run_measure(file, "--config", config)
    assert code == 0, err

    forget()
    (tmp_path / f"{name}.py").write_text(LAYERS.replace("FACTOR = 1", "FACTOR = 3"))
    code, _, err = run_measure(
        logs, "--workers", 1, "--config", config, "--set", "attacks.noise={epsilon: [0.2]}"
    )
    assert code == 1
    assert "it is not the network that was trained: the code of its layers has changed" in err
    training_model._structure.cache_clear()  # as in a process of its own
    code, _, err = run_measure(
        logs, "--workers", 1, "--config", config, "--set", "attacks.noise={epsilon: [0.2]}"
    )
    assert code == 2
    assert "is now built otherwise than the networks of the records" in err


NO_CONFIG = """
import keras
import numpy as np
class Add(keras.layers.Layer):
    def __init__(self, moreBY):
        super().__init__()
        self.more = more
    def call(self, x): return x + self.more
    def get_config(self): return {}
def relu(x): return keras.ops.minimum(x, 0.0)
def hidden(image_shape, classes, *layers):
    return keras.Sequential([keras.Input(image_shape), keras.layers.Flatten(), *layers, keras.layers.Dense(classes)])
def forgets(image_shape, classes): return hidden(image_shape, classes, Add(5.0))
def normal(image_shape, classes):
    normalization = keras.layers.Normalization()
    normalization.adapt(np.random.default_rng(0).random((50, *image_shape)))
    return hidden(image_shape, classes, normalization)
def shadows(image_shape, classes): return hidden(image_shape, classes, keras.layers.Dense(5, activation=relu))
"""


@pytest.mark.parametrize(
    ("function", "by", "message"),
    [
        ("forgets", "=0.0", "loaded from a file it would compute something else"),
        (
            "forgets",
            "",
            "missing 1 required positional argument: 'more'; its get_config must give every argument",
        ),
        ("shadows", "=0.0", "no function may have the name of one of Keras's"),
    ],
)
def test_what_a_file_would_not_give_back_is_refused_before_it_is_trained(
    function: str, by: str, message: str, module: Write, tmp_path: Path
) -> None:
    name = module(NO_CONFIG.replace("BY", by))
    told = refusal(lambda: UserModel(f"{name}:{function}", tmp_path).check((8, 8, 1), 3))
    assert message in told


def test_a_layer_that_was_adapted_is_given_back(module: Write, tmp_path: Path) -> None:
    """Its mean and variance are in the file, and not among its weights."""
    UserModel(f"{module(NO_CONFIG)}:normal", tmp_path).check((8, 8, 1), 3)


NOISE = """
import numpy as np
from tfsgd.measures.attack import AttackSpec, Outcome
class Dim(AttackSpec):
    def run(self, victim, images, labels, epsilon, seed):
        moved = np.clip(images - np.float32(SHARE) * np.float32(epsilon), 0, 1)
        return Outcome(moved, victim.predict(moved) == labels)
"""


def test_an_attack_whose_code_has_changed_is_measured_anew(
    module: Write, own_config: Config, run_sweep: Run, work: Work, tmp_path: Path
) -> None:
    np.savez(tmp_path / "letters.npz", **arrays())
    name = module(NOISE.replace("SHARE", "0.5"))
    attacks = {"fgsm": {"epsilon": [0.1]}, "dim": {"attack": f"{name}:Dim", "epsilon": [0.1]}}
    config = own_config(dataset="letters.npz", attacks=attacks, model=f"{module(LAYERS)}:hidden", export=True)
    assert run_sweep(config)[0] == 0
    first = [each for each in work.measured if each[0] == "dim"]
    assert run_sweep(config)[0] == 0
    assert [each for each in work.measured if each[0] == "dim"] == first
    (tmp_path / f"{name}.py").write_text(NOISE.replace("SHARE", "1.0"))
    del sys.modules[name]
    assert run_sweep(config)[0] == 0
    assert [each for each in work.measured if each[0] == "dim"] == 2 * first
    record = json.loads(next((tmp_path / "logs").rglob("record.json")).read_text())
    assert len({m["settings"]["code_sha256"] for m in record["measurements"] if m["label"] == "dim"}) == 2
