"""Every count of a config has a bound that the code can hold: no number is recorded that is not what ran."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import TINY, Config
from tests.hostile import ran, said
from tfsgd.plan.config import LARGEST_GRID, Experiment
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import grid
from tfsgd.plan.yaml_io import MOST_VALUES, to_yaml

BOUNDS: list[tuple[str, int]] = [
    ("epochs", 100_000),
    ("checkpoint_every_epochs", 100_000),
    ("hessian.every_epochs", 100_000),
    ("hessian.max_iterations", 10_000),
    ("regimes.LR.halve_every_epochs", 100_000),
    ("attacks.pgd.steps", 100_000),
    ("attacks.pgd.restarts", 1_000),
    ("attacks.apgd={epsilon: [0.1], steps", 100_000),
    ("attacks.apgd={epsilon: [0.1], restarts", 1_000),
    ("attacks.noise={epsilon: [0.1], draws", 100_000),
    ("attacks.square={epsilon: [0.1], queries", 100_000),
    ("attacks.minimal={epsilon: [0.1], steps", 100_000),
    ("curvature.trace={examples: 64, probes", 30_000),
    ("curvature.spectrum={examples: 64, steps", 1_000),
    ("curvature.spectrum={examples: 64, probes", 1_000),
    ("curvature.extremes={examples: 64, k: 3, max_products", 10_000),
    ("curvature.extremes={examples: 64, k", 100),
    ("curvature.layers={examples: 64, max_iterations", 10_000),
    ("curvature.gauss_newton={examples: 64, max_iterations", 10_000),
    ("curvature.batch_sharpness={examples: 64, batches", 10_000),
    ("train_examples", 55_000),
    ("validation_examples", 5_000),
    ("test_examples", 10_000),
    ("seeds=[", 2**32 - 1),
    ("batch_sizes=[", 200),
    ("hessian.examples", 200),
    ("attacks.pgd.examples", 50),
]


def override(key: str, value: int) -> str:
    """`epochs` -> `epochs=3`; `seeds=[` -> `seeds=[3]`; `x={y` -> `x={y: 3}`."""
    if "{" in key:
        return f"{key}: {value}}}"
    return f"{key}{value}]" if key.endswith("[") else f"{key}={value}"


@pytest.mark.parametrize(("key", "bound"), BOUNDS, ids=[key for key, _ in BOUNDS])
def test_a_count_is_taken_up_to_its_bound_and_refused_beyond(config: Config, key: str, bound: int) -> None:
    path = config()
    assert said("counts at their bound", lambda: load_experiment(path, (override(key, bound),))) == ""
    name = key.partition("=")[0].partition(".")[0]
    for value in (bound + 1, 2**31, 2**32 + 2, 2**63, 2**64, 10**30, -1):
        if value <= bound and value > 0:
            continue
        line = said("counts beyond their bound", partial(load_experiment, path, (override(key, value),)))
        assert name in line
        assert "expected" in line


@pytest.mark.parametrize(
    "key", ["hessian", *(f"curvature.{kind}" for kind in ("extremes", "layers", "gauss_newton"))]
)
def test_a_tolerance_is_at_most_1(config: Config, key: str) -> None:
    """A relative residual beyond 1 is no eigenvector's: anything would have converged."""
    path = config(curvature={kind: {"examples": 64} for kind in ("extremes", "layers", "gauss_newton")})
    load_experiment(path, (f"{key}.tolerance=1.0",))
    for value in (1.01, 1e300, 0, -1):
        line = said(
            "counts beyond their bound", partial(load_experiment, path, (f"{key}.tolerance={value}",))
        )
        assert f"{key}.tolerance: expected" in line


def every_integer(block: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The places of all integers in a resolved config."""
    if isinstance(block, bool) or block is None:
        return []
    if isinstance(block, dict):
        return [found for key, value in block.items() for found in every_integer(value, (*path, key))]
    if isinstance(block, list | tuple):
        return [path] if block and isinstance(block[0], int) else []
    return [path] if isinstance(block, int) else []


def test_no_count_is_left_out(config: Config) -> None:
    """Whatever integer a config may hold, 2**63 in its place is refused: of every attack and measure there is."""
    everything = {
        "attacks": {
            kind: {"epsilon": [0.1]} for kind in ("fgsm", "pgd", "bim", "apgd", "noise", "square", "minimal")
        },
        "curvature": {
            kind: {"examples": 64}
            for kind in ("trace", "spectrum", "extremes", "layers", "gauss_newton", "batch_sharpness")
        },
    }
    path = config(**everything)
    places = every_integer(json.loads(load_experiment(path).model_dump_json()))
    assert len(places) > 25
    for place in places:
        listed = place[-1] in ("seeds", "batch_sizes")
        text = f"{'.'.join(place)}={'[' if listed else ''}{2**63}{']' if listed else ''}"
        assert said("counts beyond their bound", partial(load_experiment, path, (text,))), text


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1))
def test_rates_and_momenta_are_what_single_precision_tells_apart_from_0_1_and_infinity(
    rate: float, momentum: float
) -> None:
    raw = TINY | {"regimes": {"LR": {"learning_rate": rate, "momentum": [momentum]}}}
    try:
        experiment = Experiment.model_validate(raw)
    except ValueError:
        return
    [trial] = [t for t in grid(experiment) if t.regime == "LR"]
    assert 0 < np.float32(trial.settings.learning_rate) < np.inf
    assert np.float32(trial.settings.momentum) < 1


def test_a_ratio_that_gives_no_rate_is_refused(config: Config) -> None:
    path = config(regimes={"LR/BS": {"ratio": 9e29, "momentum": [0.0]}})
    line = said("counts beyond their bound", lambda: load_experiment(path))
    assert "regimes.LR/BS.ratio: expected learning rates from 1e-30 to 1e+30, found 5.76e+31" in line


# The grid as a whole


def wide(seeds: int, momenta: int, batch_sizes: int) -> dict[str, Any]:
    return {
        "seeds": list(range(seeds)),
        "batch_sizes": list(range(1, batch_sizes + 1)),
        "regimes": {"LR": {"learning_rate": 0.01, "momentum": [i / momenta for i in range(momenta)]}},
    }


def test_a_grid_beyond_its_bound_is_refused_with_its_number(config: Config) -> None:
    assert LARGEST_GRID == 100_000
    line = said("grids beyond their bound", lambda: load_experiment(config(**wide(100, 20, 100))))
    assert "expected a grid of at most 100,000 trials, found 200,000" in line
    assert len(grid(load_experiment(config(**wide(100, 10, 100))))) == 100_000


def test_the_largest_grid_is_shown_a_line_a_trial(config: Config, tmp_path: Path) -> None:
    code, out, err = ran(
        "grids at their bound",
        "tfsgd.sweep",
        config(**wide(100, 10, 100)),
        "--dry-run",
        "--logs",
        tmp_path / "logs",
    )
    assert (code, err) == (0, "")
    assert out.count("\n") == 1 + LARGEST_GRID + 1  # how many, each, and how many have a record
    assert "tiny: 100,000 trials of 1 epoch\n" in out
    assert "lr/b0100-m0.9-s99  LR  batch_size 100, momentum 0.9, learning_rate 0.01, seed 99\n" in out


def test_a_file_of_many_values_is_refused_before_it_is_built(tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    path.write_text(to_yaml(TINY | {"seeds": list(range(MOST_VALUES))}))
    line = said("grids beyond their bound", lambda: load_experiment(path))
    assert f"found more than {MOST_VALUES:,} values" in line


def test_momenta_that_differ_in_the_eighth_digit_are_two_trials(config: Config) -> None:
    path = config(regimes={"LR": {"learning_rate": 0.01, "momentum": [0.5, 0.50000001]}})
    trials = grid(load_experiment(path))
    assert [trial.name for trial in trials] == ["lr/b0064-m0.5-s0", "lr/b0064-m0.50000001-s0"]
    assert len({trial.settings for trial in trials}) == 2


def test_a_rate_that_was_halved_to_nothing_stays_there() -> None:
    """After some 150 halvings single precision has 0: the slots are scaled by no quotient of it."""
    import keras

    from tfsgd.plan.regimes import SGDSettings
    from tfsgd.training.callbacks import LearningRateRule

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    rule = LearningRateRule(SGDSettings(4, 0.9, 0.01, halve_every_epochs=1), 100_001)
    rule.set_model(model)
    for epoch in (0, 100, 200, 201, 100_000):
        rule.on_epoch_begin(epoch)
        assert all(np.isfinite(slot.numpy()).all() for slot in model.optimizer.momentums)
    assert float(model.optimizer.learning_rate.numpy()) == 0.0
