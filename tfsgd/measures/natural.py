"""What is measured on every network: natural accuracy, and the share of images without a gradient."""

from typing import ClassVar

from tfsgd.measures.spec import Kind, Spec


class NaturalAccuracy(Spec):
    """Loss and accuracy on unperturbed images."""

    kind: ClassVar[Kind] = "accuracy"


class ZeroGradients(Spec):
    """The share of images whose loss has an input gradient of exactly zero: no attack can move them."""

    kind: ClassVar[Kind] = "gradient"
