"""The measured rows as a table: on the terminal, and in the documentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.pairs import Timing, ratio

COLUMNS = (
    "what",
    "cores",
    "ours, CPU s",
    "ours, wall s",
    "theirs, CPU s",
    "theirs, wall s",
    "CPU, theirs / ours",
    "wall, theirs / ours",
    "goal",
    "floor, CPU s",
    "ours / floor",
    "theirs / floor",
    "result, ours | theirs",
)


@dataclass(frozen=True)
class Line:
    """One measured row."""

    title: str
    cores: int
    timing: Timing
    goal: float | None = None
    by_wall: bool = False  # which ratio the goal is for: CPU seconds unless this is set
    flops: float = 0.0
    gflops: float = 0.0  # of one core's matrix product
    result: str = ""

    def cells(self) -> tuple[str, ...]:
        """The row's text, column by column."""
        pairs = (self.timing.cpu, self.timing.wall)
        times = [seconds(median(pair[side] for pair in kind)) for side in (0, 1) for kind in pairs]
        floor = self.flops / self.gflops / 1e9 if self.flops else 0.0
        distances = [
            f"{median(pair[side] for pair in self.timing.cpu) / floor:.1f}" if floor else ""
            for side in (0, 1)
        ]
        return (
            self.title, str(self.cores), *times, *(spread(kind) for kind in pairs), self.verdict(),
            seconds(floor) if floor else "", *distances, self.result,
        )  # fmt: skip

    def verdict(self) -> str:
        """The goal, and whether the median ratio reaches it."""
        if self.goal is None:
            return ""
        reached = ratio(self.timing.wall if self.by_wall else self.timing.cpu)[0]
        return f"{self.goal:g}: {'met' if reached >= self.goal else 'missed'}"


def seconds(value: float) -> str:
    """Seconds with three significant digits, and no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def spread(pairs: Sequence[tuple[float, float]]) -> str:
    """Median ratio with least and greatest, where there is more than one pair."""
    middle, least, greatest = ratio(pairs)
    return f"{middle:.2f}" + (f" ({least:.2f} .. {greatest:.2f})" if len(pairs) > 1 else "")


def show(part: str, lines: Sequence[Line], console: Console) -> None:
    """Prints one part's table: ours | theirs in one column, what came out below the title."""
    table = Table(title=part, title_justify="left", show_lines=True)
    table.add_column("what", ratio=1)
    for column in ("cores", "CPU s", "wall s", "theirs / ours", "goal", "/ floor"):
        table.add_column(column, justify="right", no_wrap=column != "theirs / ours")
    for line in lines:
        title, cores, our_cpu, our_wall, their_cpu, their_wall, cpu, wall, goal, _, *floors, result = (
            line.cells()
        )
        table.add_row(
            "\n".join(filter(None, (title, result))), cores, f"{our_cpu} | {their_cpu}",
            f"{our_wall} | {their_wall}", f"CPU {cpu}\nwall {wall}", goal.replace(": ", "\n"),
            " | ".join(filter(None, floors)),
        )  # fmt: skip
    console.print(table, highlight=False)


def write(page: Path, part: str, lines: Sequence[Line], head: str) -> None:
    """Puts one part's table between its two markers in a page; the rest of the page stays.

    Raises:
        ValueError: the page lacks the markers.
    """
    columns, rows = _filled(lines)
    write_rows(page, part, columns, rows, head)


def write_rows(
    page: Path, part: str, columns: Sequence[str], rows: Sequence[Sequence[str]], head: str
) -> None:
    """As `write`, for a table whose text is there already."""
    begin, end = f"<!-- {part} -->", f"<!-- /{part} -->"
    text = page.read_text()
    if begin not in text or end not in text:
        raise ValueError(f"{page}: expected the markers {begin} and {end}")
    table = [columns, tuple("---" for _ in columns), *rows]
    body = "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in table)
    before, after = text.split(begin)[0], text.split(end)[1]
    page.write_text(f"{before}{begin}\n{head}\n\n{body}\n{end}{after}")


def _filled(lines: Sequence[Line]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    rows = [line.cells() for line in lines]
    kept = [i for i in range(len(COLUMNS)) if any(row[i] for row in rows)]
    return tuple(COLUMNS[i] for i in kept), [tuple(row[i] for i in kept) for row in rows]
