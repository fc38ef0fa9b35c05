"""Measures of the Hessian, one file a kind: the file's name is what `measure:` in a config says.

A file holds one subclass of `CurvatureSpec`: its settings with their defaults, and `run`, which sees only a
matvec v -> Hv. Nothing else has to know of it. A class of one's own is named `module:Class`.
"""
