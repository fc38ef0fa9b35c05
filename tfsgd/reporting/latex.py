"""Tables for LaTeX, with the rules of booktabs."""

import re
from collections.abc import Sequence

from tfsgd.reporting.drawing import Drawing
from tfsgd.reporting.verdicts import Judgement
from tfsgd.reporting.wording import numbers_of

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


OF_A_CELL = {"curve", "batch size", "what", "mean", "95 % interval"}  # the keys of a cell's value


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return PATTERN.sub(lambda found: SPECIAL[found[0]], text)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], layout: str) -> str:
    """A tabular between booktabs rules, for `\\input`; `layout` has a column of LaTeX's a heading."""
    lines = [" & ".join(escaped(text) for text in row) + r" \\" for row in rows]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            f"\\begin{{tabular}}{{{layout}}}",
            "\\toprule",
            " & ".join(escaped(heading) for heading in headings) + r" \\",
            "\\midrule",
            *lines,
            "\\bottomrule",
            "\\end{tabular}\n",
        ]
    )


def claims_table(judgements: Sequence[Judgement]) -> str:
    """Every claim at the paper's epsilon, or without one."""
    rows = []
    for j in judgements:
        if j.primary:
            e = j.evidence
            effect = numbers_of(e)
            p = "" if j.p_holm is None else f"{j.p_holm:.2g}"
            verdict = f"{j.verdict} {e.range}".strip()
            rows.append([j.claim.statement, verdict, effect, e.n, p])
    headings = ["Claim", "Verdict", "Effect [95 % interval]", "n", "p (Holm)"]
    return table(headings, rows, "p{0.34\\linewidth}p{0.14\\linewidth}p{0.2\\linewidth}p{0.16\\linewidth}r")


def figure_table(drawing: Drawing) -> str:
    """The values of a figure against the batch size; empty if it has none: a row a cell, a column a metric."""
    means = [row for row in drawing.values if row.keys() >= OF_A_CELL]
    metrics = list(dict.fromkeys(row["what"] for row in means))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in means:
        interval = row["95 % interval"].replace(" to ", ", ")
        shown = f"{row['mean']} [{interval}]" if "," in interval else row["mean"]
        cells.setdefault((row["curve"], row["batch size"]), {}).setdefault(row["what"], shown)
    rows = [[*cell, *(found.get(metric, "") for metric in metrics)] for cell, found in cells.items()]
    return table(["Curve", "Batch size", *metrics], rows, "lr" + "l" * len(metrics)) if rows else ""
