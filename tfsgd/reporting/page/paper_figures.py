"""The paper's figures, one by one: what each shows, the figure that draws it, and what a config needs for it.

A figure's number says which settings and attack it shows. Its data set and network are those of the folder: a shipped config
has each pair of them that the paper has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfsgd.errors import RequestError
from tfsgd.reporting.page.advice import sweep_again
from tfsgd.reporting.paper import MOMENTUM_FIGURES, REGIME_FIGURES, attack_name
from tfsgd.reporting.table.studies import Study

REGIMES = "LR and LR/BS at momentum 0, Benchmark at 0.9"
MOMENTA = "regimes.{}.momentum=[0.0,0.2,0.5,0.9]"
CONFIGS = {
    ("mnist", "stdcnn"): "mnist_stdcnn",
    ("mnist", "m1"): "mnist_m1",
    ("fashion_mnist", "stdcnn"): "fmnist_stdcnn",
    ("fashion_mnist", "m1"): "fmnist_m1",
    ("cifar10", "c1"): "cifar10_c1",
    ("cifar10", "resnet18"): "cifar10_resnet18",
}


@dataclass(frozen=True)
class PaperFigure:
    """One view of the paper's figures.

    Attributes:
        numbers: the first and the last figure of the paper that show it.
        view: what it shows, in words.
        attack: under which attack.
        figure: its name for `tfsgd report --figures`.
        file: the name of its files.
        setting: what a config needs for it, as `--set` takes it; empty: every shipped config has it.
    """

    numbers: tuple[int, int]
    view: str
    attack: str
    figure: str
    file: str
    setting: str = ""


def _numbers(said: str) -> tuple[int, int]:
    first, last = said.removeprefix("Figs. ").split("-")
    return int(first), int(last)


PAPER_FIGURES = [
    *(
        PaperFigure(_numbers(said), REGIMES, attack, "regimes", f"regimes-{attack}")
        for attack, said in REGIME_FIGURES.items()
    ),
    *(
        PaperFigure(
            _numbers(said),
            f"{kind} at several momenta",
            attack,
            "momenta-under-attack",
            f"momentum-{kind.lower().replace('/', '')}-{attack}",
            MOMENTA.format(kind),
        )
        for kind, of in MOMENTUM_FIGURES.items()
        for attack, said in of.items()
    ),
]
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


def refuse_undrawn(number: int, studies: Sequence[Study], drawn: Sequence[str]) -> None:
    """Refuses a figure of which nothing was drawn, with the command that would give its trials.

    Args:
        number: of the figure.
        studies: that were asked.
        drawn: names of the files.

    Raises:
        RequestError: nothing was drawn.
    """
    views = views_of_figure(number)
    if any(name.endswith(view.file) for name in drawn for view in views):
        return
    view, study = views[0], studies[0]
    attack = f"attacks.{view.attack}={{epsilon: [{study.paper_epsilon or 0.3:g}]}}"
    wanted = [f"--set '{setting}'" for setting in (view.setting, attack) if setting]
    config = CONFIGS.get((study.dataset, study.model))
    if config and study.planned is None:
        command = f"configs/{config}.yaml"
    else:
        command = " ".join([*sweep_again(study), *wanted])
    raise RequestError(
        f"--paper-figure {number}: it shows {view.view}, {attack_name(view.attack)} accuracy and λ1, which these records do "
        f"not hold; python -m tfsgd.sweep {command} would train and measure it"
    )


def paper_figure_rows() -> list[str]:
    """The table of docs/from-records-to-a-paper.md."""
    configs = ", ".join(f"`{name}`" for name in CONFIGS.values())
    rows = [
        "| the paper's figures | they show | files | draw it with | a config needs |",
        "|---|---|---|---|---|",
    ]
    for view in PAPER_FIGURES:
        first, last = view.numbers
        needs = f"`{view.setting}`" if view.setting else "all of: " + configs
        rows.append(
            f"| {first} to {last} | {view.view}: natural and {attack_name(view.attack)} accuracy, λ1 | `{view.file}` | "
            f"`--paper-figure {first}` | {needs} |"
        )
    return rows
