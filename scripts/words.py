"""A judged claim of `claims.json` in the words of README.md and docs/results, and their tables."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

VERDICTS = {  # by what the paper expects of the claim for this data set and network; None: it does not make it
    True: {"supported": "as in the paper", "contradicted": "not as in the paper"},
    False: {"supported": "not as in the paper: so here too", "contradicted": "as in the paper: not so here"},
    None: {"supported": "holds", "contradicted": "does not hold"},
}
COUNTER = {"supported": "not as Section 3.2 says of this network", "contradicted": "the opposite, as Section 3.2 says of this network"}  # fmt: skip


def claims(folder: Path) -> list[dict[str, Any]]:
    """The judged claims of a report."""
    [study] = json.loads((folder / "report" / "claims.json").read_text())
    return list(study["claims"])


def said(claim: dict[str, Any]) -> str:
    """A verdict beside what the paper says."""
    words = COUNTER if "reports the opposite" in claim["expected"] else VERDICTS[claim["paper_expects"]]
    return words.get(claim["verdict"], "cannot be told")


def elsewhere(claim: dict[str, Any], judged: Iterable[dict[str, Any]]) -> str:
    """The other epsilons at which the claim is decided otherwise."""
    found: dict[str, list[str]] = {}
    for other in judged:
        decided = other["verdict"] in ("supported", "contradicted")
        if other["claim"] == claim["claim"] and decided and other["verdict"] != claim["verdict"]:
            found.setdefault(other["verdict"], []).append(f"{other['epsilon']:g}")
    return "".join(f"; {verdict} at ε = {', '.join(epsilons)}" for verdict, epsilons in found.items())


def number(claim: dict[str, Any]) -> str:
    """`+5.48 [3.1, 7.9]`, `× 1.37 [1.2, 1.6]`."""
    if claim["effect"] is None:
        return ""
    factor = claim["unit"].startswith("factor")
    sign, interval = "" if factor else "+", claim["interval"]
    ends = f" [{interval[0]:{sign}.3g}, {interval[1]:{sign}.3g}]" if interval else ""
    return f"{'× ' * factor}{claim['effect']:{sign}.3g}{ends}"


def effect(claim: dict[str, Any]) -> str:
    """`+5.48 [3.1, 7.9] points per doubling`, `× 1.37 [1.2, 1.6] per doubling`."""
    return f"{number(claim)} {claim['unit'].removeprefix('factor ')}" if claim["effect"] is not None else ""


def verdict_and_number(claim: dict[str, Any]) -> str:
    """`**as in the paper**<br>-2.02 [-2.73, -1.31]`; what cannot be told is not bold."""
    decided = claim["verdict"] in ("supported", "contradicted")
    lines = (f"**{said(claim)}**" if decided else said(claim), number(claim))
    return "<br>".join(line for line in lines if line)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table of Markdown."""
    columns = [*head]
    yield f"| {' | '.join(columns)} |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield f"| {' | '.join(row)} |"
