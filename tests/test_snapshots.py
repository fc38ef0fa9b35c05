"""Networks on the way: the first epoch at or below a train loss, kept, measured, and the same after an interruption."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.conftest import Config, Run, Work
from tests.test_checkpoint import Killed, killer
from tests.test_train import experiment, small
from tfsgd.data.dataset import Splits, to_unit
from tfsgd.plan.regimes import SGDSettings
from tfsgd.training.snapshots import LOSS
from tfsgd.training.train import Trained, train

SETTINGS = SGDSettings(64, 0.9, 0.05)
LOSSES = (2.2, 1.8, 0.001)


def trained(
    splits: Splits, folder: Path, epochs: int = 6, kill_after: int | None = None, **more: Any
) -> Trained:
    asked = experiment(epochs=epochs, **more)
    kill = {"observe": killer(kill_after)} if kill_after else {}
    return train(SETTINGS, 3, asked, small(splits), folder, "a" * 64, **kill)


def loss_of(path: Path, splits: Splits, examples: int) -> float:
    """The network's mean cross-entropy in float64, by NumPy."""
    part = splits.train.first(examples)
    logits = keras.saving.load_model(path)(to_unit(part.images), training=False).numpy().astype(np.float64)
    top = logits.max(1, keepdims=True)
    spread = np.log(np.exp(logits - top).sum(1)) + top[:, 0]
    return float((spread - logits[np.arange(examples), part.labels]).mean())


def test_each_is_the_network_of_the_first_epoch_at_or_below_its_loss(splits: Splits, tmp_path: Path) -> None:
    found = trained(splits, tmp_path / "a", snapshots={"train_loss": LOSSES, "examples": 100})
    early, late, never = found.snapshots
    assert (never.epoch, never.loss) == (None, None)
    assert not (tmp_path / "a" / never.file).exists()
    assert early.epoch is not None
    assert late.epoch is not None
    assert 1 <= early.epoch < late.epoch
    column = found.history[LOSS]
    for snapshot in (early, late):
        assert snapshot.epoch is not None
        assert snapshot.loss is not None
        losses = [float(loss) for loss in column[: snapshot.epoch] if loss is not None]
        assert snapshot.loss == losses[-1] <= snapshot.train_loss
        assert min(losses[:-1], default=np.inf) > snapshot.train_loss
        assert loss_of(tmp_path / "a" / snapshot.file, splits, 100) == pytest.approx(snapshot.loss, rel=1e-5)
        ended_there = trained(splits, tmp_path / f"until-{snapshot.epoch}", epochs=snapshot.epoch).network
        kept = keras.saving.load_model(tmp_path / "a" / snapshot.file)
        for one, other in zip(kept.get_weights(), ended_there.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    without = trained(splits, tmp_path / "without")
    for one, other in zip(found.network.get_weights(), without.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_interruption_changes_no_snapshot(splits: Splits, tmp_path: Path) -> None:
    asked = {"train_loss": LOSSES, "examples": 100}
    whole = trained(splits, tmp_path / "whole", snapshots=asked)
    assert whole.snapshots[0].epoch is not None
    for epoch in range(1, 6):
        with pytest.raises(Killed):
            trained(splits, tmp_path / "cut", kill_after=epoch, snapshots=asked)
    resumed = trained(splits, tmp_path / "cut", snapshots=asked)
    assert resumed.snapshots == whole.snapshots
    assert resumed.history == whole.history
    for snapshot in whole.snapshots[:2]:
        networks = [keras.saving.load_model(tmp_path / name / snapshot.file) for name in ("whole", "cut")]
        for one, other in zip(*(network.get_weights() for network in networks), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_checkpoint_that_may_have_passed_a_snapshot_by_is_not_used(splits: Splits, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        trained(splits, tmp_path / "cut", kill_after=5)
    resumed = trained(splits, tmp_path / "cut", snapshots={"train_loss": LOSSES, "examples": 100})
    whole = trained(splits, tmp_path / "whole", snapshots={"train_loss": LOSSES, "examples": 100})
    assert resumed.snapshots == whole.snapshots


def test_a_sweep_measures_them_like_the_end(
    config: Config, run_sweep: Run, work: Work, tmp_path: Path
) -> None:
    asked = {"export": True, "epochs": 4, "snapshots": {"train_loss": [2.25, 0.01], "examples": 200},
             "regimes": {"LR": {"learning_rate": 0.05, "momentum": [0.9]}}}  # fmt: skip
    path = config(**asked)
    code, _, err = run_sweep(path)
    assert (code, err) == (0, "")
    folder = tmp_path / "logs/tiny/trials/lr/b0064-m0.9-s0"
    record = json.loads((folder / "record.json").read_text())
    reached, never = record["snapshots"]
    assert 1 <= reached["epoch"] < 4
    assert never == {"train_loss": 0.01, "epoch": None, "loss": None, "measurements": []}
    identities = [sorted(m["identity"] for m in part["measurements"]) for part in (record, reached)]
    assert identities[0] == identities[1]
    assert len(identities[0]) > 5
    [on_train] = [m for m in reached["measurements"] if m["label"] == "train"]
    assert on_train["values"]["loss"] == pytest.approx(reached["loss"], rel=1e-5)  # the same 200 images
    assert len(work.trained) == 1

    work.measured.clear()
    code, out, _ = run_sweep(path, "--set", "attacks.fgsm.epsilon=[0.1, 0.2]")
    assert (code, len(work.trained)) == (0, 1)
    assert work.measured == [("fgsm", 0.2), ("fgsm", 0.2)]  # at the end, and on the snapshot
    assert "0 to train, 1 to measure" in out

    code, _, err = run_sweep(path, "--set", "snapshots.train_loss=[2.25, 1.0, 0.01]")
    assert code == 2
    assert "snapshots.train_loss: " in err
    assert "holds lr/b0064-m0.9-s0, trained without a snapshot at 1; keep both with --set name=tiny-2" in err
    (folder / "snapshots/train_loss-2.25.keras").unlink()
    code, _, err = run_sweep(path, "--set", "attacks.fgsm.epsilon=[0.1, 0.3]")
    assert code == 1
    assert "train_loss-2.25.keras: the trained network is needed and not there" in err


@pytest.mark.parametrize(
    ("snapshots", "message"),
    [
        ({"train_loss": []}, "snapshots.train_loss: expected at least one entry"),
        ({"train_loss": [0.0]}, "snapshots.train_loss: expected greater than 0, received 0.0"),
        ({"train_loss": [0.5, 0.5]}, "snapshots.train_loss: expected values that differ"),
        ({"train_loss": [0.5, 0.50000001]}, "snapshots.train_loss: expected values that differ"),
        ({"train_los": [0.5]}, "snapshots.train_los: unknown key; did you mean 'train_loss'?"),
    ],
)
def test_wrong_snapshots_are_named_in_one_line(
    config: Config, run_sweep: Run, snapshots: dict[str, Any], message: str
) -> None:
    code, _, err = run_sweep(config(snapshots=snapshots))
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
