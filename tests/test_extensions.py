"""The shipped sweeps of rules that the paper has not: each is what its header says, and runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import grid

SHIPPED = sorted(Path("configs/extensions").glob("*.yaml"))
TINY = (
    "train_examples=96", "validation_examples=50", "test_examples=50", "batch_sizes=[32]", "seeds=[0]", "export=false",
    "attacks={fgsm: {epsilon: [0.1]}}", "hessian={examples: 32, max_iterations: 2}",
)  # fmt: skip
RULES = {
    "weight_decay": {"weight_decay"},
    "linear_scaling": {"schedule", "step_epochs", "warmup_epochs"},
    "sam": {"sam", "adaptive"},
    "label_smoothing": {"label_smoothing"},
    "optimizers": {"optimizer", "optimizer_arguments"},
    "full_batch": set(),
    "equal_updates": set(),
    "growing_batches": {"grow_every_epochs", "grow_up_to"},
    "mixed_adversarial": {"adversarial_epochs", "adversarial_attack", "adversarial_epsilon"},
}


LENGTHS = {  # a warmup, a step and a growth need more
    "linear_scaling": "epochs=3",
    "growing_batches": "epochs=2",
    "equal_updates": "budget.updates=3",
}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_each_has_the_papers_lr_beside_its_rules(path: Path) -> None:
    assert "arXiv:" in path.read_text().partition("name:")[0]
    for quick in (False, True):
        trials = grid(load_experiment(path, quick=quick))
        assert {t.settings.is_algorithm_1 and t.settings.is_constant for t in trials if t.regime == "LR"} == {
            True
        }
        assert {t.settings.momentum for t in trials} == {0.0, 0.9}


def _marked(path: Path) -> Any:
    """All but one are run by `make faults` alone, to save time."""
    return pytest.param(path, marks=() if path.stem == "sam" else pytest.mark.long, id=path.stem)


@pytest.mark.parametrize("path", [*map(_marked, SHIPPED)])
def test_each_runs(path: Path, tmp_path: Path, run_sweep: Run) -> None:
    overrides = [word for override in TINY for word in ("--set", override)]
    length = LENGTHS.get(path.stem, "epochs=1")
    if path.stem == "growing_batches":
        overrides += ["--set", "regimes.Growing.grow_batch.up_to=64"]
    code, _, err = run_sweep(path, "--quick", "--logs", tmp_path, "--set", length, *overrides)
    assert (code, err) == (0, "")
    records = [json.loads(found.read_text()) for found in tmp_path.rglob("record.json")]
    used = {key for record in records for key in record["sgd"]}
    four = {"batch_size", "momentum", "learning_rate", "halve_every_epochs"}
    assert used - four == RULES[path.stem]
    assert len({tuple(record["history"]["loss"]) for record in records}) == len(records)
