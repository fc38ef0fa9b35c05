"""Attacks and measures of one's own as a folder of results tells of them: their settings, without their code.

A folder of results is data. What it names is imported only where a person names it too, by a config or `--set`; everywhere
else these stand in its place. They run nothing, and find what was measured by its name and settings.
"""

from typing import Any, ClassVar

from pydantic import ConfigDict, Field

from tfsgd.measures.attack import AttackSpec
from tfsgd.measures.curvature_spec import CurvatureSpec
from tfsgd.measures.spec import Measurement, Request, Spec


class Recorded(Spec):
    """A spec whose class is not to be had.

    Attributes:
        code_sha256: of the code whose numbers count, empty for those made before code counted; `None`: the last ones.
    """

    model_config = ConfigDict(extra="allow")

    is_recorded: ClassVar[bool] = True
    code_sha256: str | None = Field(default=None, exclude=True)

    def unusual(self) -> dict[str, Any]:
        """All settings, since nobody knows their defaults, and the code."""
        return {**self.settings(), "code_sha256": self.code_sha256}

    def found_in(self, request: Request, measurements: tuple[Measurement, ...]) -> Measurement | None:
        """The last measurement under this name that has the same settings, whatever else it has."""
        for m in reversed(measurements):
            same = (m.kind, m.name, m.split, m.examples, m.seed, m.epsilon) == (
                self.kind, request.name, request.split, request.examples, request.seed, request.epsilon,
            )  # fmt: skip
            if same and self._has_the_settings_of(m):
                return m
        return None

    def _has_the_settings_of(self, m: Measurement) -> bool:
        if self.code_sha256 is not None and m.settings.get("code_sha256", "") != self.code_sha256:
            return False
        return all(m.settings.get(key, value) == value for key, value in self.settings().items())


class RecordedAttack(AttackSpec, Recorded):
    """An attack of one's own, without its code."""


class RecordedMeasure(CurvatureSpec, Recorded):
    """A measure of curvature of one's own, without its code."""
