"""Tables for LaTeX, with the rules of booktabs."""

import re
from collections.abc import Sequence

from tfsgd.reporting.claims.verdicts import Judgement
from tfsgd.reporting.figures.style import Drawing
from tfsgd.reporting.page.report_text import numbers_of
from tfsgd.reporting.page.summary import most_informative

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "λ1": r"$\lambda_1$",
    "ε": r"$\varepsilon$",
    "η": r"$\eta$",
    "γ": r"$\gamma$",
    "±": r"$\pm$",
    "−": "-",
    "<": "$<$",
    ">": "$>$",
}
PATTERN = re.compile("|".join(re.escape(text) for text in sorted(SPECIAL, key=len, reverse=True)))


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return PATTERN.sub(lambda found: SPECIAL[found[0]], text)


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], layout: str, environment: str = "tabular"
) -> str:
    """A tabular between booktabs rules, for `\\input`; `layout` has a column of LaTeX's a heading."""
    lines = [" & ".join(escaped(text) for text in row) + r" \\" for row in rows]
    return "\n".join(
        [
            f"% needs \\usepackage{{booktabs{',longtable' * (environment == 'longtable')}}}",
            f"\\begin{{{environment}}}{{{layout}}}",
            "\\toprule",
            " & ".join(escaped(heading) for heading in headings) + r" \\",
            "\\midrule",
            *lines,
            "\\bottomrule",
            f"\\end{{{environment}}}\n",
        ]
    )


def claims_table(judgements: Sequence[Judgement]) -> str:
    """Every claim about natural accuracy, λ1 and the paper's attacks that has numbers, on as many pages as it takes.

    At the paper's epsilon, or where nothing can be told there at the one with the strongest evidence.
    """
    rows = []
    for asked in judgements:
        if asked.primary and asked.claim.is_on_the_papers_attacks:
            j = most_informative(asked, judgements)
            if j.verdict != "not testable":
                p = "" if j.p_holm is None else f"{j.p_holm:.2g}"
                verdict, at = f"{j.verdict} {j.evidence.range}".strip(), f"{j.epsilon:g}" if j.epsilon else ""
                rows.append([j.claim.statement, at, verdict, numbers_of(j.evidence), j.evidence.n, p])
    headings = ["Claim", "ε", "Verdict", "Effect [95 % interval]", "n", "p (Holm)"]
    widths = [f"p{{{width}\\linewidth}}" for width in (0.3, 0.12, 0.2, 0.15)]
    return table(headings, rows, f"{widths[0]}r{''.join(widths[1:])}r", "longtable")


def figure_table(drawing: Drawing) -> str:
    """The values of a figure against the batch size; empty if it has none: a row a cell, a column a metric."""
    metrics = list(dict.fromkeys(value.what for value in drawing.cells))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for value in drawing.cells:
        shown = f"{value.mean} [{', '.join(value.interval)}]" if value.interval else value.mean
        cells.setdefault((value.curve, str(value.batch_size)), {}).setdefault(value.what, shown)
    rows = [[*cell, *(found.get(metric, "") for metric in metrics)] for cell, found in cells.items()]
    return table(["Curve", "Batch size", *metrics], rows, "lr" + "l" * len(metrics)) if rows else ""
