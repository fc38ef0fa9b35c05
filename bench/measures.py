"""Our side's jobs for the expensive measures: whatever a config's block says, on the trained StdCNN."""

from pathlib import Path
from typing import Any

import numpy as np

from bench import ours
from bench.worker import Run, cpu_seconds
from tfsgd.data.dataset import to_unit
from tfsgd.measures.spec import Request
from tfsgd.networks.compiled_victim import CompiledVictim
from tfsgd.networks.hessian import HessianVectorProduct
from tfsgd.networks.load_network import load_network
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.plan.requests import requests_of
from tfsgd.plan.specs import attack as attack_of
from tfsgd.plan.specs import curvature_measure

BATCH_SIZE = 64  # with which a trial is trained whose cost the measures' cost is a share of

start = ours.start


def take_weights(folder: Path, network: str) -> Run:
    """Makes a stored StdCNN the trained one."""

    def run() -> dict[str, Any]:
        np.savez(folder / "stdcnn-trained.npz", *load_network(Path(network)).get_weights())
        return {}

    return run


def curvature(folder: Path, kind: str, examples: int, settings: dict[str, Any]) -> Run:
    """A curvature measure on the first training images; its values."""
    split = ours.load_split(folder, "train", examples)
    network = ours.load_network(folder, "stdcnn", "stdcnn-trained")
    product = HessianVectorProduct(network, to_unit(split.images), split.labels)
    spec = curvature_measure(kind, settings, None)

    def run() -> dict[str, Any]:
        values = spec.run(product, product.dimension, 0).values()
        nodes = values.pop("nodes", None)
        largest = {"largest": float(np.mean([max(each) for each in nodes]))} if nodes else {}
        return {key: value for key, value in values.items() if key != "weights"} | largest

    return run


def attack(folder: Path, kind: str, examples: int, epsilon: float, settings: dict[str, Any]) -> Run:
    """An attack on the first test images; the accuracy that it leaves, and its values."""
    split = ours.load_split(folder, "test", examples)
    victim = CompiledVictim.of(ours.load_network(folder, "stdcnn", "stdcnn-trained"))
    images, spec = to_unit(split.images), attack_of(kind, {"epsilon": [epsilon], **settings}, None)

    def run() -> dict[str, Any]:
        found = spec.run(victim, images, split.labels, epsilon, 0)
        return {"accuracy": float(found.correct.mean()), **found.values}

    return run


def shares(folder: Path) -> Run:
    """The CPU seconds of an epoch of training, and of each measure of `measures: full`."""
    plan = ours.experiment("stdcnn", "measures=full")
    splits = ours.cut_splits(folder, plan)
    epoch = ours.train(folder, "stdcnn", BATCH_SIZE, plan.examples("train"))
    network = ours.load_network(folder, "stdcnn", "stdcnn-trained")

    def run() -> dict[str, Any]:
        epoch()  # traced and allocated
        began = cpu_seconds()
        epoch()
        seconds, found = cpu_seconds() - began, []
        subject = MeasuredNetwork(network, splits, BATCH_SIZE)
        for request in requests_of(plan, 0):
            began = cpu_seconds()
            one = request.measure_on(subject)
            found.append([*_said(request), cpu_seconds() - began, _value(one.values)])
        return {"epoch": seconds, "epochs": plan.epochs, "measures": found}

    return run


def _said(request: Request) -> tuple[str, str, int]:
    """Label, settings that are not the default, and images."""
    unusual = request.spec.unusual()
    at = {} if request.epsilon is None else {"ε": request.epsilon}
    return request.label, ", ".join(f"{k} {v}" for k, v in {**at, **unusual}.items()), request.examples


def _value(values: Any) -> str:
    kinds = ("value", "median", "accuracy", "confidence", "fraction")
    key = "median" if "censored" in values else next(key for key in kinds if key in values)
    error = f" ± {values['error']:.2g}" if values.get("error") is not None else ""
    return "none" if values[key] is None else f"{values[key]:.4g}{error}"


JOBS = {"take_weights": take_weights, "curvature": curvature, "attack": attack, "shares": shares}
