"""Training under MirroredStrategy: reproducible, the same on two replicas, curvature on the way."""

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from tfsgd.data.dataset import Splits
from tfsgd.errors import RequestError
from tfsgd.models.paper import MODELS, Architecture, build_model
from tfsgd.networks.hessian import HessianVectorProduct
from tfsgd.plan.config import Experiment
from tfsgd.plan.regimes import Regime, SGDSettings
from tfsgd.plan.trials import grid, training_of
from tfsgd.records.record import EIGENVALUE_COLUMNS
from tfsgd.training import model as train_module
from tfsgd.training.batches import EpochBatches
from tfsgd.training.devices import (
    check_replicas,
    check_statistics,
    custom_gradients_forgotten,
    mirrored_strategy,
)
from tfsgd.training.optimizer import SGD
from tfsgd.training.train import train

EIGENVALUE = EIGENVALUE_COLUMNS["inference"]


def small(splits: Splits, count: int = 300) -> Splits:
    return Splits(splits.train.first(count), splits.validation.first(60), splits.test.first(60), "", "")


def experiment(**changes: Any) -> Experiment:
    raw = {
        "name": "x", "dataset": "fashion_mnist", "model": "stdcnn", "epochs": 2, "batch_sizes": [64], "seeds": [0],
        "regimes": {"LR": {"learning_rate": 0.01, "momentum": [0.9]}}, "attacks": {}, "train_examples": 300,
        "hessian": {"examples": 40, "max_iterations": 3},
    }  # fmt: skip
    return Experiment.model_validate(raw | changes)


def weights(settings: SGDSettings, splits: Splits, folder: Path, seed: int = 1, **changes: Any) -> np.ndarray:
    trained = train(settings, seed, experiment(**changes), small(splits), folder)
    return np.concatenate([w.ravel() for w in trained.network.get_weights()])


def test_lr_and_lr_bs_at_64_give_the_same_weights_bit_for_bit(splits: Splits, tmp_path: Path) -> None:
    lr = weights(SGDSettings(64, 0.9, 0.01), splits, tmp_path / "a")
    lr_bs = weights(next(Regime(ratio=0.00015625, momentum=(0.9,)).settings(64)), splits, tmp_path / "b")
    np.testing.assert_array_equal(lr, lr_bs)
    assert not np.array_equal(lr, weights(SGDSettings(64, 0.9, 0.01), splits, tmp_path / "c", seed=2))


def test_curvature_is_measured_in_fit_as_often_as_asked(splits: Splits, tmp_path: Path) -> None:
    every = experiment(epochs=3, hessian={"examples": 40, "max_iterations": 2, "every_epochs": 1})
    trained = train(SGDSettings(64, 0.9, 0.05), 0, every, small(splits), tmp_path)
    assert len(trained.history[EIGENVALUE]) == 3
    assert len(set(trained.history[EIGENVALUE])) == 3
    assert trained.hessian is not None
    assert trained.history[EIGENVALUE][-1] == trained.hessian.value
    assert trained.hessian_seconds > 0
    second = experiment(epochs=3, hessian={"examples": 40, "max_iterations": 2, "every_epochs": 2})
    history = train(SGDSettings(64, 0.9, 0.05), 0, second, small(splits), tmp_path).history[EIGENVALUE]
    assert history[0] is None
    assert (
        history[1] != trained.history[EIGENVALUE][1]
    )  # which began where the first epoch's had ended, and was not done
    assert history[2] == trained.history[EIGENVALUE][2]  # the last begins by its seed


def test_measuring_does_not_change_the_training(splits: Splits, tmp_path: Path) -> None:
    settings = SGDSettings(64, 0.9, 0.01)
    without = weights(settings, splits, tmp_path)
    measured = weights(
        settings, splits, tmp_path, hessian={"examples": 40, "max_iterations": 2, "every_epochs": 1}
    )
    np.testing.assert_array_equal(without, measured)


def test_history_has_every_epoch(splits: Splits, tmp_path: Path) -> None:
    history = train(
        SGDSettings(64, 0.9, 0.01, halve_every_epochs=1), 0, experiment(epochs=3), small(splits), tmp_path
    ).history
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", EIGENVALUE}
    assert {len(column) for column in history.values()} == {3}
    np.testing.assert_allclose(np.array(history["learning_rate"], float), [0.01, 0.005, 0.0025], rtol=1e-6)


def test_divergence_ends_the_training(splits: Splits, tmp_path: Path) -> None:
    trained = train(SGDSettings(64, 0.9, 1e30), 0, experiment(epochs=5), small(splits), tmp_path)
    assert trained.hessian is None
    assert len(trained.history["loss"]) < 5


def test_batches_that_replicas_cannot_share_are_refused() -> None:
    check_replicas((64, 128), 130, 2)
    with pytest.raises(RequestError, match=r"batch_sizes: expected multiples of 2.*received 65"):
        check_replicas((64, 65), 130, 2)
    with pytest.raises(RequestError, match=r"train_examples: 129 images .* leave a last one of 1"):
        check_replicas((128, 64), 129, 2)


def test_nothing_is_traced_again_with_more_steps(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body of a train step runs in Python only while it is traced."""
    calls = []
    original = keras.Model.compute_loss

    def counted(self: Any, *arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return original(self, *arguments, **named)

    monkeypatch.setattr(keras.Model, "compute_loss", counted)
    products = []
    build = HessianVectorProduct.__init__

    def kept(self: Any, *arguments: Any, **named: Any) -> None:
        build(self, *arguments, **named)
        products.append(self)

    monkeypatch.setattr(HessianVectorProduct, "__init__", kept)
    counts = []
    for epochs, batch_size in ((1, 64), (4, 64), (2, 16)):
        calls.clear()
        every = experiment(epochs=epochs, hessian={"examples": 40, "max_iterations": 2, "every_epochs": 1})
        train(SGDSettings(batch_size, 0.9, 0.01), 0, every, small(splits), tmp_path)
        counts.append(len(calls))
        assert products[-1]._product.experimental_get_tracing_count() == 1
    assert counts[0] == counts[1] == counts[2] > 0


def test_a_training_leaves_no_graph_behind(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorflow.python.framework.func_graph import FuncGraph

    from tfsgd.networks import measured_network

    monkeypatch.setattr(
        measured_network, "_last", {}
    )  # a trial before may have left its own, to be used again

    def alive() -> list[str]:
        gc.collect()
        return sorted(graph.name for graph in gc.get_objects() if isinstance(graph, FuncGraph))

    before = alive()
    with custom_gradients_forgotten():  # as around each trial in a process that trains many
        train(SGDSettings(64, 0.9, 0.01), 0, experiment(), small(splits), tmp_path)
    assert alive() == before


def without_dropout(image: Any, layers: Any, classes: int) -> Any:
    x = layers.Conv2D(4, 5, strides=2, activation="tanh")(image)
    return layers.Dense(classes)(layers.Flatten()(x))


@pytest.mark.parametrize("count", [300, 258])  # a last batch of 44 images, and of 2: two parts
def test_a_batch_in_parts_takes_the_step_of_the_whole_batch(
    count: int, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "stdcnn", Architecture(without_dropout, (28, 28, 1)))
    images = small(splits, count)
    found = []
    for part_size in (64, 20):  # one part; four, or two
        monkeypatch.setattr(train_module, "PART_SIZE", part_size)
        trained = train(SGDSettings(64, 0.9, 0.05), 1, experiment(), images, tmp_path)
        found.append((np.concatenate([w.ravel() for w in trained.network.get_weights()]), trained.history))
    (whole, whole_history), (parts, parts_history) = found
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-6)
    assert not np.array_equal(parts, whole)  # the parts were there
    assert parts_history["accuracy"] == whole_history["accuracy"]
    for parts_loss, whole_loss in zip(parts_history["loss"], whole_history["loss"], strict=True):
        assert parts_loss == pytest.approx(whole_loss, rel=1e-5)


@pytest.mark.parametrize(("model", "parts"), [("stdcnn", 2), ("m1", 2), ("c1", 1)])
def test_only_networks_without_batch_norm_pass_over_parts(model: str, parts: int) -> None:
    dataset = "cifar10" if model == "c1" else "fashion_mnist"
    compiled = train_module.compiled_model(
        experiment(model=model, dataset=dataset),
        SGDSettings(train_module.PART_SIZE + 1, 0.5, 0.01),
        mirrored_strategy(),
        2 * train_module.PART_SIZE,
    )
    assert getattr(compiled, "parts", 1) == parts


def test_no_part_is_empty() -> None:
    count = train_module.parts_of_a_batch
    assert [count(b, 55_000, 1) for b in (64, 1024, 1025, 2048, 4096)] == [1, 1, 2, 2, 4]
    assert count(4096, 55_000, 2) == 2
    assert [count(4096, 4096 + last, 1) for last in (1, 3, 5, 4096)] == [1, 3, 4, 4]
    assert count(4096, 4096 + 3, 2) == 1


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_update_is_that_of_keras(momentum: float) -> None:
    start = np.random.default_rng(0).standard_normal((2, 50)).astype(np.float32)
    found = []
    for kind in (SGD, keras.optimizers.SGD):
        variable = keras.Variable(start[0])
        optimizer = kind(0.1, momentum=momentum)
        for step in range(3):
            if step == 2:
                optimizer.learning_rate.assign(0.05)
            optimizer.apply([tf.constant(start[1] * (step + 1))], [variable])
        found.append(np.asarray(variable))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    assert np.abs(found[0] - start[0]).max() > 0.1


def test_the_model_is_compiled_as_promised(splits: Splits) -> None:
    strategy = mirrored_strategy()
    model = train_module.compiled_model(experiment(), SGDSettings(64, 0.5, 0.01), strategy, 300)
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert (model.optimizer.momentum, model.optimizer.nesterov, model.optimizer.weight_decay) == (
        0.5,
        False,
        None,
    )
    assert model.distribute_strategy is strategy


def test_an_execution_is_a_divisor_of_the_epoch() -> None:
    found = {steps: train_module.steps_per_execution(steps) for steps in (1, 14, 64, 860, 1719, 1721)}
    assert found == {1: 1, 14: 14, 64: 64, 860: 43, 1719: 9, 1721: 1}


TWO_REPLICAS = Path(__file__).parent / "two_replicas.py"


@pytest.fixture(scope="module")
def of_replicas(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """What a process with one replica, and one with two, has trained and drawn."""
    found = {}
    for replicas in (1, 2):
        file = tmp_path_factory.mktemp("replicas") / f"{replicas}.npz"
        command = [sys.executable, str(TWO_REPLICAS), str(replicas), str(file)]
        subprocess.run(
            command, check=True, capture_output=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        )
        found[replicas] = np.load(file)
    return found


def test_two_replicas_give_the_weights_of_one(of_replicas: dict[int, Any]) -> None:
    """With a ragged last batch of 33 images: 17 and 16 of them."""
    one, two = of_replicas[1], of_replicas[2]
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert np.abs(one["plain"] - one["start"]).max() > 1e-2
    assert np.abs(one["plain"] - two["plain"]).max() < 1e-6
    assert np.abs(one["plain"] - two["parts"]).max() < 1e-6
    assert not np.array_equal(two["plain"], two["parts"])  # the parts were there
    assert np.abs(one["rules"] - two["rules"]).max() < 1e-6  # every rule but SAM
    assert np.abs(one["rules"] - one["plain"]).max() > 1e-2
    np.testing.assert_allclose(one["rules_loss"], two["rules_loss"], rtol=1e-6)
    # Synchronized BatchNorm sees the whole batch: the running statistics agree too, to rounding.
    assert np.abs(one["norm"] - two["norm"]).max() < 1e-4
    np.testing.assert_allclose(one["plain_loss"], two["plain_loss"], rtol=1e-6)


def test_batch_norm_over_a_part_of_the_batch_is_refused() -> None:
    inside = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(name="mine")])
    network = keras.Sequential([keras.Input((4,)), inside, keras.layers.Dense(3)])
    check_statistics(network, 1)
    with pytest.raises(
        RequestError, match=r"the layer mine .* on each of 2 replicas; give it synchronized=True"
    ):
        check_statistics(network, 2)
    check_statistics(build_model("c1"), 2)


def test_each_replica_draws_dropout_masks_of_its_own(of_replicas: dict[int, Any]) -> None:
    one, two = of_replicas[1]["masks"], of_replicas[2]["masks"]  # (steps, replicas, 1, 64)
    np.testing.assert_array_equal(two[:, 0], one[:, 0])  # one replica draws as ever
    different = [mask.tobytes() for step in two for mask in step]
    assert len(set(different)) == 4
    agree = np.mean(two[:, 0] == two[:, 1])
    assert 0.3 < agree < 0.7  # as often as two fair coins do


@pytest.mark.parametrize(
    "updates", [3, 5, 7, 10]
)  # of 5 an epoch: inside the first, at its end, inside the second
def test_a_budget_of_updates_is_kept_to_the_step(splits: Splits, tmp_path: Path, updates: int) -> None:
    """As many steps as asked for, and the weights of an independent loop over the same batches."""
    settings = SGDSettings(64, 0.9, 0.05)
    budget = experiment(epochs=None, budget={"updates": updates})
    trained = train(settings, 1, budget, small(splits), tmp_path)
    assert {len(column) for column in trained.history.values()} == {-(-updates // 5)}

    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    model = train_module.compiled_model(budget, settings, mirrored_strategy(), 300)
    batches = iter(EpochBatches(small(splits).train, 64, 1, augment=False).dataset())
    for _ in range(updates):
        images, labels, weights_of_images = next(batches)
        with tf.GradientTape() as tape:
            loss = model.compute_loss(images, labels, model(images, training=True), weights_of_images)
        model.optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    for ours, theirs in zip(trained.network.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


def test_a_budget_of_whole_epochs_is_the_training_of_so_many_epochs() -> None:
    ten = experiment(epochs=None, budget={"updates": 10})
    [trial] = grid(ten)
    whole = training_of(trial, experiment(epochs=2), "0" * 64, "1" * 64)
    assert training_of(trial, ten, "0" * 64, "1" * 64).hash == whole.hash
    nine = experiment(epochs=None, budget={"updates": 9})
    assert training_of(trial, nine, "0" * 64, "1" * 64).hash != whole.hash
    with pytest.raises(ValidationError, match="epochs, budget: expected one of them, received both"):
        experiment(budget={"updates": 9})
    with pytest.raises(ValidationError, match="epochs, budget: expected one of them, received neither"):
        experiment(epochs=None)
