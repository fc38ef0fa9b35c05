"""The report of the committed records, frozen: another structure of the code gives the same numbers, words and figures.

New records change them as they should: `python -m tests.test_golden` freezes them anew.
"""

import functools
import gzip
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import pytest

from tfsgd.reporting.claims.verdicts import judgements_of
from tfsgd.reporting.figures.registry import figures
from tfsgd.reporting.figures.style import Look
from tfsgd.reporting.page.output_files import records_table
from tfsgd.reporting.table.studies import Study, read_studies

RESULTS = Path("docs/results")
STUDIES = sorted(path.parent.name for path in RESULTS.glob("*/experiment.yaml"))
FROZEN = Path("tests/golden/report.json.gz")


def table_of(study: Study) -> list[list[str]]:
    """records.csv: the header, and every value as it is written there."""
    table = records_table([study], RESULTS)
    return [
        [*map(str, table)],
        *(["" if pd.isna(v) else str(v) for v in row] for row in table.to_numpy(object)),
    ]


def claims_of(study: Study) -> list[dict[str, Any]]:
    """claims.json, without the prose on the tests."""
    found = (judgement.as_json() for judgement in judgements_of(study))
    return [{key: value for key, value in claim.items() if key != "test"} for claim in found]


def figures_of(study: Study) -> dict[str, str]:
    """Name -> a hash of the words and values of every figure; what is not drawn stands under its reason."""
    found: dict[str, str] = {}
    with matplotlib.rc_context(Look().style):
        for result in (result for one in figures().values() for result in one.function(study)):
            if isinstance(result, str):
                found[result] = "not drawn"
                continue
            said = [result.title, result.caption, result.values, list(result.hover.values())]
            found[result.name] = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]
            result.figure.clear()
    return found


PARTS: dict[str, Callable[[Study], Any]] = {"table": table_of, "claims": claims_of, "figures": figures_of}


@functools.cache
def study_of(name: str) -> Study:
    [study] = read_studies([RESULTS / name])
    return study


def part_of(name: str, part: str) -> Any:
    return json.loads(json.dumps(PARTS[part](study_of(name))))


def differences(frozen: Any, now: Any, where: str = "") -> list[str]:
    """Where two trees of JSON differ; numbers may by rounding."""
    if isinstance(frozen, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*frozen, *now])
        return [d for k in keys for d in differences(frozen.get(k), now.get(k), f"{where}/{k}")]
    if isinstance(frozen, list) and isinstance(now, list) and len(frozen) == len(now):
        pairs = enumerate(zip(frozen, now, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{where}/{i}")]
    if isinstance(frozen, float) and isinstance(now, float) and math.isclose(frozen, now, rel_tol=1e-5):
        return []
    return [] if frozen == now else [f"{where}: {frozen!r} -> {now!r}"]


@pytest.fixture(scope="module")
def frozen() -> Any:
    return json.loads(gzip.decompress(FROZEN.read_bytes()))


def test_every_study_is_frozen(frozen: Any) -> None:
    assert sorted(frozen) == STUDIES


# Figures draw for half a minute where there are many networks: of the large studies `make faults` looks at them.
SMALL = ["cifar10_c1", "mnist_stdcnn"]
OF_A_STUDY = [
    pytest.param(name, part, marks=[pytest.mark.long] if part == "figures" and name not in SMALL else [])
    for name in STUDIES
    for part in PARTS
]


@pytest.mark.parametrize(("name", "part"), OF_A_STUDY)
def test_the_report_is_what_it_was(name: str, part: str, frozen: Any) -> None:
    assert differences(frozen[name][part], part_of(name, part)) == []


def main() -> None:
    """Freezes the reports as they are now."""
    reports = {name: {part: part_of(name, part) for part in PARTS} for name in STUDIES}
    text = json.dumps(reports, ensure_ascii=False, indent=0)
    FROZEN.parent.mkdir(exist_ok=True)
    FROZEN.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
