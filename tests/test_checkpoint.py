"""A training that was interrupted ends with the bits of one that was not."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.test_train import experiment, small
from tfsgd.data.dataset import Split, Splits
from tfsgd.models.paper import MODELS, Architecture
from tfsgd.plan.config import Experiment
from tfsgd.plan.regimes import SGDSettings
from tfsgd.records.archive import DamagedError, read_arrays, write_arrays
from tfsgd.records.record import EIGENVALUE_COLUMNS
from tfsgd.training import model as train_module
from tfsgd.training.checkpoint import _newest_first
from tfsgd.training.devices import mirrored_strategy
from tfsgd.training.train import Trained, train

EIGENVALUE = EIGENVALUE_COLUMNS["inference"]


class Killed(BaseException):
    """Stands for a signal that nothing catches."""


def killer(epoch: int) -> Callable[[int, dict[str, float]], None]:
    def observe(done: int, figures: dict[str, float]) -> None:
        if done == epoch:
            raise Killed

    return observe


def everything(trained: Trained) -> str:
    weights = [w.tobytes().hex() for w in trained.network.get_weights()]
    return json.dumps([weights, trained.history, vars(trained.hessian)])


def coloured(image: Any, layers: Any, classes: int) -> Any:
    """BatchNorm and dropout on colour images, which are augmented."""
    x = layers.Conv2D(4, 3, strides=2)(image)
    x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.Dropout(0.5)(layers.Flatten()(layers.ReLU()(x)))
    return layers.Dense(classes)(x)


@pytest.mark.parametrize(
    ("model", "every_epochs", "part_size"),
    [("stdcnn", 2, 20), ("coloured", 1, 64)],
)
def test_resumed_is_uninterrupted_bit_for_bit(
    model: str,
    every_epochs: int,
    part_size: int,
    splits: Splits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Momentum across halvings, dropout, order, augmentation, BatchNorm, batches in parts and the log."""
    monkeypatch.setattr(train_module, "PART_SIZE", part_size)
    monkeypatch.setitem(MODELS, "coloured", Architecture(coloured, (32, 32, 3)))
    images = small(splits)
    if model == "coloured":
        rng = np.random.default_rng(0)
        part = Split(rng.integers(0, 256, (300, 32, 32, 3), np.uint8), rng.integers(0, 10, 300))
        images = Splits(part, part.first(60), part.first(60), "", "")
    settings = SGDSettings(64, 0.9, 0.02, halve_every_epochs=2)
    wanted = experiment(
        model=model,
        dataset="cifar10" if model == "coloured" else "fashion_mnist",
        epochs=5,
        checkpoint_every_epochs=every_epochs,
        hessian={"examples": 40, "max_iterations": 2, "every_epochs": 2},
    )
    whole = train(settings, 3, wanted, images, tmp_path / "whole", "a" * 64)
    for epoch in (1, 3, 5):
        with pytest.raises(Killed):
            train(settings, 3, wanted, images, tmp_path / "cut", "a" * 64, killer(epoch))
    resumed = train(settings, 3, wanted, images, tmp_path / "cut", "a" * 64)
    assert everything(resumed) == everything(whole)
    assert len(_newest_first(tmp_path / "cut/checkpoint")) == 2


@pytest.fixture
def two_epochs(splits: Splits, tmp_path: Path) -> tuple[Experiment, Path]:
    """A training of three epochs that was killed in the third."""
    wanted = experiment(epochs=3)
    with pytest.raises(Killed):
        train(SGDSettings(64, 0.9, 0.02), 3, wanted, small(splits), tmp_path, "a" * 64, killer(3))
    return wanted, tmp_path


def epochs_trained(
    wanted: Experiment,
    splits: Splits,
    folder: Path,
    training_hash: str = "a" * 64,
) -> int:
    seen: list[int] = []
    train(
        SGDSettings(64, 0.9, 0.02),
        3,
        wanted,
        small(splits),
        folder,
        training_hash,
        lambda done, logs: seen.append(done),
    )
    return len(seen)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    damage: str,
    two_epochs: tuple[Experiment, Path],
    splits: Splits,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted, folder = two_epochs
    newest, before = _newest_first(folder / "checkpoint")
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"truncated": content[:-100], "flipped": content, "empty": bytearray()}
    newest.write_bytes(damaged[damage])
    with pytest.raises(DamagedError):
        read_arrays(newest)
    assert read_arrays(before)
    capsys.readouterr()
    assert epochs_trained(wanted, splits, folder) == 2  # the second again, and the third
    assert capsys.readouterr().err.startswith(f"warning: {newest}: passed over for the one before: ")


def test_a_checkpoint_of_another_trial_is_not_used(
    two_epochs: tuple[Experiment, Path], splits: Splits
) -> None:
    wanted, folder = two_epochs
    assert epochs_trained(wanted, splits, folder, training_hash="b" * 64) == 3


def test_checkpoints_of_another_training_push_out_none(splits: Splits, tmp_path: Path) -> None:
    settings, images = SGDSettings(64, 0.9, 0.02), small(splits)
    with pytest.raises(Killed):
        train(settings, 3, experiment(epochs=6), images, tmp_path, "a" * 64, killer(6))
    with pytest.raises(Killed):
        train(settings, 3, experiment(epochs=3), images, tmp_path, "b" * 64, killer(3))
    assert len(_newest_first(tmp_path / "checkpoint")) == 2
    assert epochs_trained(experiment(epochs=3), splits, tmp_path, "b" * 64) == 1


def test_a_checkpoint_survives_another_attack_and_another_way_to_measure_the_eigenvalue(
    splits: Splits, tmp_path: Path
) -> None:
    """The weights are the same; what was measured otherwise than it is asked for now is not in the history."""
    settings, often = SGDSettings(64, 0.9, 0.02), {"examples": 40, "max_iterations": 2, "every_epochs": 1}
    asked = experiment(epochs=3, hessian=often)
    other = experiment(epochs=3, hessian=often | {"max_iterations": 3}, attacks={"fgsm": {"epsilon": [0.1]}})
    whole = train(settings, 3, other, small(splits), tmp_path / "whole", "a" * 64)
    for name in ("same", "other"):
        with pytest.raises(Killed):
            train(settings, 3, asked, small(splits), tmp_path / name, "a" * 64, killer(3))
    attacked = experiment(epochs=3, hessian=often, attacks={"fgsm": {"epsilon": [0.1]}})
    same = train(settings, 3, attacked, small(splits), tmp_path / "same", "a" * 64)
    assert None not in same.history[EIGENVALUE]
    seen: list[int] = []
    resumed = train(
        settings, 3, other, small(splits), tmp_path / "other", "a" * 64, lambda done, logs: seen.append(done)
    )
    assert seen == [3]
    assert resumed.history[EIGENVALUE] == (None, None, whole.history[EIGENVALUE][2])
    assert resumed.hessian == whole.hessian != same.hessian
    for found, expected in zip(resumed.network.get_weights(), whole.network.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("is_known", [True, False], ids=["now", "earlier version"])
def test_validation_on_other_images_begins_a_column_of_its_own(
    is_known: bool, splits: Splits, tmp_path: Path
) -> None:
    settings, asked = SGDSettings(64, 0.9, 0.02), experiment(epochs=2)
    with pytest.raises(Killed):
        train(settings, 3, asked, small(splits), tmp_path, "a" * 64, killer(2))
    [path] = _newest_first(tmp_path / "checkpoint")
    arrays = read_arrays(path)
    seen = json.loads(arrays["seen"].tobytes())
    assert seen["validation_examples"] == len(small(splits).validation)
    if not is_known:
        del seen["validation_examples"]
        write_arrays(path, arrays | {"seen": np.frombuffer(json.dumps(seen).encode(), np.uint8)})
    fewer = replace(small(splits), validation=splits.validation.first(5))
    history = train(settings, 3, asked, fewer, tmp_path, "a" * 64).history
    assert None not in history["loss"]
    for name in ("val_loss", "val_accuracy"):
        assert [value is None for value in history[name]] == [is_known, False]


def test_no_pickle_is_ever_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "epoch-000001.npz", evil=np.array([object()], dtype=object))
    with pytest.raises(DamagedError, match="allow_pickle=False"):
        read_arrays(tmp_path / "epoch-000001.npz")


def test_everything_that_training_changes_is_in_a_checkpoint(splits: Splits, tmp_path: Path) -> None:
    from tfsgd.training.checkpoint import _state

    model = train_module.compiled_model(experiment(), SGDSettings(64, 0.9, 0.01), mirrored_strategy(), 300)
    paths = [variable.path for variable in _state(model)]
    assert any(path.endswith("seed_generator_state") for path in paths)
    assert any(path.endswith("logits/kernel") for path in paths)
    assert sum("momentum" in path for path in paths) == len(model.trainable_variables)
    assert any("learning_rate" in path for path in paths)
