"""--only and --stop-after: some of a grid now, and the rest by the same command without them."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Config, Run, Work
from tests.synthetic import experiment
from tfsgd.errors import RequestError
from tfsgd.plan.selection import selection
from tfsgd.plan.trials import grid
from tfsgd.records.folder import LogFolder
from tfsgd.records.lease import locked

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


def test_shards_share_out_the_grid_whatever_is_done() -> None:
    shards = [selection([], None, f"{i}/3").within(GRID) for i in (1, 2, 3)]
    parts = [[trial.name for trial in shard.of(GRID)] for shard in shards]
    assert sorted(name for part in parts for name in part) == sorted(trial.name for trial in GRID)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    left = [trial for trial in GRID if trial.name != parts[0][0]]
    assert [[t.name for t in shard.of(left)] for shard in shards] == [parts[0][1:], *parts[1:]]
    only = selection(["seed=0"], None, "2/2").within(GRID)
    assert {trial.seed for trial in only.of(GRID)} == {0}
    assert len(only.of(GRID)) == sum(trial.seed == 0 for trial in GRID) // 2


@pytest.mark.parametrize("text", ["0/3", "4/3", "2", "a/b", "1/0", "-1/2", "1/3/5"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=f"--shard {text}: expected I/N such as 2/8"):
        selection([], None, text)


def test_shards_work_at_a_time_and_nobody_else(tmp_path: Path) -> None:
    with locked(tmp_path, "1-of-2"), locked(tmp_path, "2-of-2"):
        for other in ("", "1-of-2"):
            with pytest.raises(RequestError, match=r"another sweep is at work there: process \d+ on .* on"):
                locked(tmp_path, other).__enter__()
    with locked(tmp_path):
        for other in ("", "1-of-2"):
            with pytest.raises(
                RequestError, match=r"another sweep is at work there: process \d+ on \S+; wait"
            ):
                locked(tmp_path, other).__enter__()
    assert LogFolder(tmp_path, "1-of-2").images_path != LogFolder(tmp_path, "2-of-2").images_path


def test_two_shards_make_the_grid(config: Config, run_sweep: Run, work: Work, tmp_path: Path) -> None:
    regimes: dict[str, Any] = {"LR": {"learning_rate": 0.01, "momentum": [0.0, 0.9]}}
    path = config(regimes=regimes, epochs=1, attacks={})
    for number, name in ((1, "lr/b0064-m0.0-s0"), (2, "lr/b0064-m0.9-s0")):
        code, _, err = run_sweep(path, "--shard", f"{number}/2")
        assert (code, err) == (0, "")
        assert work.trained[number - 1 :] == [name]
    code, _, err = run_sweep(path, "--shard", "1/2", "--listen", "127.0.0.1:0")
    assert (code, "--shard: expected no --listen" in err) == (2, True)
    assert "2 of 2 trials have a record" in run_sweep(path, "--dry-run")[1]
