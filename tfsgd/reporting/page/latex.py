"""Tables for LaTeX, with the rules of booktabs."""

import re
from collections.abc import Sequence

from tfsgd.reporting.figures.style import CellValue, Drawing
from tfsgd.reporting.page.findings import Finding

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
    "×": r"$\times$",
    "√": r"$\sqrt{}$",
    "−": "-",
    "∞": r"$\infty$",
    "…": r"\ldots{}",
    "<": "$<$",
    ">": "$>$",
}
PATTERN = re.compile("|".join(re.escape(text) for text in sorted(SPECIAL, key=len, reverse=True)))


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return PATTERN.sub(lambda found: SPECIAL[found[0]], text)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], layout: str) -> str:
    """A tabular between booktabs rules, for `\\input`, that fits a column; cells are LaTeX already.

    Args:
        headings: of the columns.
        rows: their cells; one of a single cell stands across all columns.
        layout: a column of LaTeX's for each heading.
    """
    width = len(headings)
    lines = [
        " & ".join(row) + r" \\" if len(row) > 1 else rf"\multicolumn{{{width}}}{{@{{}}l}}{{{row[0]}}} \\"
        for row in rows
    ]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"{\footnotesize\setlength{\tabcolsep}{3pt}%",
            rf"\begin{{tabular}}{{@{{}}{layout}@{{}}}}",
            "\\toprule",
            " & ".join(map(escaped, headings)) + r" \\",
            "\\midrule",
            *lines,
            "\\bottomrule",
            "\\end{tabular}}\n",
        ]
    )


def claims_table(findings: Sequence[Finding]) -> str:
    """The findings: a row an effect, below the name of its finding; empty where there are no numbers."""
    rows: list[list[str]] = []
    for finding in findings:
        effects = [e for e in finding.effects if e.words and not finding.is_of_others]
        rows += [[rf"\emph{{{escaped(finding.title)}}}"]] * bool(effects)
        for e in effects:
            metric = e.judgement.asked.names.removeprefix("the ")
            rows.append([escaped(metric), escaped(e.words), e.verdict])
    headings = ["", "Effect [95 % interval]", "The paper"]
    return table(headings, rows, r"lp{0.5\linewidth}l") if rows else ""


def figure_table(drawing: Drawing) -> str:
    """The values of a figure against the batch size: mean, and its interval below; empty if it has none."""
    metrics = list(dict.fromkeys(value.what for value in drawing.cells))
    curves: dict[str, dict[str, dict[str, CellValue]]] = {}
    for value in drawing.cells:
        of_curve = curves.setdefault(value.curve, {})
        of_curve.setdefault(str(value.batch_size), {}).setdefault(value.what, value)
    rows: list[list[str]] = []
    for curve, cells in curves.items():
        rows.append([rf"\emph{{{escaped(curve)}}}"])
        for size, found in cells.items():
            values = [found.get(metric) for metric in metrics]
            rows.append([size, *(escaped(value.mean) if value else "" for value in values)])
            ends = [value.interval if value else None for value in values]
            if any(ends):
                rows.append(["", *(_interval(end) if end else "" for end in ends)])
    short = [metric.replace(" at ε", " ε").replace(" accuracy", "") for metric in metrics]
    return table(["Batch", *short], rows, "r" + "l" * len(metrics)) if rows else ""


def _interval(ends: tuple[str, str]) -> str:
    """In small type, the unit of both at the second."""
    low, high = ends
    low = low.removesuffix(" %") if high.endswith(" %") else low
    return rf"{{\scriptsize [{escaped(low)}, {escaped(high)}]}}"


def caption(drawing: Drawing) -> str:
    """A figure's caption, for `\\input` in its environment."""
    return f"\\caption{{{escaped(drawing.title)}. {escaped(drawing.caption)}}}\n"
