"""Which product a curvature measure sees."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from tfsgd.errors import RequestError
from tfsgd.measures.curvature_spec import CurvatureSpec, Operator
from tfsgd.measures.victim import Labels
from tfsgd.networks.batch_hessian import BatchProduct
from tfsgd.networks.calibrated_product import CalibratedProduct
from tfsgd.networks.gauss_newton_product import GaussNewtonProduct
from tfsgd.networks.head import dense_end
from tfsgd.networks.hessian import HessianVectorProduct
from tfsgd.networks.input_hessian import InputProduct
from tfsgd.networks.landscape import Landscape
from tfsgd.networks.losses import DESCENDED
from tfsgd.networks.training_mode import TrainingMode

_PRODUCTS: dict[Operator, Callable[..., Any]] = {
    "hessian": HessianVectorProduct,
    "gauss_newton": GaussNewtonProduct,
    "batches": BatchProduct,
    "inputs": InputProduct,
    "landscape": Landscape,
    "calibrated": CalibratedProduct,
}


def product_of(
    spec: CurvatureSpec,
    network: Any,
    images: NDArray[Any],
    labels: Labels,
    batch_size: int | None = None,
    temperature: float = 1.0,
) -> Any:
    """v -> Hv on these images, or another operator's product.

    In training mode the loss is the mean over batches of the trial's size, in the order of the images, each with
    its own moments; images that fill no batch are left out, unless there is none that is full.

    Args:
        spec: says which, and in which mode.
        network: images to logits.
        images: `(N, height, width, channels)` in [0, 1].
        labels: `(N,)` integers.
        batch_size: with which the network was trained; `None` where that is not known.
        temperature: of the loss, where the measure's operator is `calibrated`.

    Raises:
        RequestError: in training mode: the batch size is not known, or the network's statistics cannot be reached.
    """
    settings: dict[str, Any] = {"batch_size": batch_size} if spec.operator == "batches" else {}
    if spec.loss != "cross_entropy":
        settings["loss"] = DESCENDED[spec.loss]
    if spec.operator == "calibrated":
        settings["temperature"] = temperature
    if spec.operator == "landscape":
        settings["normalized"] = getattr(spec, "normalized", False)
    if spec.mode == "training":
        size = _batch_size(spec, batch_size)
        full = len(labels) // size * size
        if spec.operator != "batches" and full:
            images, labels = images[:full], labels[:full]
        network, settings["chunk_size"] = TrainingMode(network), size
    return _PRODUCTS[spec.operator](network, images, labels, **settings)


def check_mode(spec: CurvatureSpec, network: Any, batch_size: int | None) -> None:
    """Refuses training mode where it cannot be had, and a measure of a last dense layer where there is none; arguments as of `product_of`.

    Raises:
        RequestError: as `product_of`, or of the layer; the line begins with a key.
    """
    if getattr(spec, "needs_head", False):
        dense_end(network)
    if spec.mode == "training":
        _batch_size(spec, batch_size)
        TrainingMode(network)


def _batch_size(spec: CurvatureSpec, of_training: int | None) -> int:
    size: int | None = getattr(spec, "batch_size", None) or of_training
    if size is None:
        raise RequestError(
            "mode: training: this network comes without a record, which would tell the batch size of its "
            "training; expected mode: inference, or the folder of a trial"
        )
    return size
