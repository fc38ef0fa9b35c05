"""Keras's optimizers in a regime, and full batches: against Keras's own loop and NumPy, resumed, refused where wrong."""

import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.conftest import Config, Run
from tests.test_checkpoint import Killed, everything, killer
from tests.test_rules import _linear, trained, weights_of  # noqa: F401  # a fixture
from tests.test_train import experiment, small
from tfsgd.data.dataset import Splits
from tfsgd.errors import RequestError
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.networks.operators import product_of
from tfsgd.plan.optimizers import ARGUMENTS, arguments, checked
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.regimes import Regime, SGDSettings
from tfsgd.reporting.table.rows import ceiling
from tfsgd.training.batches import EpochBatches
from tfsgd.training.preconditioner import Preconditioned, preconditioner
from tfsgd.training.train import train

GIVEN: dict[str, dict[str, Any]] = {
    "adam": {},
    "adamw": {"weight_decay": 0.1},
    "rmsprop": {"rho": 0.8, "momentum": 0.5},
    "lion": {"beta_1": 0.8},
    "muon": {"weight_decay": 0.0},
    "nadam": {},
    "adamax": {},
    "adagrad": {},
    "adadelta": {},
}


def settings_of(name: str, rate: float = 0.01, **more: Any) -> SGDSettings:
    regime = Regime.model_validate(
        {"learning_rate": rate, "optimizer": {"name": name, **GIVEN[name]}, **more}
    )
    [found] = regime.settings(32)
    return found


@pytest.fixture
def start(splits: Splits, tmp_path: Path) -> Any:
    return trained(SGDSettings(32, 0.0, 1e-30), splits, tmp_path / "start", 1).network


OFTEN = ("adam", "adamw", "rmsprop", "muon")  # the others are run by `make faults`


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in OFTEN else pytest.mark.long) for n in GIVEN]
)
def test_a_network_is_that_of_kerass_own_loop(name: str, start: Any, splits: Splits, tmp_path: Path) -> None:
    found = weights_of(trained(settings_of(name), splits, tmp_path, 2))
    model = start
    model.compile(
        keras.optimizers.get({"class_name": name, "config": {"learning_rate": 0.01, **GIVEN[name]}}),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    batches = EpochBatches(small(splits, 100).train, 32, 7, augment=False)
    for epoch in range(2):
        for images, labels, _ in batches.dataset(epoch).take(batches.steps).as_numpy_iterator():
            model.train_on_batch(images, labels)
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(found, np.r_[kernel, bias[None]], rtol=0, atol=1e-5)


def test_adam_is_that_of_its_paper(start: Any, splits: Splits, tmp_path: Path) -> None:
    """Kingma and Ba 2015, Algorithm 1, with epsilon where Keras has it, beside the root before its correction."""
    found = weights_of(trained(settings_of("adam"), splits, tmp_path, 2))
    kernel, bias = start.get_weights()
    theta = np.r_[kernel, bias[None]].astype(np.float64)
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
    batches = EpochBatches(small(splits, 100).train, 32, 7, augment=False)
    for epoch in range(2):
        for images, labels, _ in batches.dataset(epoch).take(batches.steps).as_numpy_iterator():
            inputs = np.c_[images.reshape(len(images), -1), np.ones(len(images))].astype(np.float64)
            logits = inputs @ theta
            p = np.exp(logits - logits.max(1, keepdims=True))
            gradient = inputs.T @ (p / p.sum(1, keepdims=True) - np.eye(10)[labels]) / len(inputs)
            t, m, v = t + 1, 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            rate = 0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            theta -= rate * m / (np.sqrt(v) + 1e-7)
    assert np.abs(found - theta).max() < 2e-4
    assert np.median(np.abs(found - theta)) < 1e-6


@pytest.mark.parametrize(
    "name", ["adamw", *(pytest.param(name, marks=pytest.mark.long) for name in ("muon", "rmsprop"))]
)
def test_a_killed_training_ends_with_the_same_bits(name: str, splits: Splits, tmp_path: Path) -> None:
    asked = experiment(epochs=4, batch_sizes=[32], train_examples=100)
    settings, few = settings_of(name, 0.002, schedule="cosine"), small(splits, 100)
    whole = train(settings, 3, asked, few, tmp_path / "whole", "0" * 64)
    with pytest.raises(Killed):
        train(settings, 3, asked, few, tmp_path / "killed", "0" * 64, observe=killer(2))
    resumed = train(settings, 3, asked, few, tmp_path / "killed", "0" * 64)
    assert everything(resumed) == everything(whole)


def test_the_edge_of_stability_of_an_optimizer() -> None:
    """38/eta of Adam (Cohen et al. 2022), 2/eta of RMSprop; of those without such a preconditioner it is not known."""
    assert ceiling(settings_of("adam"), 0, 10) == pytest.approx(38 / 0.01)
    assert ceiling(settings_of("rmsprop"), 0, 10) == pytest.approx(2 * 1.5 / 0.01)
    assert ceiling(settings_of("adagrad"), 0, 10) == pytest.approx(2 / 0.01)
    assert all(np.isnan(ceiling(settings_of(name), 0, 10)) for name in ("lion", "muon", "nadam", "adamax"))
    assert np.isnan(ceiling(settings_of("adam", label_smoothing=0.1), 0, 10))


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "adagrad"])
def test_the_preconditioned_eigenvalue_is_that_of_a_dense_matrix(
    name: str, splits: Splits, tmp_path: Path
) -> None:
    """Of a small network, with P read from one step of the optimizer: a step is -rate g / P without momentum."""
    keras.utils.set_random_seed(0)
    image = keras.Input((3, 3, 1))
    hidden = keras.layers.Dense(4, activation="tanh")(keras.layers.Flatten()(image))
    network = keras.Model(image, keras.layers.Dense(3)(hidden))
    rng = np.random.default_rng(0)
    optimizer = keras.optimizers.deserialize(
        {"class_name": name, "config": {"learning_rate": 0.01, **({"beta_1": 0.0} if "adam" in name else {})}}
    )
    optimizer.build(network.trainable_variables)
    for _ in range(3):
        gradients = [rng.normal(size=v.shape).astype("f") for v in network.trainable_variables]
        before = np.concatenate([np.ravel(v) for v in network.get_weights()])
        decay = 1 - 0.01 * float(optimizer.weight_decay or 0)
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], network.trainable_variables)
        moved = np.concatenate([np.ravel(v) for v in network.get_weights()]) - decay * before
    flat = np.concatenate([g.ravel() for g in gradients])
    found = preconditioner(optimizer)
    assert found is not None
    np.testing.assert_allclose(-0.01 * flat / moved, np.asarray(found), rtol=2e-3)
    images, labels = rng.random((20, 3, 3, 1), np.float32), rng.integers(0, 3, 20)
    product = product_of(TopEigenvalue(tolerance=1e-5), network, images, labels)
    dense = np.array([product(row) for row in np.eye(product.dimension)])
    scale = 1 / np.sqrt(found)
    truth = np.linalg.eigvalsh(scale[:, None] * dense * scale)[-1]
    value = TopEigenvalue(tolerance=1e-5).of(Preconditioned(product, found)).value
    assert value == pytest.approx(truth, rel=1e-4)


def test_adam_on_full_batches_is_recorded_with_its_own_eigenvalue(splits: Splits, tmp_path: Path) -> None:
    found = trained(settings_of("adam"), splits, tmp_path, 2)
    assert found.hessian is not None
    assert found.history["preconditioned_eigenvalue"][0] is None
    assert (found.history["preconditioned_eigenvalue"][-1] or 0) > 0
    assert found.history["preconditioned_eigenvalue"][-1] != found.hessian.value
    plain = trained(SGDSettings(32, 0.9, 0.05), splits, tmp_path / "sgd", 1)
    assert "preconditioned_eigenvalue" not in plain.history


def test_full_is_all_training_images(config: Config, run_sweep: Run) -> None:
    code, out, err = run_sweep(config(batch_sizes=[16, "full"]), "--dry-run")
    assert (code, err) == (0, "")
    assert "b0016" in out
    assert load_experiment(config(batch_sizes=["full"])).batch_sizes == (
        load_experiment(config()).examples("train"),
    )


def test_what_is_known_of_keras_is_so() -> None:
    for name, known in ARGUMENTS.items():
        kind = type(keras.optimizers.get(name))
        assert set(known) <= {*inspect.signature(kind.__init__).parameters}, name
    assert GIVEN.keys() == ARGUMENTS.keys()


def test_arguments_are_a_text_and_back() -> None:
    name, text = checked({"name": "adamw", "weight_decay": 0.1, "amsgrad": True, "beta_1": 0.8})
    assert text == "amsgrad=true,beta_1=0.8,weight_decay=0.1"
    assert arguments(name, text) == {"amsgrad": True, "beta_1": 0.8, "weight_decay": 0.1}
    with pytest.raises(ValueError, match="in their order"):
        arguments(name, "weight_decay=0.1,amsgrad=true")


@pytest.mark.parametrize(
    ("regime", "said"),
    [
        ({"optimizer": "adamm"}, "regimes.LR.optimizer: expected one of adadelta, "),
        ({"optimizer": "sgd"}, "SGD with its momentum is what there is without it"),
        (
            {"optimizer": {"name": "adam", "beta1": 0.8}},
            "regimes.LR.optimizer.beta1: unknown key; did you mean 'beta_1'?",
        ),
        (
            {"optimizer": {"name": "adam", "beta_1": "much"}},
            "beta_1: expected a number or a truth value, received 'much'",
        ),
        ({"optimizer": "adamw"}, "weight_decay: missing; adamw needs it, 0.0 for none"),
        ({"optimizer": "adam", "momentum": [0.9]}, "momentum: expected none beside optimizer"),
        ({"optimizer": "adam", "weight_decay": 0.1}, "weight_decay: expected none beside optimizer"),
        ({"optimizer": 3}, "expected a name such as adam"),
        ({}, "regimes.LR.momentum: missing"),
    ],
)
def test_a_wrong_optimizer_is_refused_in_a_line(regime: dict[str, Any], said: str, config: Config) -> None:
    with pytest.raises(RequestError) as refusal:
        load_experiment(config(regimes={"LR": {"learning_rate": 0.01, **regime}}))
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
