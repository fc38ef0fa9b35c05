"""docs/measures.md: its lines of YAML are configs, and it names every measure with everything that it finds."""

import pkgutil
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.conftest import TINY, Config
from tests.test_curvature import SIZE, Counted, matrix
from tfsgd.measures import attacks, curvature
from tfsgd.networks.compiled_victim import CompiledVictim
from tfsgd.networks.surrogate import Sources
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.specs import attack as attack_of
from tfsgd.plan.specs import curvature_measure
from tfsgd.plan.yaml_io import parse_yaml

TEXT = Path("docs/measures.md").read_text()
BLOCKS = [parse_yaml(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.S)]
ATTACKS = [module.name for module in pkgutil.iter_modules(attacks.__path__)]
CURVATURES = [module.name for module in pkgutil.iter_modules(curvature.__path__)]


def row(kind: str) -> str:
    """The row of a kind in a table; `|` in formulas is escaped."""
    [found] = [line for line in TEXT.splitlines() if line.startswith(f"| `{kind}` |")]
    return found


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: next(iter(block)))
def test_a_block_of_yaml_is_a_config(block: dict[str, Any], config: Config) -> None:
    sizes = {key: None for key in TINY if key.endswith("_examples")}
    experiment = load_experiment(config(**sizes, **block))
    for key in ("attacks", "curvature"):
        assert getattr(experiment, key).keys() >= (block.get(key) or {}).keys()


def test_every_kind_is_in_the_yaml() -> None:
    [block] = [block for block in BLOCKS if "curvature" in block]
    for key, said, kinds in (("attacks", "attack", ATTACKS), ("curvature", "measure", CURVATURES)):
        assert {spec.get(said, label) for label, spec in block[key].items()} == set(kinds)


def test_measures_full_has_every_curvature_measure() -> None:
    shipped = parse_yaml(Path("tfsgd/plan/full.yaml").read_text())
    assert {spec.get("attack", label) for label, spec in shipped["attacks"].items()} <= set(ATTACKS)
    kinds = {spec.get("measure", label) for label, spec in shipped["curvature"].items()}
    assert kinds == set(CURVATURES) - {"top_eigenvalue", "gradient_norm"}  # these every network has


@pytest.mark.parametrize("kind", CURVATURES)
def test_a_curvature_measures_row_has_its_evidence(kind: str) -> None:
    found = curvature_measure(kind, {}, None).run(Counted(matrix(np.linspace(-3, 20, SIZE))), SIZE, 0)
    for key in found.more:
        assert f"`{key}`" in row(kind), key


@pytest.mark.parametrize("kind", ATTACKS)
def test_an_attacks_row_has_its_evidence(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    model.save(tmp_path / "other.keras")
    monkeypatch.chdir(tmp_path)
    victim = CompiledVictim.of(model)
    victim.beside = Sources()
    settings = {"source": "other.keras"} if kind == "transfer" else {}
    images = np.random.default_rng(0).random((5, 4, 4, 1), np.float32)
    spec = attack_of(kind, {"epsilon": [0.1], **settings}, None)
    found = spec.run(victim, images, np.arange(5) % 3, 0.1, 0)
    for key in found.values:
        assert f"`{key}`" in row(kind), key
