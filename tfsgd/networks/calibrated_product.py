"""The Hessian's product with vectors, of the loss at another temperature."""

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from tfsgd.networks.hessian import HessianVectorProduct
from tfsgd.networks.losses import cross_entropy


class CalibratedProduct(HessianVectorProduct):
    """v -> Hv, H the Hessian of the mean loss of the logits over a temperature. Arguments and attributes are those of `Product`, and besides:

    Args:
        temperature: by which the logits are divided.
    """

    def __init__(
        self, model: Any, images: NDArray[Any], labels: NDArray[Any], temperature: float, **settings: Any
    ) -> None:
        super().__init__(
            model,
            images,
            labels,
            lambda labels, logits: cross_entropy(labels, logits / temperature),
            **settings,
        )
        self._temperature = temperature

    @cached_property
    def evidence(self) -> Mapping[str, float]:
        """As of `Product`, and the temperature."""
        return MappingProxyType({**super().evidence, "temperature": self._temperature})
