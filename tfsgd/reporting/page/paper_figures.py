"""The paper's figures, one by one: what each shows, the figure that draws it, and what a config needs for it.

A figure's number says which settings and attack it shows. Its data set and network are those of the folder: a shipped config
has each pair of them that the paper has.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from tfsgd.errors import RequestError
from tfsgd.plan.shipped import shipped_pairs
from tfsgd.reporting.figures.curves import momentum_stem
from tfsgd.reporting.page.report_text import sweep_again
from tfsgd.reporting.paper import MOMENTUM_FIGURES, REGIME_FIGURES, attack_name
from tfsgd.reporting.table.studies import Study

REGIMES = "LR and LR/BS at momentum 0, Benchmark at 0.9"


@dataclass(frozen=True)
class PaperFigure:
    """One view of the paper's figures.

    Attributes:
        said: the paper's figures that show it, such as `Figs. 1-6`.
        view: what it shows, in words.
        attack: under which attack.
        figure: its name for `tfsgd report --figures`.
        stem: of the name of its files.
        setting: what a config needs for it, as `--set` takes it; empty: every shipped config has it.
    """

    said: str
    view: str
    attack: str
    figure: str
    stem: str
    setting: str = ""

    @property
    def numbers(self) -> tuple[int, int]:
        """The first and the last of the paper's figures."""
        first, last = self.said.removeprefix("Figs. ").split("-")
        return int(first), int(last)

    @property
    def file(self) -> str:
        """The name of its files."""
        return f"{self.stem}-{self.attack}"


def _views() -> Iterator[PaperFigure]:
    for attack, said in REGIME_FIGURES.items():
        yield PaperFigure(said, REGIMES, attack, "regimes", "regimes")
    for kind, of in MOMENTUM_FIGURES.items():
        view, setting = f"{kind} at several momenta", f"regimes.{kind}.momentum=[0.0,0.2,0.5,0.9]"
        for attack, said in of.items():
            yield PaperFigure(said, view, attack, "momenta-under-attack", momentum_stem(kind), setting)


PAPER_FIGURES = [*_views()]
LAST = max(view.numbers[1] for view in PAPER_FIGURES)


def views_of_figure(number: int) -> list[PaperFigure]:
    """What a figure of the paper may show.

    Raises:
        RequestError: the paper has no such figure.
    """
    found = [view for view in PAPER_FIGURES if view.numbers[0] <= number <= view.numbers[1]]
    if not found:
        raise RequestError(f"--paper-figure: expected 1 to {LAST}, received {number}")
    return found


def refuse_undrawn(number: int, study: Study) -> NoReturn:
    """Refuses a figure of which nothing was drawn, with the command that would give its trials.

    Raises:
        RequestError: always.
    """
    view = views_of_figure(number)[0]
    attack = f"attacks.{view.attack}={{epsilon: [{study.paper_epsilon or 0.3:g}]}}"
    config = shipped_pairs().get((study.dataset, study.model))
    if config and study.planned is None:
        command = f"configs/{config}.yaml"
    else:
        wanted = [f"--set '{setting}'" for setting in (view.setting, attack) if setting]
        command = " ".join([*sweep_again(study), *wanted])
    raise RequestError(
        f"--paper-figure {number}: it shows {view.view}, {attack_name(view.attack)} accuracy and λ1, which these records do "
        f"not hold; python -m tfsgd.sweep {command} would train and measure it"
    )
