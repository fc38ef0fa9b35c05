"""The table of the paper's figures in docs/from-records-to-a-paper.md: `python -m scripts.paper_figures` prints it."""

from tfsgd.plan.shipped import shipped_pairs
from tfsgd.reporting.page.paper_figures import PAPER_FIGURES
from tfsgd.reporting.paper import attack_name


def paper_figure_rows() -> list[str]:
    """The table of docs/from-records-to-a-paper.md."""
    configs = ", ".join(f"`{name}`" for name in shipped_pairs().values())
    rows = [
        "| the paper's figures | they show | files | draw it with | a config needs |",
        "|---|---|---|---|---|",
    ]
    for view in PAPER_FIGURES:
        first, last = view.numbers
        needs = f"`{view.setting}`" if view.setting else f"all of: {configs}"
        rows.append(
            f"| {first} to {last} | {view.view}: natural and {attack_name(view.attack)} accuracy, λ1 | `{view.file}` | "
            f"`--paper-figure {first}` | {needs} |"
        )
    return rows


if __name__ == "__main__":
    print("\n".join(paper_figure_rows()))
