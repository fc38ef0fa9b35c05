"""The table that sets regimes beside each other, and regimes that play one of the paper's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Config
from tests.synthetic import experiment, realistic, write_sweep
from tfsgd.errors import RequestError
from tfsgd.plan.reading import load_experiment
from tfsgd.reporting.claims.verdicts import judgements_of
from tfsgd.reporting.page.trial_table import comparison_of, comparison_table
from tfsgd.reporting.table.regime_labels import paper_regimes
from tfsgd.reporting.table.studies import Study, read_studies

DECAYED: dict[str, Any] = {"learning_rate": 0.01, "momentum": [0.0, 0.9], "weight_decay": 0.1}


def study_of(tmp_path: Path, **changes: Any) -> Study:
    [study] = read_studies([write_sweep(tmp_path / "logs", experiment(**changes), realistic)])
    return study


def test_each_row_is_a_cell_of_the_records(tmp_path: Path) -> None:
    study = study_of(tmp_path, seeds=[0, 1, 2], batch_sizes=[64, 256])
    rows = comparison_of(study)
    cells = study.by_regime.groupby(["batch_size", "regime", "momentum"])
    assert len(rows) == len(cells)
    [first] = [row for row in rows if (row["batch size"], row["regime"]) == ("64", "LR, momentum 0")]
    of_it = cells.get_group((64, "LR", 0.0))
    assert first["seeds"] == "3"
    accuracy = 100 * of_it["test_accuracy"]
    assert first["natural accuracy"] == f"{accuracy.mean():.1f} ± {accuracy.std():.1f} %"
    logs = np.log2(of_it["eigenvalue"])
    assert first["λ1"] == f"{2 ** logs.mean():.3g} × {2 ** logs.std():.2f}"
    assert comparison_table(study).count(r"\\") == len(rows) + 1


def test_a_rule_beyond_the_papers_plays_what_the_config_says(tmp_path: Path) -> None:
    """It is judged in place of the paper's; without a role nothing is, since it is none of the paper's."""
    plain = {"learning_rate": 0.01, "momentum": [0.0, 0.9]}
    sizes = [64, 256, 1024]
    both = study_of(
        tmp_path / "both", batch_sizes=sizes, regimes={"LR": plain, "Decayed": DECAYED | {"plays": "LR"}}
    )
    assert paper_regimes(both.regimes)["LR"].label == "Decayed"
    alone = study_of(tmp_path / "alone", batch_sizes=sizes, regimes={"Decayed": DECAYED | {"plays": "LR"}})
    nobody = study_of(tmp_path / "nobody", batch_sizes=sizes, regimes={"Decayed": DECAYED})
    effects = [
        {j.asked.key: j.evidence.effect for j in judgements_of(study) if j.evidence.unit}
        for study in (both, alone, nobody)
    ]
    assert effects[0] == effects[1] != {}
    assert effects[2] == {}


def test_a_role_is_played_once(config: Config) -> None:
    regimes = {"A": DECAYED | {"plays": "LR"}, "B": DECAYED | {"plays": "LR", "weight_decay": 0.2}}
    with pytest.raises(RequestError, match=r"regimes: plays: expected each once, received LR, LR"):
        load_experiment(config(regimes=regimes))
    with pytest.raises(
        RequestError, match=r"regimes\.A\.plays: expected 'LR', 'LR/BS' or 'Benchmark', received 'LRBS'"
    ):
        load_experiment(config(regimes={"A": DECAYED | {"plays": "LRBS"}}))
