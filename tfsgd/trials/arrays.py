"""A network and images that are at hand -> the measurements of the command."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from tfsgd.data.dataset import Split, Splits
from tfsgd.measures.spec import Measurement
from tfsgd.models.structure import input_shape
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.plan.config import Measuring
from tfsgd.plan.requests import doubts
from tfsgd.trials.standalone import Opened, measured


def measure_arrays(
    model: Any,
    images: NDArray[Any],
    labels: NDArray[Any],
    plan: Measuring,
    seed: int,
    warn: Callable[[str], None],
) -> list[dict[str, Any]]:
    """The measurements, one dict each: what was measured, its main value, and every number beside it.

    Args:
        model: images to logits.
        images: float32 in [0, 1], also those that define a Hessian.
        labels: `(N,)`.
        plan: of `plan_for`.
        seed: of random starts.
        warn: told what makes the numbers doubtful.
    """
    for doubt in doubts(plan):
        warn(doubt)
    split = Split(images, labels)
    subject = MeasuredNetwork(model, Splits(split, split, split, "", "the images that were given"))
    parameters = sum(int(v.shape.num_elements() or 0) for v in model.trainable_variables)
    facts = {"input_shape": list((input_shape(model) or ())[1:]), "parameters": parameters}
    found = measured(Opened(f"model {model.name}", subject, facts), plan, lambda line: None, warn, seed)
    for label, why in found.not_measured.items():
        warn(f"{label}: not measured: {why}")
    return [_row(m) for m in found.measurements]


def _row(m: Measurement) -> dict[str, Any]:
    numbers = {key: value for key, value in m.values.items() if isinstance(value, int | float)}
    named = {"measure": m.label, "norm": m.settings.get("norm", "Linf") if m.kind == "attack" else None}
    return named | {"epsilon": m.epsilon, "images": m.examples, "result": m.main_value, **numbers}
