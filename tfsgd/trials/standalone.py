"""Networks from anywhere -> the same measurements as in a sweep, with the same evidence."""

import importlib.util
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfsgd.data.dataset import Splits
from tfsgd.errors import RequestError
from tfsgd.measures.curvature_spec import CurvatureSpec
from tfsgd.measures.distance import Distance
from tfsgd.measures.failed_checks import of_guessing, of_outputs
from tfsgd.measures.spec import Measurement, Request
from tfsgd.measures.zero_gradients import MISDIRECTED, float32_warning
from tfsgd.networks.frozen import of_left_out
from tfsgd.networks.load_network import AS_THEY_ARE, Pixels, load_network, network_sha256
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.plan.config import Measuring
from tfsgd.plan.import_string import call_own, file_of
from tfsgd.plan.requests import requests_of, titled
from tfsgd.records.outcomes import least_epsilons, spread, unpacked
from tfsgd.training.provenance import provenance
from tfsgd.trials.outcome import in_a_line as in_one_line
from tfsgd.trials.outcome import only_own_failures

Said = Callable[[str], None]
LOOKED_AT = 256  # test images, one pass
TORCH = (".pt", ".pth")


@dataclass(frozen=True)
class Opened:
    """A network that fits the images.

    Attributes:
        target: as it was asked for.
        subject: what is measured.
        facts: SHA-256, input shape, number of trainable parameters.
    """

    target: str
    subject: MeasuredNetwork
    facts: dict[str, Any]


@dataclass(frozen=True)
class NetworkResult:
    """What was measured on one network.

    Attributes:
        of: the network.
        measurements: in the order in which they were made.
        not_measured: label -> why not.
        warnings: what makes the numbers doubtful.
        has_failures: something that could be measured ended in an error.
        outcomes: what became of every image, by the identity of the measurement.
    """

    of: Opened
    measurements: tuple[Measurement, ...]
    not_measured: dict[str, str]
    warnings: tuple[str, ...]
    has_failures: bool
    outcomes: Mapping[str, NDArray[np.generic]]

    @property
    def smallest_epsilons(self) -> dict[str, float]:
        """Their spread over all attacks in L-infinity; empty where none searched them."""
        least = least_epsilons(self.measurements, unpacked(self.outcomes, self.measurements))
        return {} if least is None else spread(least)

    def as_json(self) -> dict[str, Any]:
        """With everything that is needed to believe it."""
        return {
            "target": self.of.target,
            "network": self.of.facts,
            "measurements": [m.model_dump(mode="json", exclude={"provenance"}) for m in self.measurements],
            "not_measured": self.not_measured,
            "warnings": list(self.warnings),
        }


def opened(
    path: Path,
    plan: Measuring,
    splits: Splits,
    pixels: Pixels = AS_THEY_ARE,
    strip_softmax: bool = False,
    builders: Sequence[Any] = (),
) -> Opened:
    """Loads a network from a `.keras` file, a SavedModel's folder or the weights of a PyTorch module, and asks it once.

    Args:
        path: of the network.
        plan: the data set, and what to measure.
        splits: its images, cut to the number that the plan asks for.
        pixels: what it expects.
        strip_softmax: take off the softmax that it ends in.
        builders: what `--code FILE.py:NAME` has named: of PyTorch what builds the module.

    Raises:
        RequestError: it is no network that can be measured on these images; one line.
    """
    if plan.user_model:
        plan.user_model.import_if_there()  # the network may be one of this config's
    sha256 = network_sha256(path) if path.exists() else ""
    if path.suffix in TORCH:
        kind, network = _of_torch(path, plan, pixels, strip_softmax, builders)
    else:
        kind, network = MeasuredNetwork, load_network(path, pixels, strip_softmax)
    if network_sha256(path) != sha256:
        raise RequestError(f"{path}: it was written anew while it was read; run the command again")
    shape = tuple(network.input_shape[1:])
    if shape != plan.data.image_shape:
        raise RequestError(
            f"{path}: it takes images of shape {shape}, {plan.dataset} has {plan.data.image_shape}; "
            "choose the data set that it was trained on"
        )
    subject = kind(network, splits)
    try:
        classes = subject.victim.logits(subject.images("test", 1)[0]).shape[1]
    except RequestError:
        raise
    except Exception as error:  # whatever a network of one's own may do
        raise RequestError(
            f"{path}: expected images to one table of logits, received an error: {in_one_line(error)}"
        ) from None
    if classes != plan.data.classes:
        raise RequestError(
            f"{path}: it has {classes} outputs, {plan.dataset} has {plan.data.classes} classes"
        )
    parameters = sum(math.prod(v.shape) for v in network.trainable_variables)
    facts = {"sha256": sha256, "input_shape": list(shape), "parameters": parameters}
    if kind is not MeasuredNetwork:
        facts["torch"] = version("torch")
    if pixels != AS_THEY_ARE:
        facts["expects"] = asdict(pixels)
    if strip_softmax:
        facts["strip_softmax"] = True
    return Opened(str(path), subject, facts)


def _of_torch(
    path: Path, plan: Measuring, pixels: Pixels, strip_softmax: bool, builders: Sequence[Any]
) -> tuple[type[MeasuredNetwork], Any]:
    """A PyTorch network, and what measures it."""
    if importlib.util.find_spec("torch") is None:
        raise RequestError(f"{path}: a PyTorch network needs torch; pip install 'tfsgd[torch]'")
    if not path.is_file():
        raise RequestError(f"{path}: expected a file, found what is none")
    if len(builders) != 1:
        raise RequestError(
            f"{path}: expected one --code FILE.py:NAME, a function without arguments that returns the module whose weights "
            f"these are; received {len(builders) or 'none'}"
        )
    if strip_softmax:
        raise RequestError(
            f"{path}: --strip-softmax: it is for Keras networks; leave the softmax out of the module"
        )
    from tfsgd.networks.torch_network import TorchMeasured, load_torch

    [build] = builders
    what = f"--code: {build.__name__} ({file_of(build)})"
    image_shape = plan.data.image_shape
    return TorchMeasured, load_torch(path, partial(call_own, build, None, what), image_shape, pixels)


def measured(network: Opened, plan: Measuring, say: Said, warn: Said, seed: int = 0) -> NetworkResult:
    """Measures a network.

    Args:
        network: as `opened` returns it.
        plan: what to measure.
        say: told each result as it comes.
        warn: told what makes the numbers doubtful, as soon as it is known.
        seed: of random starts.
    """
    requests = [r for r in requests_of(plan, seed) if r.spec.kind != "accuracy" or r.split == "test"]
    reasons = [(r, _why_not(r, network)) for r in requests]
    possible = [r for r, why in reasons if not why]
    warnings: list[str] = []

    def doubt(lines: list[str]) -> None:
        warnings.extend(lines)
        for line in lines:
            warn(f"{network.target}: {line}")

    doubt(_doubts(network, possible))
    began, found = time.monotonic(), list[Measurement]()
    failed: dict[str, str] = {}
    for request in possible:
        try:
            with only_own_failures():
                measurement = request.measure_on(network.subject)
        except Exception as error:  # of one's own code: the others are measured
            failed[request.title] = in_one_line(error)
            warn(f"{network.target}: {request.title} failed: {in_one_line(error)}")
            continue
        found.append(measurement)
        if measurement.kind == "accuracy":
            doubt(_warnings(measurement, plan))
        doubt(_of_float32(network.subject, measurement, possible))
        _say(measurement, len(found), len(possible), time.monotonic() - began, say)
    return NetworkResult(
        of=network,
        measurements=tuple(found),
        not_measured={r.label: why for r, why in reasons if why} | failed,
        warnings=tuple(warnings),
        has_failures=bool(failed),
        outcomes=network.subject.new_outcomes(),
    )


def _why_not(request: Request, network: Opened) -> str:
    """Why something cannot be measured on a network; empty where it can."""
    spec, parameters = request.spec, network.facts["parameters"]
    if not parameters and (spec.kind == "weights" or getattr(spec, "operator", "") == "landscape"):
        return "the network tells no trainable variables"
    if isinstance(spec, Distance):
        return "the network comes without its training, whose beginning is not known"
    if not isinstance(spec, CurvatureSpec):
        return ""
    if not parameters and spec.operator != "inputs":
        return "the network tells no trainable variables, so there is no Hessian to take"
    try:
        network.subject.check(spec)
    except RequestError as error:
        return str(error)
    return spec.unfit(parameters, None)


def _say(measurement: Measurement, done: int, of: int, seconds: float, say: Said) -> None:
    left = seconds / done * (of - done)
    say(f"[{done} of {of}] {in_a_line(measurement)}, about {left:.0f} s left")


def in_a_line(found: Measurement) -> str:
    """A measurement in a few words."""
    at = "" if found.epsilon is None else f" {found.epsilon:g}"
    first = ("accuracy", "value", "fraction", "confidence")  # each kind has one of them
    value = next(found.values[key] for key in first if key in found.values)
    error = found.values.get("standard_error")
    spread = "" if error is None else f" ± {error:.2g}"
    return f"{titled(found.label)}{at}: {'none' if value is None else format(value, '.4g')}{spread}"


def _doubts(network: Opened, requests: list[Request]) -> list[str]:
    """What its outputs say, and of what a Hessian that is asked for is one."""
    logits = network.subject.victim.logits(network.subject.images("test", LOOKED_AT)[0])
    doubt = of_outputs(logits, f"the first {len(logits)} test images")
    takes_hessian = any(isinstance(r.spec, CurvatureSpec) and r.spec.operator != "inputs" for r in requests)
    fixed = of_left_out(network.subject.network) if takes_hessian else ""
    return [line for line in (doubt, fixed) if line]


def _warnings(clean: Measurement, plan: Measuring) -> list[str]:
    """What its natural accuracy says."""
    if clean.accuracy is None:
        return ["its outputs are not finite on clean images: nothing measured on it means anything"]
    doubt = of_guessing(clean.accuracy, clean.values["predicted_classes"], plan.data.classes)
    return [doubt] if doubt else []


def _of_float32(subject: MeasuredNetwork, found: Measurement, requests: list[Request]) -> list[str]:
    """What FGSM would have left by the gradient that other libraries take, where that is another number."""
    epsilons = [r.epsilon for r in requests if r.name == "fgsm" and r.epsilon is not None]
    if not epsilons or found.values.get("misdirected", 0.0) <= MISDIRECTED:
        return []
    warning = float32_warning(subject.victim, *subject.images(found.split, found.examples), epsilons)
    return [warning] if warning else []


def evidence(found: list[NetworkResult], plan: Measuring, splits: Splits) -> dict[str, Any]:
    """Everything as JSON: on which images, with which versions."""
    return {
        "dataset": plan.dataset,
        "data_sha256": splits.sha256,
        "data_note": splits.note,
        "provenance": provenance().model_dump(mode="json"),
        "networks": [one.as_json() for one in found],
    }
