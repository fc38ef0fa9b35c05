"""Trainings that go on from a kept checkpoint: by the same rule with the same bits, by another one from there on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Config, Run
from tests.test_checkpoint import Killed, everything, killer
from tests.test_train import experiment, small
from tfsgd.data.dataset import Splits
from tfsgd.errors import RequestError
from tfsgd.plan.fork import fork_override
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.regimes import SGDSettings
from tfsgd.records.folder import LogFolder
from tfsgd.training.train import Trained, train

SETTINGS = SGDSettings(64, 0.9, 0.05)


@pytest.fixture(scope="module")
def origin(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    """A training of four epochs, and its checkpoint after two."""
    folder = tmp_path_factory.mktemp("origin")
    whole = train(SETTINGS, 3, experiment(epochs=4, keep_checkpoints=[2]), small(splits), folder, "a" * 64)
    return whole, folder / "kept/epoch-000002.npz"


def forked(settings: SGDSettings, file: Path, splits: Splits, folder: Path, *kill: Any) -> Trained:
    asked = experiment(epochs=4, fork={"checkpoint": str(file)})
    return train(settings, 3, asked, small(splits), folder, "b" * 64, *kill)


def test_a_fork_that_changes_nothing_gives_the_same_bits(
    origin: tuple[Trained, Path], splits: Splits, tmp_path: Path
) -> None:
    whole, file = origin
    assert everything(forked(SETTINGS, file, splits, tmp_path)) == everything(whole)


@pytest.mark.parametrize(
    "change",
    [
        {"momentum": 0.5},
        {"optimizer": "adam", "learning_rate": 1e-4},
        *(pytest.param(rule, marks=pytest.mark.long) for rule in ({"momentum": 0.0}, {"sam": 0.1})),
    ],
    ids=str,
)
def test_another_rule_goes_on_from_there(
    change: dict[str, Any], origin: tuple[Trained, Path], splits: Splits, tmp_path: Path
) -> None:
    whole, file = origin
    found = forked(replace(SETTINGS, **change), file, splits, tmp_path)
    assert found.history["loss"][:2] == whole.history["loss"][:2]
    assert found.history["loss"][2] == pytest.approx(whole.history["loss"][2], rel=0.5)
    assert found.history["loss"][3] != whole.history["loss"][3]


def test_a_rate_that_changes_keeps_the_momentum_of_algorithm_1(
    origin: tuple[Trained, Path], splits: Splits, tmp_path: Path
) -> None:
    """v stays what it was, and with it the step is the new rate times v: next to nothing, at a rate of 1e-20."""
    whole, file = origin
    found = forked(replace(SETTINGS, learning_rate=1e-20), file, splits, tmp_path)
    [*_, before, third, fourth] = found.history["val_loss"]
    assert before == whole.history["val_loss"][1]
    assert third == fourth == pytest.approx(before, rel=1e-6)


def test_a_fork_is_resumed_where_it_was(origin: tuple[Trained, Path], splits: Splits, tmp_path: Path) -> None:
    whole, file = origin
    with pytest.raises(Killed):
        forked(SETTINGS, file, splits, tmp_path, killer(3))
    assert everything(forked(SETTINGS, file, splits, tmp_path)) == everything(whole)


def test_from_the_command_line_to_the_record(config: Config, run_sweep: Run, tmp_path: Path) -> None:
    regimes = {"LR": {"learning_rate": 0.01, "momentum": [0.9]}}
    path = config(regimes=regimes, epochs=2, attacks={}, train_examples=128)
    code, _, err = run_sweep(path, "--set", "keep_checkpoints=[1]")
    assert (code, err) == (0, "")
    trial = tmp_path / "logs/tiny/trials/lr/b0064-m0.9-s0"
    fork = ("--fork", f"{trial}@1", "--set", "name=after")
    code, _, err = run_sweep(path, *fork)
    assert (code, err) == (0, "")
    [plain], [record] = (list(LogFolder(tmp_path / "logs" / name).records()) for name in ("tiny", "after"))
    assert record.history == plain.history
    assert record.fork is not None
    assert record.training_hash != plain.training_hash
    began = [
        next(m.values["value"] for m in r.measurements if m.label == "distance") for r in (plain, record)
    ]
    assert began[0] > 0
    assert began[1] is None  # the seed does not give the weights that a fork began with
    code, _, err = run_sweep(path, "--fork", f"{trial}@1")
    assert code == 2
    assert "fork.checkpoint" in err


WRONG = {
    "no-epoch": ("no-epoch", "--fork: expected TRIAL@EPOCH or TRIAL@uUPDATE, received 'no-epoch'"),
    "not there": (
        "nowhere@1",
        "kept/epoch-000001.npz: No such file or directory; a sweep with keep_checkpoints",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_forked_is_refused(case: str, config: Config, run_sweep: Run) -> None:
    given, said = WRONG[case]
    code, _, err = run_sweep(config(epochs=2), "--fork", given)
    assert code == 2
    [line] = err.strip().splitlines()
    assert said in line


def test_forks_end_before_the_training_does(config: Config, origin: tuple[Trained, Path]) -> None:
    _, file = origin
    with pytest.raises(
        RequestError, match=r"fork\.checkpoint: expected an epoch before the last of 2, received 2"
    ):
        load_experiment(config(epochs=2, fork={"checkpoint": str(file)}))
    with pytest.raises(
        RequestError, match=r"keep_checkpoints: expected an epoch before the last of 2, received 5"
    ):
        load_experiment(config(epochs=2, keep_checkpoints=[5]))
    assert fork_override("a b/c@7") == 'fork={"checkpoint": "a b/c/kept/epoch-000007.npz"}'


def test_another_file_by_the_same_name_is_refused(
    origin: tuple[Trained, Path], splits: Splits, tmp_path: Path
) -> None:
    file = tmp_path / "epoch-000002.npz"
    file.write_bytes(origin[1].read_bytes())
    asked = experiment(epochs=4, fork={"checkpoint": str(file)})
    file.write_bytes(b"other")
    with pytest.raises(RequestError, match="it is another file than when the config was read"):
        train(SETTINGS, 3, asked, small(splits), tmp_path / "x", "c" * 64)


# Inside an epoch


@pytest.fixture(scope="module")
def inside(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    """A training of three epochs of 5 updates with checkpoints after 7 and 10 updates, and λ1 after each epoch."""
    folder = tmp_path_factory.mktemp("inside")
    asked = often(keep_checkpoints=["u7", "u10"])
    return train(SETTINGS, 3, asked, small(splits), folder, "a" * 64), folder / "kept"


def often(**more: Any) -> Any:
    hessian = {"examples": 40, "max_iterations": 9, "every_epochs": 1}
    along = {"measures": ["hessian"], "every_updates": 3, "examples": 20}
    return experiment(epochs=3, hessian=hessian, along=along, **more)


@pytest.mark.parametrize(
    ("update", "moments"), [(7, (9, 12, 15)), pytest.param(10, (12, 15), marks=pytest.mark.long)]
)
def test_a_fork_after_an_update_gives_the_same_bits(
    update: int, moments: tuple[int, ...], inside: tuple[Trained, Path], splits: Splits, tmp_path: Path
) -> None:
    """Also of the running epoch's loss, and of λ1 on the way, which begins with the vectors of the time before."""
    whole, folder = inside
    asked = often(fork={"checkpoint": str(folder / f"update-{update:06d}.npz")})
    found = train(SETTINGS, 3, asked, small(splits), tmp_path, "b" * 64)
    assert everything(found) == everything(whole)
    assert found.along["update"] == moments
    assert found.along["hessian"] == whole.along["hessian"][-len(moments) :]


def test_another_rule_goes_on_inside_an_epoch(
    inside: tuple[Trained, Path], splits: Splits, tmp_path: Path
) -> None:
    """In smaller batches and with fresh slots: what was measured on the way still counts all updates."""
    whole, folder = inside
    asked = often(fork={"checkpoint": str(folder / "update-000007.npz")}, batch_sizes=[32])
    found = train(SGDSettings(32, 0.0, 0.05, optimizer="adam"), 3, asked, small(splits), tmp_path, "b" * 64)
    assert found.history["loss"][0] == whole.history["loss"][0]
    assert found.history["loss"][1] != whole.history["loss"][1]
    # An epoch has 10 updates now; 10 + 4 are done where 2 x 64 images of the second were seen.
    assert found.along["update"] == (15, 18, 21, 24, 27, 30)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"batch_sizes": [50]},
            "fork.checkpoint: expected batch sizes that divide the 128 images of the epoch",
        ),
        (
            {"keep_checkpoints": ["u15"]},
            "keep_checkpoints: expected an update before the last of 15, received u15",
        ),
        ({"keep_checkpoints": ["7u"]}, "expected epochs such as 10, or updates such as u200, received '7u'"),
        ({"keep_checkpoints": [0]}, "expected epochs such as 10, or updates such as u200, received 0"),
    ],
    ids=str,
)
def test_moments_that_are_none_are_refused(
    changes: dict[str, Any], said: str, inside: tuple[Trained, Path], config: Config
) -> None:
    fork = {"checkpoint": str(inside[1] / "update-000007.npz")}
    with pytest.raises(RequestError) as refusal:
        load_experiment(
            config(**{"epochs": 3, "train_examples": 300, "batch_sizes": [64], "fork": fork, **changes})
        )
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_holds_no_checkpoint_is_refused(config: Config, tmp_path: Path) -> None:
    (tmp_path / "update-000007.npz").write_bytes(b"other")
    with pytest.raises(RequestError, match=r"fork\.checkpoint: .*: no checkpoint: "):
        load_experiment(config(fork={"checkpoint": str(tmp_path / "update-000007.npz")}))
    assert fork_override("a@u7") == 'fork={"checkpoint": "a/kept/update-000007.npz"}'
