"""The name under which modules written for versions up to 0.9 import these; `from tfsgd import CurvatureSpec` is shorter."""

from tfsgd.measures.curvature_spec import Batches, Curvature, CurvatureSpec, Inputs, Matvec, Vector

__all__ = ["Batches", "Curvature", "CurvatureSpec", "Inputs", "Matvec", "Vector"]
