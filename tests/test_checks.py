"""Is it real? Records with known answers: honest ones pass, each kind of masking is caught by its check."""

import math
from typing import Any

import numpy as np
import pytest

from tests.synthetic import experiment, realistic, record
from tfsgd.measures.spec import Measurement
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.record import Record
from tfsgd.reporting.table.checks import (
    CHECKS,
    Check,
    Outcomes,
    checks,
    common_marks,
    said_of_common,
    standard_error,
)
from tfsgd.reporting.table.checks import failed as failing

LABELS = ("fgsm", "pgd", "pgd-80", "pgd-cool", "noise", "square", "transfer")
HONEST: dict[str, dict[float, float]] = {
    "fgsm": {0.05: 0.40, 0.1: 0.20, 0.5: 0.25},  # its one step overshoots
    "pgd": {0.05: 0.30, 0.1: 0.02, 0.5: 0.0},
    "pgd-80": {0.05: 0.298, 0.1: 0.018, 0.5: 0.0},
    "pgd-cool": {0.05: 0.295, 0.1: 0.019, 0.5: 0.0},  # on logits divided by a temperature
    "transfer": {0.05: 0.7, 0.1: 0.5, 0.5: 0.1},
    "noise": {0.05: 0.88, 0.1: 0.85, 0.5: 0.3},
    "square": {0.05: 0.35, 0.1: 0.05, 0.5: 0.0},
}
NAMES = [
    "worst_case",
    "pgd_vs_fgsm",
    "pgd_vs_noise",
    "pgd_vs_square",
    "pgd_vs_transfer",
    "epsilon",
    "large_epsilon",
    "steps",
    "loss_rises",
    "temperature",
    "zero_gradients",
    "float32",
]


def truth_of(trial: Trial) -> dict[str, Any]:
    return {**realistic(trial), "confidence": 0.8}


def made(
    labels: tuple[str, ...] = LABELS, zero: float = 0.02, rise: float = 0.001, **changes: dict[float, float]
) -> Record:
    """A trial's record with these attacks on 1,000 images; `changes` gives other accuracies."""
    accuracies = {label: HONEST[label] | changes.get(label.replace("-", "_"), {}) for label in labels}
    own = ("pgd-80", "pgd-cool", "transfer")
    attacks: dict[str, Any] = {
        label: {"epsilon": sorted(HONEST[label]), "examples": 1_000} for label in labels if label not in own
    }
    if "pgd-80" in labels:
        attacks["pgd-80"] = {**attacks["pgd"], "attack": "pgd", "steps": 80}
    of = experiment(attacks=attacks)

    def truth(trial: Trial) -> dict[str, Any]:
        return {**truth_of(trial), **accuracies}

    found = record(grid(of)[0], of, truth)
    measurements: list[Measurement] = []
    for m in found.measurements:
        if m.name == "zero_gradients":
            m = m.model_copy(update={"values": {"fraction": zero}})
        if m.label == "pgd":
            m = m.model_copy(update={"values": m.values | {"last_rise": rise}})
            others: dict[str, tuple[str, dict[str, Any]]] = {
                "pgd-cool": ("pgd", {"temperature": 100.0}),
                "transfer": ("transfer", {"source": "lr/x"}),
            }
            for label, (name, more) in others.items():
                if label in labels and m.epsilon is not None:
                    update = {
                        "name": name,
                        "label": label,
                        "settings": m.settings | more,
                        "values": {"accuracy": accuracies[label][m.epsilon]},
                        "identity": f"{len(measurements):064d}",
                    }
                    measurements.append(m.model_copy(update=update))
        measurements.append(m)
    return found.model_copy(update={"measurements": tuple(measurements)})


def check(record: Record, name: str) -> Check:
    [found] = [c for c in checks(record) if c.name == name]
    return found


def test_an_honest_trial_passes_every_check_and_the_figures_are_the_worst() -> None:
    found = checks(made())
    assert [c.name for c in found] == NAMES
    assert [c.passed for c in found] == [None] + [True] * 10 + [None]  # no worst case, no attack by softmax
    figures = {c.name: c.figure for c in found[1:-1]}
    assert figures == pytest.approx(
        {
            "pgd_vs_fgsm": 0.30 - 0.40, "pgd_vs_noise": 0.0 - 0.3, "pgd_vs_square": 0.0,
            "pgd_vs_transfer": 0.0 - 0.1, "epsilon": 0.0 - 0.018, "large_epsilon": 0.0, "steps": 0.002,
            "loss_rises": 0.001, "temperature": 0.0, "zero_gradients": 0.02,
        }
    )  # fmt: skip
    assert failing(made()) == []


@pytest.mark.parametrize(
    ("changes", "failed", "where"),
    [
        ({"fgsm": {0.1: 0.0}}, "pgd_vs_fgsm", "pgd at 0.1, fgsm at 0.1"),
        ({"noise": {0.05: 0.28}}, "pgd_vs_noise", "pgd at 0.05, noise at 0.05"),
        ({"square": {0.05: 0.28, 0.1: 0.05}}, "pgd_vs_square", "pgd at 0.05, square at 0.05"),
        ({"pgd_80": {0.05: 0.29}}, "steps", "pgd at 0.05, 40 and 80 steps"),
        ({"square": {0.5: 0.08}}, "epsilon", "square at 0.1, square at 0.5"),
        ({"transfer": {0.1: 0.01}}, "pgd_vs_transfer", "pgd at 0.1, transfer at 0.1"),
        ({"rise": 0.011}, "loss_rises", "pgd at 0.05"),
        ({"pgd_cool": {0.05: 0.28}}, "temperature", "pgd at 0.05, pgd-cool at 0.05"),
        ({"zero": 0.11}, "zero_gradients", "zero_gradients"),
    ],
)
def test_each_sign_is_caught_by_its_check_alone(changes: dict[str, Any], failed: str, where: str) -> None:
    masked = made(**changes)
    assert [c.name for c in failing(masked)] == [failed]
    found = check(masked, failed)
    assert found.where == where
    assert found.figure is not None
    assert found.limit is not None
    assert found.figure > found.limit


def test_a_failure_is_said_with_its_figure_and_in_which_attack_it_sheds_doubt() -> None:
    weak = check(made(square={0.05: 0.241, 0.1: 0.05}), "pgd_vs_square")
    assert weak.said == (
        "PGD is not the strongest attack here: Square finds more: 5.9 points (pgd at 0.05, square at 0.05)"
    )
    assert (weak.sign, weak.concerns("pgd"), weak.concerns("fgsm")) == ("weak attack", True, False)
    masked = check(made(zero=0.11), "zero_gradients")
    assert masked.said == "many images have a gradient of exactly zero: 11.0 % (zero_gradients)"
    assert (masked.sign, masked.concerns("pgd"), masked.concerns("fgsm")) == ("masked gradients", True, True)
    rises = check(made(rise=0.02), "loss_rises")
    assert rises.said == "the loss still rises at PGD's last step: by 0.02 nats (pgd at 0.05)"
    assert {c.name for c in checks(made())} == set(CHECKS)


@pytest.mark.parametrize(("misdirected", "passed"), [(0.02, True), (0.021, False)])
def test_an_attack_by_softmax_is_marked_where_float32_has_turned_its_gradient(
    misdirected: float, passed: bool
) -> None:
    """It alone; and what it leaves is not set beside what exact attacks leave."""
    honest = made()
    softmax = [
        m.model_copy(
            update={
                "label": f"{m.label}-softmax", "settings": m.settings | {"loss": "softmax_cross_entropy"},
                "values": m.values | {"accuracy": 0.9}, "identity": f"softmax{i}",
            }
        )
        for i, m in enumerate(honest.attacks)
        if m.name in ("fgsm", "pgd")
    ]  # fmt: skip
    gradients = [
        m.model_copy(update={"values": m.values | {"misdirected": misdirected}})
        if m.name == "zero_gradients"
        else m
        for m in honest.measurements
    ]
    found = honest.model_copy(update={"measurements": (*gradients, *softmax)})
    assert [c.name for c in failing(found)] == ([] if passed else ["float32"])
    one = check(found, "float32")
    assert (one.passed, one.figure, one.concerns("pgd")) == (passed, misdirected, False)
    if not passed:
        assert (one.concerns("pgd-softmax"), one.concerns("fgsm-softmax")) == (True, True)
        assert "points elsewhere in float32, at many images: 2.1 % (zero_gradients)" in one.said


def test_every_attack_that_fails_a_check_is_doubted() -> None:
    record = made(square={0.05: 0.1, 0.1: 0.05})
    besides = [
        m.model_copy(update={"label": "pgd-again", "identity": f"again{i}"})
        for i, m in enumerate(record.attacks)
        if m.label == "pgd"
    ]
    found = check(
        record.model_copy(update={"measurements": (*record.measurements, *besides)}), "pgd_vs_square"
    )
    assert {"pgd", "pgd-again"} < {*found.attacks}
    assert found.concerns("pgd-again")


def beside_robust(
    left: dict[str, int], worst: int = 200, norm: str = "Linf", rise: float = 0.02
) -> tuple[Record, Outcomes]:
    """A trial whose `robust` at 0.05 leaves the first `worst` of 1,000 images, and attacks that leave the first so many."""
    record = made(("fgsm", "pgd", "noise", "square"), rise=rise, square={0.05: 0.1, 0.1: 0.05})
    pgd = next(m for m in record.attacks if (m.label, m.epsilon) == ("pgd", 0.05))
    more = [
        pgd.model_copy(update={"name": name, "label": name, "identity": name} | changes)
        for name, changes in (
            ("robust", {"settings": {"epsilon": 0.05, "norm": norm}, "values": {"accuracy": worst / 1_000}}),
            (
                "minimal",
                {"settings": {"epsilon": 0.5, "norm": "Linf"}, "values": {"accuracy": 0.0, "censored": 0.0}},
            ),
        )
    ]
    found = {"robust": np.arange(1_000) < worst}
    for m in (*record.attacks, more[1]):
        if m.label in left and (m.epsilon == 0.05 or m.label == "minimal"):
            right = np.arange(m.examples) < left[m.label]
            found[m.identity] = (
                np.where(right, 0.06, 0.05).astype(np.float32) if m.label == "minimal" else right
            )
    return record.model_copy(update={"measurements": (*record.measurements, *more)}), found


def test_what_leaves_more_than_the_worst_case_of_the_same_images_is_weak_and_said_once() -> None:
    record, outcomes = beside_robust({"fgsm": 400, "pgd": 211, "noise": 900, "square": 210, "minimal": 212})
    [found] = failing(record, outcomes)
    assert (found.name, found.sign) == ("worst_case", "weak attack")
    assert found.attacks == pytest.approx({"fgsm": 0.2, "minimal": 0.012, "pgd": 0.011})
    assert found.said == (
        "other attacks break more of the same images: 20.0 points (fgsm at 0.05: 20.0, minimal at 0.05: 1.2, pgd at 0.05: 1.1)"
    )
    assert [found.concerns(a) for a in ("pgd", "fgsm", "square", "noise", "robust")] == [True] * 2 + [
        False
    ] * 3
    # It stands in the place of the other signs that PGD is weak; without outcomes these stand.
    assert {c.name for c in checks(record, outcomes) if c.passed is None} > {
        "pgd_vs_square",
        "loss_rises",
        "steps",
    }
    assert [c.name for c in failing(record)] == ["pgd_vs_square", "loss_rises"]


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_the_worst_case_is_that_of_the_same_norm(norm: str) -> None:
    record, outcomes = beside_robust({"pgd": 300}, norm=norm, rise=0.0)
    of_l2 = check(record, "worst_case") if norm == "L2" else None
    found = next(c for c in checks(record, outcomes) if c.name == "worst_case")
    assert found.passed is (norm == "L2")
    assert of_l2 in (None, Check("worst_case"))


def test_images_in_common_count_and_robust_itself_is_held_to_all_attacks() -> None:
    """Of 100 images PGD leaves none, where `robust` leaves all of them: 10 points of its 1,000."""
    record, outcomes = beside_robust({"pgd": 0})
    few = [m.model_copy(update={"examples": 100}) if m.label == "pgd" else m for m in record.measurements]
    pgd = next(m for m in few if (m.label, m.epsilon) == ("pgd", 0.05))
    [found] = failing(
        record.model_copy(update={"measurements": tuple(few)}),
        {**outcomes, pgd.identity: outcomes[pgd.identity][:100]},
    )
    assert found.attacks == pytest.approx({"robust": 0.1})


def test_a_mark_that_most_networks_carry_is_said_in_a_sentence() -> None:
    weak = [failing(*beside_robust({"fgsm": 400, "pgd": 192 + 14 * k})) for k in range(4)]  # PGD weak in 2
    attacks = ["fgsm", "pgd", "minimal"]
    assert common_marks(weak, attacks) == {"fgsm": 4}
    assert common_marks(weak[2:], attacks) == {"fgsm": 2, "pgd": 2}
    assert common_marks(weak[1:], attacks) == {"fgsm": 3}  # two thirds are not more than that
    assert said_of_common(weak, attacks) == [
        "FGSM: 4 of 4 networks fail a check, so no figure marks it: other attacks break more of the same images: "
        "20.0 points (in the median)"
    ]


def test_at_a_large_epsilon_more_than_chance_fails() -> None:
    """1,000 images of 10 classes: 0.1 and a standard error of 0.0095."""
    labels = ("pgd",)
    for accuracy, passed in ((0.109, True), (0.111, False)):
        some = made(labels, pgd={0.05: 0.30, 0.1: 0.2, 0.5: accuracy})
        assert check(some, "large_epsilon").passed is passed
        assert check(some, "large_epsilon").figure == accuracy


def test_a_difference_of_one_standard_error_is_none() -> None:
    """sqrt(0.4 · 0.6 / 1000) is 0.0155; where nothing is left, one image of 1,000."""
    for difference, passed in ((0.015, True), (0.016, False)):
        some = made(("fgsm", "pgd"), pgd={0.05: 0.40 + difference})
        assert check(some, "pgd_vs_fgsm").passed is passed
    assert standard_error(0.4, 1_000) == pytest.approx(0.0155, abs=1e-4)
    assert standard_error(0.0, 1_000) == pytest.approx(0.001)


@pytest.mark.parametrize(("square", "passed"), [(0.01, False), (0.06, True)])
def test_a_weaker_attack_on_fewer_images_counts_where_it_is_far_below(square: float, passed: bool) -> None:
    """PGD leaves 10 % of 1,000 images: three standard errors of the difference to 1 % of 200 are 3.5 points, to 6 % 5.8."""
    found = made(pgd={0.1: 0.1}, square={0.1: square})
    few = [m.model_copy(update={"examples": 200}) if m.label == "square" else m for m in found.measurements]
    told = check(found.model_copy(update={"measurements": tuple(few)}), "pgd_vs_square")
    assert told.passed is passed
    se = math.hypot(math.sqrt(0.1 * 0.9 / 1_000), math.sqrt(square * (1 - square) / 200))
    assert passed or told.limit == pytest.approx(3 * se)


def test_what_was_not_measured_neither_passes_nor_fails() -> None:
    some = made(("pgd",), pgd={})
    unknown = [
        "worst_case",
        "pgd_vs_fgsm",
        "pgd_vs_noise",
        "pgd_vs_square",
        "pgd_vs_transfer",
        "steps",
        "temperature",
    ]
    assert [c.name for c in checks(some) if c.passed is None] == [*unknown, "float32"]
    assert check(some, "steps") == Check("steps")
    few = experiment(attacks={"pgd": {"epsilon": [0.1]}, "fgsm": {"epsilon": [0.1], "examples": 500}})
    other_images = record(grid(few)[0], few, truth_of)
    assert check(other_images, "epsilon").passed is None
    assert check(other_images, "large_epsilon").passed is None
    diverged = record(grid(few)[0], few, lambda trial: {**truth_of(trial), "status": "diverged"})
    assert {c.passed for c in checks(diverged)} == {None}
