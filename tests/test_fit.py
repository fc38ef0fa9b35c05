"""What a network or a machine cannot give is refused before anything is trained."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Config, Run, Work
from tests.own import refusal
from tests.synthetic import experiment
from tfsgd.plan import feasibility
from tfsgd.plan.feasibility import free_memory, refuse_unfit


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"extremes": {"k": 12}}, "curvature.extremes.k: expected at most the 10 trainable parameters of the network, received 12"),
        ({"sharp": {"measure": "batch_sharpness", "examples": 100}}, "curvature.sharp.examples: expected at least the batch size, 4096, received 100"),
        ({"batch_sharpness": {"examples": 100, "batch_size": 101}}, "curvature.batch_sharpness.examples: expected at least the batch size, 101"),
        ({"gradient_noise": {"examples": 10}}, "curvature.gradient_noise.batch_size: expected fewer than the 10 images of examples, received 10"),
    ],
)  # fmt: skip
def test_a_measure_that_asks_for_more_than_there_is(block: dict[str, Any], message: str) -> None:
    asked = experiment(curvature=block, batch_sizes=[64, 4096])
    said = refusal(lambda: refuse_unfit(asked, 10))
    assert said.startswith(message)


def test_what_fits_is_let_through() -> None:
    kinds = {"extremes": {"k": 5}, "batch_sharpness": {"batch_size": 100}, "gradient_noise": {}, "trace": {}}
    refuse_unfit(experiment(curvature=kinds, batch_sizes=[64, 8192]), 23_010, workers=2)


@pytest.mark.parametrize(
    ("block", "vectors"),
    [
        ({"extremes": {"k": 40}}, 200),
        ({"spectrum": {"steps": 196}}, 200),
        ({"trace": {"probes": 120}}, 200),
        ({"layers": {"probes": 120}}, 200),
    ],
)
def test_vectors_that_memory_cannot_hold(
    block: dict[str, Any], vectors: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 vectors of 10,000 numbers of 8 bytes are 16 MB, twice that in two workers."""
    monkeypatch.setattr(feasibility, "MEMINFO", tmp_path / "meminfo")
    asked = experiment(curvature=block)
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   32000 kB\n")
    refuse_unfit(asked, 10_000, workers=2)
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   31000 kB\n")
    refuse_unfit(asked, 10_000, workers=1)
    said = refusal(lambda: refuse_unfit(asked, 10_000, workers=2))
    assert said.startswith(f"curvature.{next(iter(block))}: it keeps {vectors} vectors of 10,000 parameters")
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\n")
    refuse_unfit(asked, 10_000, workers=2)


def test_this_machine_tells_its_memory() -> None:
    free = free_memory()
    assert free is not None
    assert free > 1e8


def test_a_sweep_is_refused_in_one_line_before_any_training(
    config: Config, run_sweep: Run, work: Work, module: Any, tmp_path: Path
) -> None:
    name = module(
        """
        import keras

        def tiny(image_shape, classes):
            x = image = keras.Input(image_shape)
            x = keras.layers.GlobalAveragePooling2D()(x)
            return keras.Model(image, keras.layers.Dense(classes)(x))
        """
    )
    regimes = {"LR": {"learning_rate": 0.01, "momentum": [0.9]}}
    path = config(
        model=f"{name}:tiny", regimes=regimes, attacks={}, curvature={"extremes": {"k": 21, "examples": 50}}
    )
    code, _, err = run_sweep(path)
    assert (code, err.count("\n")) == (2, 1)
    assert (
        "curvature.extremes.k: expected at most the 20 trainable parameters of the network, received 21"
        in err
    )
    assert (work.trained, work.measured) == ([], [])
    assert run_sweep(path, "--set", "curvature.extremes.k=20")[0] == 0
