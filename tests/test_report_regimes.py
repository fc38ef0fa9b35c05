"""A cell is the whole of it: sweeps that give one label to different rules are never pooled."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.synthetic import Table, experiment, natural, write_sweep
from tfsgd.plan.regimes import Regime
from tfsgd.records.folder import LogFolder
from tfsgd.reporting.claims.claims import paper_attacks, shipped_claims
from tfsgd.reporting.claims.verdicts import Judgement, judge, judgements_of
from tfsgd.reporting.figures.by_batch_size import regimes
from tfsgd.reporting.page.page import write_report
from tfsgd.reporting.table.regime_labels import (
    Rules,
    expand_by_regime,
    paper_regimes,
    regimes_of,
    with_first_regime,
)
from tfsgd.reporting.table.studies import Study, read_studies

SIZES = [64, 512, 4096]
ATTACKS = [("fgsm", 0.3), ("pgd", 0.3)]


def rate(learning_rate: float, label: str = "LR", **more: Any) -> dict[str, Any]:
    return {label: {"learning_rate": learning_rate, "momentum": [0.0, 0.5], **more}}


def ratio(value: float, label: str = "LR/BS") -> dict[str, Any]:
    return {label: {"ratio": value, "momentum": [0.0, 0.5]}}


def trials(seed: int, regimes: dict[str, Any], slope: float = 0.0, **changes: Any) -> pd.DataFrame:
    """One sweep's table; accuracies change by `slope` per doubling of the batch size."""
    of = Table(experiment(**{"batch_sizes": SIZES, "regimes": regimes} | changes))
    made = of.filled(np.random.default_rng(seed), accuracy=slope * of.doublings, spread=0.3)
    return made.assign(folder=[f"{seed}/{name}" for name in made["folder"]])


def pooled(*tables: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True)


def rules_of(*configs: dict[str, Any]) -> Rules:
    """What the configs of several sweeps say."""
    found: dict[str, list[Regime]] = {}
    for config in configs:
        for label, rule in experiment(regimes=config).regimes.items():
            found.setdefault(label, []).append(rule)
    return found


def names(table: pd.DataFrame, *configs: dict[str, Any]) -> list[str]:
    return [regime.name for regime in regimes_of(table, rules_of(*configs))]


def chosen(table: pd.DataFrame, *configs: dict[str, Any]) -> dict[str, str]:
    found = paper_regimes(regimes_of(table, rules_of(*configs)))
    return {kind: regime.name for kind, regime in found.items()}


def judged(table: pd.DataFrame) -> dict[str, Judgement]:
    return {j.asked.key: j for j in judge(table, shipped_claims("mnist", "stdcnn", paper_attacks(0.3)))}


# Claims


@pytest.mark.parametrize("paper_first", [True, False])
def test_claims_are_judged_on_the_papers_rate_alone(paper_first: bool) -> None:
    paper, other = trials(1, rate(0.01), slope=-0.02), trials(2, rate(0.03), slope=0.02)
    found = judged(pooled(paper, other) if paper_first else pooled(other, paper))
    alone = judged(paper)
    for key in ("batch-lr-natural-accuracy", "batch-lr-fgsm-accuracy", "momentum-lr-natural-accuracy"):
        assert found[key].evidence == alone[key].evidence
    assert found["batch-lr-natural-accuracy"].verdict == "supported"
    assert found["batch-lr-natural-accuracy"].evidence.seeds == 3
    base = paper[paper["momentum"] == 0]
    slope = np.polyfit(np.log2(base["batch_size"]), base["test_accuracy"], 1)[0]
    assert found["batch-lr-natural-accuracy"].as_json()["effect"] == pytest.approx(100 * slope, rel=1e-5)
    assert judged(other)["batch-lr-natural-accuracy"].verdict == "contradicted"  # pooling would matter


def test_trials_at_another_rate_do_not_spoil_a_claim() -> None:
    bad = trials(2, rate(0.03)).assign(status="diverged")
    found = judged(pooled(trials(1, rate(0.01), slope=-0.02), bad))
    assert found["batch-lr-natural-accuracy"].verdict == "supported"
    assert found["batch-lr-natural-accuracy"].evidence.invalid == ""


# Which regimes there are


def test_rates_ratios_decays_and_epochs_under_one_label_are_regimes_of_their_own() -> None:
    rates = pooled(trials(1, rate(0.01)), trials(2, rate(0.03)))
    assert names(rates) == ["LR, rate 0.01", "LR, rate 0.03"]
    ratios = pooled(trials(1, ratio(0.00015625)), trials(2, ratio(0.0003125)))
    assert names(ratios) == ["LR/BS, ratio 0.00015625", "LR/BS, ratio 0.0003125"]
    decays = pooled(
        trials(1, rate(0.01, "Benchmark", halve_every_epochs=5)),
        trials(2, rate(0.01, "Benchmark", halve_every_epochs=20)),
        trials(3, rate(0.01, "Benchmark")),
    )
    assert names(decays) == [
        "Benchmark, not halved",
        "Benchmark, halved every 5",
        "Benchmark, halved every 20",
    ]
    budgets = pooled(trials(1, rate(0.01)), trials(2, rate(0.01), epochs=50))
    assert names(budgets) == ["LR, 50 epochs", "LR, 100 epochs"]
    for table in (rates, ratios, decays, budgets):
        found = expand_by_regime(table)
        assert len(found) == len(table)
        cells = found.groupby(["regime", "batch_size", "momentum"])
        assert set(cells["seed"].nunique()) == set(cells.size()) == {3}


def test_a_label_with_one_rule_is_the_regimes_name() -> None:
    assert names(trials(1, rate(0.02) | ratio(0.001) | rate(0.01, "slow"))) == ["LR", "LR/BS", "slow"]


def test_a_rate_and_a_ratio_under_one_label_share_a_batch_size() -> None:
    configs = (rate(0.01, "mine"), ratio(0.00015625, "mine"))
    table = pooled(trials(1, configs[0]), trials(2, configs[1], batch_sizes=[512, 4096]))
    assert names(table, *configs) == ["mine, ratio 0.00015625", "mine, rate 0.01"]
    rules = rules_of(*configs)
    sizes = expand_by_regime(table, rules).groupby("regime")["batch_size"].unique()
    assert {name: sorted(found) for name, found in sizes.items()} == {
        "mine, ratio 0.00015625": SIZES,
        "mine, rate 0.01": SIZES,
    }
    assert len(with_first_regime(table, rules)) == len(table)


def test_a_rule_that_is_neither_rate_nor_ratio_is_one_regime() -> None:
    for scale, kind in (("sqrt", "other"), ("linear", "LR/BS")):
        config = rate(0.01, scale, scale=scale, base_batch_size=64)
        [regime] = regimes_of(trials(1, config), rules_of(config))
        assert (regime.name, regime.kind) == (scale, kind)
    configs = [rate(0.01, "root", scale="sqrt", base_batch_size=b) for b in (64, 512)]
    both = pooled(*(trials(i, config) for i, config in enumerate(configs)))
    assert names(both, *configs) == ["root, sqrt 0.0004419417382", "root, sqrt 0.00125"]


def test_what_no_config_says_is_the_papers_by_its_label_alone() -> None:
    table = trials(1, rate(0.01) | ratio(0.00015625) | rate(0.01, "slow"))
    kinds = {regime.name: regime.kind for regime in regimes_of(table)}
    assert kinds == {"LR": "LR", "LR/BS": "LR/BS", "slow": "other"}


def test_a_trial_at_a_rate_that_the_config_has_no_more_is_pooled_with_none() -> None:
    now = rate(0.03)
    table = pooled(trials(1, rate(0.01)), trials(2, rate(0.02)), trials(3, now))
    assert names(table, now) == ["LR, rate 0.01", "LR, rate 0.02", "LR, rate 0.03"]
    assert len(expand_by_regime(table, rules_of(now))) == len(table)


def test_the_papers_regime_has_the_papers_rate_then_its_label_then_comes_first() -> None:
    halved = [rate(0.01, label, halve_every_epochs=n) for label, n in (("Benchmark", 20), ("as it was", 5))]
    for config, expected in (
        (rate(0.1) | rate(0.01, "slow"), {"LR": "slow"}),
        (rate(0.1, "fast") | rate(0.2), {"LR": "LR"}),
        (rate(0.1, "fast") | rate(0.2, "faster"), {"LR": "fast"}),
        (halved[0] | halved[1], {"Benchmark": "as it was"}),
    ):
        assert chosen(trials(1, config), config) == expected


def test_claims_compare_regimes_of_one_number_of_epochs() -> None:
    short = trials(1, rate(0.01) | ratio(0.00015625), epochs=50)
    assert chosen(pooled(short, trials(2, rate(0.01)))) == {"LR": "LR, 100 epochs"}
    assert chosen(pooled(short, trials(2, rate(0.01), epochs=20)))["LR/BS"] == "LR/BS"
    assert chosen(pooled(short, trials(2, rate(0.01), epochs=20)))["LR"] == "LR, 50 epochs"


# Figures, the page, and files that sweeps wrote


@pytest.fixture
def two_rates(tmp_path: Path) -> list[Path]:
    """Two sweeps that differ in the rate of LR alone."""
    changes: dict[str, Any] = {"batch_sizes": SIZES, "attacks": {"fgsm": {"epsilon": [0.3]}}}
    return [
        write_sweep(tmp_path / name, experiment(**changes | {"regimes": rate(learning_rate)}))
        for name, learning_rate in (("a", 0.03), ("b", 0.01))
    ]


def values(study: Study, curve: str) -> list[dict[str, str]]:
    drawings = [made for made in regimes(study) if not isinstance(made, str)]
    [drawing] = [drawing for drawing in drawings if drawing.name == "regimes-fgsm"]
    return [row for row in drawing.values if row["curve"] == curve and row["what"] == "natural accuracy"]


def test_each_rate_has_a_curve_with_its_own_seeds_and_interval(two_rates: list[Path]) -> None:
    [study] = read_studies(two_rates)
    for folder, learning_rate in zip(two_rates, (0.03, 0.01), strict=True):
        rows = values(study, f"LR, rate {learning_rate} (momentum 0)")
        assert [int(row["batch size"]) for row in rows] == SIZES
        for row in rows:
            accuracies = [
                natural(record)
                for record in LogFolder(folder).records()
                if (record.sgd.batch_size, record.sgd.momentum) == (int(row["batch size"]), 0.0)
            ]
            assert row["seeds"] == "3"
            assert row["mean"].split(" %")[0] == f"{100 * np.mean(accuracies):.1f}"
            ends = stats.t.interval(0.95, 2, np.mean(accuracies), stats.sem(accuracies))
            assert row["95 % interval"] == " to ".join(f"{100 * end:.1f} %" for end in ends)


def test_the_page_says_that_a_label_stands_for_two_regimes(two_rates: list[Path]) -> None:
    text = write_report(two_rates).read_text(encoding="utf-8")
    assert "2 regimes are labelled LR" in text
    assert "The regime LR, rate 0.01 does what the paper's LR does" in text
    assert "LR, rate 0.03, batch size 512" in text  # a point of the curvature figure


def test_attacks_of_any_label_are_drawn_and_judged(tmp_path: Path) -> None:
    """Also labels that begin like another one, or hold what separates an epsilon in a column's name."""
    folder = write_sweep(
        tmp_path / "sweep",
        experiment(
            batch_sizes=[64, 512],
            seeds=[0],
            regimes={"LR": {"learning_rate": 0.01, "momentum": [0.0]}},
            attacks={
                "pgd": {"epsilon": [0.1, 0.3]},
                "pgd_margin": {"attack": "pgd", "loss": "margin", "epsilon": [0.3]},
                "pgd-margin": {"attack": "pgd", "loss": "margin", "restarts": 2, "epsilon": [0.3]},
                "pgd 0.3/b": {"attack": "pgd", "restarts": 3, "epsilon": [0.3]},
                "bim": {"epsilon": [0.3]},
            },
        ),
    )
    page = write_report([folder], figures=["all"])
    [study] = read_studies([folder])
    found = judgements_of(study, study.attacks)
    assert [
        j.asked.attack for j in found if j.asked.key.startswith("batch-lr-") and j.asked.attack
    ] == study.attacks
    assert {j.asked.attack for j in judgements_of(study)} == {None, *paper_attacks(0.3)}
    text = page.read_text(encoding="utf-8")
    assert "On Fashion-MNIST with StdCNN: the regimes, BIM at ε = 0.3" in text
    figures = {path.name for path in (page.parent / "figures").iterdir()}
    assert {"regimes-pgd_margin.svg", "regimes-pgd-margin.svg", "curvature-bim.svg"} <= figures


def test_equal_updates_are_one_regime_whatever_the_epochs_of_each_batch_size() -> None:
    table = pooled(trials(1, rate(0.01), epochs=None, budget={"updates": 8600}))
    assert table["epochs"].nunique() > 1
    assert names(table) == ["LR"]
    both = pooled(
        trials(1, rate(0.01), epochs=None, budget={"updates": 8600}), trials(2, rate(0.01), epochs=50)
    )
    assert names(both) == ["LR, 8,600 updates", "LR, 50 epochs"]
    assert chosen(both) == {"LR": "LR, 50 epochs"}


# Rules that the paper has not


def decayed(seed: int, **keys: Any) -> pd.DataFrame:
    return trials(seed, rate(0.01), slope=-0.02).assign(**{"weight_decay": 0.0005, "nesterov": False} | keys)


def test_a_rule_beyond_the_papers_is_a_regime_of_its_own_under_any_label() -> None:
    both = pooled(trials(1, rate(0.01)), decayed(2), decayed(3, nesterov=True))
    found = regimes_of(both)
    assert [(regime.name, regime.kind) for regime in found] == [
        ("LR", "LR"),
        ("LR, weight decay 0.0005", "other"),
        ("LR, weight decay 0.0005, Nesterov", "other"),
    ]
    assert chosen(both) == {"LR": "LR"}
    assert chosen(decayed(1)) == {}
    rows = expand_by_regime(both)
    assert set(rows.groupby("regime").size()) == {len(both) // 3}


@pytest.mark.parametrize("status", ["completed", "diverged"])
def test_no_claim_is_judged_by_such_trials(status: str) -> None:
    paper = trials(1, rate(0.01) | ratio(0.00015625))
    alone, both = judged(paper), judged(pooled(decayed(2).assign(status=status), paper))
    assert {key: j.evidence for key, j in alone.items()} == {key: j.evidence for key, j in both.items()}
    assert all(j.evidence.p is None for j in judged(decayed(1)).values())
