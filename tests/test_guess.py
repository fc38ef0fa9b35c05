"""What a grid may cost before its first record: held to what sweeps have really taken."""

from pathlib import Path

import pytest

from tests.synthetic import experiment
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import grid
from tfsgd.records.folder import LogFolder
from tfsgd.terminal import guess


@pytest.mark.parametrize("name", ["fmnist_stdcnn-seeds", "mnist_stdcnn", "cifar10_c1"])
def test_a_guess_is_within_a_factor_of_three_of_what_trials_have_taken(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds: list[float] = []

    def told(value: float) -> str:
        seconds.append(value)
        return "so long"

    monkeypatch.setattr(guess, "duration", told)
    folder = Path("docs/results") / name
    records = list(LogFolder(folder).records())
    of = load_experiment(folder / "experiment.yaml")
    meant = {record.folder for record in records}
    trials = [trial for trial in grid(of) if trial.name in meant]
    said = guess.guessed(trials, of)
    assert said.startswith(
        "a guess: they take one worker about so long, measured on one core of an AMD EPYC, and "
    )
    assert len(trials) == len(records)
    trained = sum(record.seconds["train"] for record in records)
    measured = sum(m.seconds or 0 for record in records for m in record.measurements)
    assert trained / 3 < seconds[0] < 3 * (trained + measured)


def test_it_grows_with_the_grid_and_of_other_models_there_is_none() -> None:
    small = experiment(batch_sizes=[64], seeds=[0])
    large = experiment(batch_sizes=[64], seeds=[0, 1])
    sizes = [guess.guessed(grid(of), of).split(" MB of disk")[0].split()[-1] for of in (small, large)]
    assert int(sizes[1]) == pytest.approx(2 * int(sizes[0]), abs=1.5)
    own = small.model_copy(update={"model": "my_nets:small"})
    assert guess.guessed(grid(small), own).startswith(
        "no guess of what they take: my_nets:small has no measured seconds"
    )


def test_what_is_measured_on_the_way_is_said_in_images_and_products() -> None:
    """Two trainings of 4,200 images for 3 epochs: 66 updates each at batch size 64 in two, and 5 at 1,024."""
    along = {"measures": ["hessian", "weights"], "at_updates": [1, 2, 30, 999], "examples": 50}
    few = {"train_examples": 4_200, "epochs": 3, "hessian": {"examples": 100, "max_iterations": 20}}
    of = experiment(batch_sizes=[64, 1024], seeds=[0], along=along, **few)
    trials = [t for t in grid(of) if t.regime == "LR" and t.settings.momentum == 0]
    said = guess.said_of_along(trials, of)
    assert said.startswith("along: 5 moments in 2 trainings, each hessian (50 images), weights (1 image); ")
    assert "λ1 by at most 100 products; a guess: about " in said
    assert guess.said_of_along([], of) == guess.said_of_along(trials, experiment()) == ""
