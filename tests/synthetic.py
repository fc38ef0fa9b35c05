"""Synthetic sweeps with known answers: records as a sweep would write them, without training."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfsgd.measures.spec import Measurement, Provenance, Request
from tfsgd.plan.config import Experiment
from tfsgd.plan.requests import HESSIAN, requests_of
from tfsgd.plan.trials import Trial, grid, training_of
from tfsgd.records.folder import LogFolder
from tfsgd.records.record import Record, Snapshot

EPSILONS = (0.02, 0.05, 0.1, 0.3)
PAPER_REGIMES: dict[str, Any] = {
    "LR": {"learning_rate": 0.01, "momentum": [0.0, 0.2, 0.5, 0.9]},
    "LR/BS": {"ratio": 0.00015625, "momentum": [0.0, 0.2, 0.5, 0.9]},
    "Benchmark": {"learning_rate": 0.01, "halve_every_epochs": 5, "momentum": [0.9]},
}

DATA_SHA256, MODEL_SHA256 = "0" * 64, "1" * 64
SECONDS = {"attack": 12.5, "curvature": 50.0}  # of one measurement, by its kind

Truth = Callable[[Trial], dict[str, Any]]  # a trial -> overrides of `measured`


def experiment(**overrides: Any) -> Experiment:
    """The paper's grid for StdCNN on Fashion-MNIST."""
    config: dict[str, Any] = {
        "name": "synthetic",
        "dataset": "fashion_mnist",
        "model": "stdcnn",
        "epochs": 100,
        "batch_sizes": [64, 128, 256, 512, 1024, 2048, 4096],
        "seeds": [0, 1, 2],
        "regimes": PAPER_REGIMES,
        "attacks": {"fgsm": {"epsilon": list(EPSILONS)}, "pgd": {"epsilon": list(EPSILONS)}},
    }
    return Experiment.model_validate(config | overrides)


def realistic(trial: Trial) -> dict[str, Any]:
    """Roughly what such nets do: few and small steps leave a large batch under-trained."""
    s = trial.settings
    noise = np.random.default_rng(
        [s.batch_size, round(100 * s.momentum), trial.seed, round(1e6 * s.learning_rate)]
    )
    halved = 0.6 if s.halve_every_epochs else 0.0
    progress = (
        math.log2(s.learning_rate / 0.01) - math.log2(s.batch_size / 64) - math.log2(1 - s.momentum) - halved
    )
    lag = max(0.0, -progress - 1.0)
    natural = 0.905 - 0.018 * lag + 0.003 * noise.normal()
    curvature = 47 * 2 ** (0.24 * max(0.0, -progress) + 0.08 * noise.normal())
    loss = 0.08 + 0.09 * lag
    fgsm = {e: natural * math.exp(-e / (0.075 - 0.004 * lag)) + 0.03 * min(e, 0.1) * lag for e in EPSILONS}
    pgd = {e: natural * math.exp(-((e / 0.045) ** 1.3) * (1 + 0.08 * lag)) for e in EPSILONS}
    return {
        "test_accuracy": natural,
        "train_accuracy": min(0.995, natural + 0.075 - 0.012 * lag),
        "train_loss": loss,
        "eigenvalue": curvature,
        "fgsm": {e: float(np.clip(a + 0.006 * noise.normal(), 0, 1)) for e, a in fgsm.items()},
        "pgd": {e: float(np.clip(a + 0.004 * noise.normal(), 0, 1)) for e, a in pgd.items()},
    }


def record(trial: Trial, of: Experiment, truth: Truth = realistic) -> Record:
    """A trial's record; `truth` gives the numbers, and may give a `status`, `snapshots`, `batch_norm` and `data_sha256` too."""
    numbers = truth(trial)
    status = numbers.get("status", "completed")
    diverged = status == "diverged"
    training = training_of(trial, of, numbers.get("data_sha256", DATA_SHA256), MODEL_SHA256)
    return Record(
        schema=2,
        name=of.name,
        dataset=of.dataset,
        model=of.model,
        regime=trial.regime,
        regimes=trial.regimes,
        sgd=trial.settings,
        seed=trial.seed,
        epochs=training.epochs,
        updates=of.budget.updates if of.budget else None,
        profile=of.profile,
        status=status,
        train_examples=of.examples("train"),
        classes=of.data.classes,
        measurements=() if diverged else tuple(_measurements(of, trial, numbers)),
        history=_history(training.epochs, numbers, diverged),
        seconds={"train": 1000.0},
        provenance=Provenance(
            versions={"tensorflow": "2.21.0"},
            device="cpu",
            threads=1,
            onednn=True,
            replicas=1,
            git_commit=None,
        ),
        data_sha256=training.data_sha256,
        model_sha256=training.model_sha256,
        cut=training.train_examples is not None,
        batch_order=training.batch_order,
        training_hash=training.hash,
        batch_norm=numbers.get("batch_norm", False),
        snapshots=tuple(_snapshots(of, trial, numbers)),
    )


def natural(of: Record) -> float:
    """Natural accuracy on the test images; 0 where it was not measured."""
    found = [m.accuracy for m in of.measurements if m.kind == "accuracy" and m.split == "test"]
    return (found[0] if found else None) or 0.0


def explained(trial: Trial) -> dict[str, Any]:
    """Known answers beside the realistic ones: λ1 at nine tenths of its ceiling where rate and batch are large, the
    accuracy under attack higher where the network is unsure, and at train loss 0.5 all networks alike.

    Batch size 4096 never gets to a train loss of 0.35. More than a quarter of the images hold out at the bound.
    """
    numbers = realistic(trial)
    s = trial.settings
    ceiling = 2 * (1 + s.momentum) / s.learning_rate
    share = min(0.9, 0.2 * s.batch_size / 64)
    unsure = 0.05 * math.log2(s.batch_size / 64)
    alike = {"test_accuracy": 0.8, "train_accuracy": 0.82, "train_loss": 0.48, "eigenvalue": 60.0}
    nodes = [[-0.5, 0.0, 1.0, share * ceiling / 2, share * ceiling], [-0.2, 0.1, 0.8, share * ceiling / 3]]
    return numbers | {
        "eigenvalue": share * ceiling,
        "eigenvalue_history": True,
        "confidence": {"confidence": 0.95 - unsure / 2, "margin": 8 - 10 * unsure, "calibration_error": 0.02},
        "fgsm": {e: min(1.0, a / 2 + unsure) for e, a in numbers["fgsm"].items()},
        "minimal": {0.1: 0.3},
        "minimal_more": {
            "lower_quartile": 0.01, "median": 0.03 + 0.1 * unsure, "upper_quartile": None, "censored": 0.3,
        },
        "spectrum": {"value": 50.0, "nodes": nodes, "weights": [[0.2, 0.5, 0.2, 0.06, 0.04], [0.3, 0.4, 0.2, 0.1]]},
        "snapshots": {0.5: alike, 0.35: None if s.batch_size == 4096 else alike | {"train_loss": 0.34}},
    }  # fmt: skip


def _snapshots(of: Experiment, trial: Trial, numbers: dict[str, Any]) -> Iterator[Snapshot]:
    for loss, there in numbers.get("snapshots", {}).items():
        found = tuple(_measurements(of, trial, numbers | there)) if there else ()
        epoch, reached = (7, there["train_loss"]) if there else (None, None)
        yield Snapshot(train_loss=loss, epoch=epoch, loss=reached, measurements=found)


def _measurements(of: Experiment, trial: Trial, numbers: dict[str, Any]) -> Iterator[Measurement]:
    for request in requests_of(of, trial.seed):
        if request.free:
            if isinstance(numbers.get(request.label), dict):
                yield request.measured(numbers[request.label], 1.0)
            continue
        yield request.measured(_values(request, numbers), SECONDS.get(request.spec.kind, 1.0))


def _values(request: Request, numbers: dict[str, Any]) -> dict[str, Any]:
    """What is measured as requested; of an attack the numbers that stand under its label, else PGD's."""
    if request.spec.kind == "accuracy":
        test = numbers["test_accuracy"]
        accuracy = {"train": numbers["train_accuracy"], "validation": test - 0.002, "test": test}
        loss = numbers["train_loss"] + (0.0 if request.split == "train" else 0.1)
        return {
            "loss": loss,
            "accuracy": accuracy[request.split],
            "predicted_classes": 1 if numbers.get("status") == "collapsed" else 10,
        }
    if request.spec.kind == "attack":
        assert request.epsilon is not None
        accuracy_left = numbers.get(request.label, numbers["pgd"])[request.epsilon]
        more = numbers.get(f"{request.label}_more", {})
        return {"accuracy": accuracy_left, "clean_accuracy": numbers["test_accuracy"], **more}
    if request.spec.kind == "gradient":
        return {"fraction": 0.0}
    if request.label == HESSIAN:
        residual = numbers.get("residual", 0.008)
        value = numbers["eigenvalue"]
        return {"value": value, "error": residual, "products": 40, "converged": residual <= 0.01}
    value = numbers[request.label]
    found = value if isinstance(value, dict) else {"value": value}
    return {"error": 0.1, "products": 60, "converged": True} | found


def _history(epochs: int, numbers: dict[str, Any], diverged: bool) -> dict[str, tuple[float | None, ...]]:
    epoch = np.arange(1, epochs + 1)
    loss = numbers["train_loss"] + 1.5 * np.exp(-epoch / 6)
    accuracy = np.maximum(numbers["test_accuracy"] - 0.4 * np.exp(-epoch / 5), 0.0)
    history = {
        "loss": loss,
        "accuracy": accuracy,
        "val_loss": loss + 0.1,
        "val_accuracy": np.maximum(accuracy - 0.003, 0.0),
    }
    if numbers.get("eigenvalue_history"):
        history["top_hessian_eigenvalue"] = np.where(
            epoch % 10, np.nan, numbers["eigenvalue"] * epoch / epochs
        )
    if diverged:
        history = {key: np.where(epoch > 3, np.nan, values) for key, values in history.items()}
    return {key: tuple(float(v) for v in values) for key, values in history.items()}


def write_sweep(
    folder: Path,
    of: Experiment | None = None,
    truth: Truth = realistic,
    leave_out: Callable[[Trial], bool] | None = None,
) -> Path:
    """Writes a log folder with a record for every trial of the grid that is not left out."""
    of = of or experiment()
    logs = LogFolder(folder)
    logs.write_experiment(of)
    for trial in grid(of):
        if not (leave_out and leave_out(trial)):
            logs.write_record(record(trial, of, truth))
    return folder


# Tables without records, for simulations


class Table:
    """A study's table of trials whose numbers can be set at once, for thousands of data sets."""

    def __init__(self, of: Experiment, epsilons: tuple[float, ...] = (0.3,)) -> None:
        self.attacks = [(attack, epsilon) for attack in ("fgsm", "pgd") for epsilon in epsilons]
        self.columns = ["test_accuracy", *(f"{a}_{e}" for a, e in self.attacks), "eigenvalue", "smallest_epsilon"]
        trials = grid(of)
        settings = [trial.settings for trial in trials]
        self.batch_size = np.array([s.batch_size for s in settings])
        self.doublings = np.log2(self.batch_size / 64)
        self.momentum = np.array([s.momentum for s in settings])
        self.seed = np.array([trial.seed for trial in trials])
        self.regime = np.array([trial.regime for trial in trials])
        self.base = pd.DataFrame(
            {
                "folder": [trial.name for trial in trials],
                "regime": self.regime,
                "regimes": [trial.regimes for trial in trials],
                "batch_size": self.batch_size,
                "momentum": self.momentum,
                "learning_rate": [s.learning_rate for s in settings],
                "halve_every_epochs": [s.halve_every_epochs for s in settings],
                "budget": float(of.budget.updates) if of.budget else math.nan,
                "seed": self.seed,
                "epochs": [of.epochs_at(s.batch_size) for s in settings],
                "status": "completed",
                "converged": True,
                "residual": 0.008,
                "train_accuracy": 0.95,
                "undertrained": False,
                "failed_checks": [()] * len(trials),
            }
        )

    def in_regime(self, label: str) -> np.ndarray:
        """Trials of a regime, also where they are stored under another."""
        return np.array([label in labels for labels in self.base["regimes"]])

    def filled(
        self,
        rng: np.random.Generator,
        accuracy: np.ndarray | float = 0.0,
        log2_eigenvalue: np.ndarray | float = 0.0,
        spread: np.ndarray | float = 1.0,
        log2_epsilon: np.ndarray | float = 0.0,
        interaction: float = 0.0,
    ) -> pd.DataFrame:
        """Accuracies around 0.5, eigenvalues around 64, smallest epsilons around 1/32, with effects, seed effects and noise.

        Args:
            accuracy, log2_eigenvalue, log2_epsilon: effect on each trial.
            spread: of the noise, relative to half a point of accuracy, 0.1 in log2 eigenvalue, 0.05 in log2 epsilon.
            interaction: how much the seeds differ in their slopes along the batch size and momentum, in spreads of the noise.
        """
        numbers: dict[str, np.ndarray] = {"train_loss": np.exp(rng.normal(-2, 0.3, len(self.base)))}
        for column in self.columns:
            of_seed = rng.normal(size=(3, self.seed.max() + 1))[:, self.seed]
            noise = rng.normal(size=len(self.base)) * spread + of_seed[0]
            noise = noise + interaction * (of_seed[1] * self.doublings / 6 + of_seed[2] * self.momentum / 0.9)
            if column == "eigenvalue":
                numbers[column] = 2 ** (6 + log2_eigenvalue + 0.1 * noise)
            elif column == "smallest_epsilon":
                numbers[column] = 2 ** (-5 + log2_epsilon + 0.05 * noise)
            else:
                numbers[column] = 0.5 + accuracy + 0.005 * noise
        return self.base.assign(**numbers)

    def explained(self, trials: pd.DataFrame, confidence: np.ndarray | float = 0.8) -> pd.DataFrame:
        """The same trials with what follows from their λ1 and rate, and with a confidence."""
        ratio = trials["eigenvalue"] / self.ceiling
        halved = trials["halve_every_epochs"].notna()
        return trials.assign(
            stability_ratio=ratio.where(~halved),
            stability_ratio_max=ratio,
            confidence=confidence,
        )

    @property
    def ceiling(self) -> np.ndarray:
        """2(1+γ)/η of each trial, at its first rate."""
        return np.asarray(2 * (1 + self.momentum) / self.base["learning_rate"].to_numpy())

    def at_ceiling(self, share: np.ndarray | float) -> np.ndarray:
        """The effect on log2 λ1 that makes it this share of its ceiling."""
        return np.asarray(np.log2(self.ceiling * share) - 6)
