"""--only and --stop-after: some of a grid now, and the rest by the same command without them."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Config, Run, Work
from tests.synthetic import experiment
from tfsgd.errors import RequestError
from tfsgd.plan.selection import selection
from tfsgd.plan.trials import grid

GRID = grid(experiment(batch_sizes=[64, 256], seeds=[0, 1]))


@pytest.mark.parametrize(
    ("only", "names"),
    [
        (["batch_size=64,momentum=0.9,seed=1,regime=Benchmark"], ["benchmark/b0064-m0.9-s1"]),
        (["regime=LR/BS,batch_size=64,momentum=0.50,seed=0"], ["lr/b0064-m0.5-s0"]),  # one trial of both
        (
            ["seed=0,batch_size=256,momentum=0,regime=LR", "seed=1,learning_rate=0.04,momentum=0.2"],
            ["lr/b0256-m0.0-s0", "lr-bs/b0256-m0.2-s1"],
        ),
        (["halve_every_epochs=5,seed=0,batch_size=64"], ["benchmark/b0064-m0.9-s0"]),
    ],
)
def test_conditions(only: list[str], names: list[str]) -> None:
    asked = selection(only, None)
    asked.check(GRID)
    assert [trial.name for trial in asked.of(GRID)] == names
    assert [trial.name for trial in selection(only, 1).of(GRID)] == names[:1]


@pytest.mark.parametrize(
    ("only", "said"),
    [
        ("batch_size=65", "--only batch_size=65: no trial of the grid has it; expected one of 256, 64"),
        ("batch=64", "--only batch=64: no setting 'batch'; did you mean 'batch_size'?"),
        ("batch_size", "--only batch_size: expected KEY=VALUE,... such as batch_size=64,momentum=0.9"),
        ("momentum=0.9,momentum=0.5", "momentum is there twice"),
        (
            "regime=Benchmark,momentum=0.5",
            "--only regime=Benchmark,momentum=0.5: no trial of the grid has all of them",
        ),
    ],
)
def test_what_no_trial_meets_is_refused_in_a_line(only: str, said: str) -> None:
    with pytest.raises(RequestError) as refusal:
        selection([only], None).check(GRID)
    assert said in str(refusal.value)


def test_a_part_now_and_the_rest_later(config: Config, run_sweep: Run, work: Work, tmp_path: Path) -> None:
    regimes: dict[str, Any] = {"LR": {"learning_rate": 0.01, "momentum": [0.0, 0.9]}}
    path = config(regimes=regimes, seeds=[0, 1], epochs=1, attacks={"fgsm": {"epsilon": [0.1]}})
    code, out, err = run_sweep(path, "--only", "momentum=0.9", "--stop-after", "1")
    assert (code, err) == (0, "")
    assert "3 trials left, for which this command was not asked" in out
    assert work.trained == ["lr/b0064-m0.9-s0"]
    assert "2 trials" in run_sweep(path, "--only", "momentum=0.9", "--dry-run")[1].splitlines()[0]
    assert run_sweep(path, "--only", "momentum=0.9")[0] == 0
    assert work.trained == ["lr/b0064-m0.9-s0", "lr/b0064-m0.9-s1"]
    code, out, _ = run_sweep(path)
    assert code == 0
    assert "for which this command was not asked" not in out
    assert len(work.trained) == len(set(work.trained)) == 4
