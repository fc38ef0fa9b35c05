"""λ1 of the loss at the temperature that calibrates the network."""

from typing import ClassVar

from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.measures.curvature_spec import Operator


class CalibratedEigenvalue(TopEigenvalue):
    """λ1 of the mean cross-entropy of z / T*, T* of `tfsgd.measures.temperature`, found on the validation images.

    A network that is sure of its images has a small λ1 for that alone; here all are as sure as they are right. `temperature`
    is T*. Everything else is as of `top_eigenvalue`; NaN where there is no T*.
    """

    operator: ClassVar[Operator] = "calibrated"
