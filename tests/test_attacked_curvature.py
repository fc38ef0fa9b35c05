"""Curvature and gradients at the images that an attack leaves."""

from typing import Any

import keras
import numpy as np
import pytest

from tests.conftest import Config
from tests.own import refusal
from tfsgd.data.dataset import Split, Splits
from tfsgd.measures.attacks.fgsm import FGSM
from tfsgd.measures.curvature.gradient_norm import GradientNorm
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.measures.curvature_spec import CurvatureSpec
from tfsgd.measures.spec import Measurement, Request
from tfsgd.networks.hessian import HessianVectorProduct
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.requests import curvature

EXAMPLES = 20


@pytest.fixture(scope="module")
def subject() -> MeasuredNetwork:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    network = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Flatten(), layers.Dense(5, "relu"), layers.Dense(3)]
    )
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (30, 6, 6, 1), np.uint8), np.arange(30) % 3)
    return MeasuredNetwork(network, Splits(split, split, split, "0" * 64, "drawn"))


def attacked(spec: CurvatureSpec, *epsilons: float) -> CurvatureSpec:
    return spec.model_copy(update={"attacked": FGSM(attack="fgsm", epsilon=epsilons)})


def measured(spec: CurvatureSpec, subject: MeasuredNetwork) -> list[Measurement]:
    return [
        r.measure_on(subject) for r in curvature({"here": spec.model_copy(update={"examples": EXAMPLES})})
    ]


def test_at_epsilon_0_the_numbers_are_those_of_the_images_as_they_are(subject: MeasuredNetwork) -> None:
    [plain] = measured(TopEigenvalue(measure="top_eigenvalue"), subject)
    zero, moved = measured(attacked(TopEigenvalue(measure="top_eigenvalue"), 0.0, 0.1), subject)
    assert zero.values == plain.values
    assert moved.values["value"] != plain.values["value"]
    assert [m.label for m in (plain, zero, moved)] == ["here", "here-0", "here-0.1"]
    assert len({m.identity for m in (plain, zero, moved)}) == 3
    assert "attacked" not in plain.settings
    assert moved.settings["attacked"] == {"attack": "fgsm", "epsilon": 0.1, "revision": 2}


def test_it_is_the_measure_on_what_the_attack_leaves(subject: MeasuredNetwork) -> None:
    images, labels = subject.images("train", EXAMPLES)
    there = FGSM(epsilon=(0.1,)).run(subject.victim, images, labels, 0.1, 0).images
    product = HessianVectorProduct(subject.network, there, labels)
    expected = TopEigenvalue().run(product, product.dimension, 0)
    [found] = measured(attacked(TopEigenvalue(measure="top_eigenvalue"), 0.1), subject)
    assert found.values["value"] == expected.value
    [before], [after] = measured(GradientNorm(), subject), measured(attacked(GradientNorm(), 0.1), subject)
    assert after.values["loss"] > before.values["loss"] + 0.1


def test_where_the_weights_have_changed_the_images_are_found_anew(subject: MeasuredNetwork) -> None:
    kept = subject.network.get_weights()
    spec = attacked(GradientNorm(measure="gradient_norm"), 0.1)
    [before] = measured(spec, subject)
    subject.network.set_weights([w[::-1].copy() for w in kept])
    [there] = measured(spec, subject)
    [fresh] = measured(spec, MeasuredNetwork(subject.network, subject.splits))
    subject.network.set_weights(kept)
    assert there.values == fresh.values != before.values
    assert measured(spec, subject)[0].values == before.values


def test_what_no_attack_is_asked_of_is_identified_as_it_was() -> None:
    """The identity that λ1 had before there were attacks in it."""
    request = Request("top_eigenvalue", "hessian", TopEigenvalue(), "train", 5_000)
    assert TopEigenvalue().settings().keys() == {"mode", "method", "max_iterations", "tolerance"}
    assert "attacked" not in TopEigenvalue().model_dump()
    assert request.identity == IDENTITY


IDENTITY = "e300db23179b513147768ef4dbad735737a92dce12cbc5442dd4aa8dc9e90d75"


def test_a_config_asks_for_it_and_its_resolved_form_says_it_again(config: Config) -> None:
    block = {
        "measure": "top_eigenvalue",
        "examples": 50,
        "attacked": {"attack": "pgd", "epsilon": [0.0, 0.05], "steps": 3},
    }
    experiment = load_experiment(config(curvature={"there": block}))
    again = load_experiment(config(curvature=experiment.model_dump(mode="json")["curvature"]))
    assert again.curvature == experiment.curvature
    found = curvature(again.curvature)
    assert [r.label for r in found] == ["there-0", "there-0.05"]
    settings: Any = found[1].spec.settings()["attacked"]
    assert settings == {"attack": "pgd", "epsilon": 0.05, "steps": 3, "revision": 2}


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("{epsilon: [0.1]}", "curvature.trace.attacked.attack: expected one of apgd, bim, fgsm, minimal"),
        ("{attack: pgdd, epsilon: [0.1]}", "curvature.trace.attacked.attack: expected one of apgd"),
        ("{attack: pgd}", "curvature.trace.attacked.epsilon: missing"),
        (
            "{attack: pgd, epsilon: [0.1], steps: 0}",
            "curvature.trace.attacked.steps: expected greater than or equal to 1",
        ),
        ("{attack: pgd, epsilon: [0.1], examples: 5}", "curvature.trace.attacked.examples: expected none"),
    ],
)
def test_an_attack_that_cannot_be_is_refused_in_a_line(config: Config, block: str, said: str) -> None:
    assert said in refusal(
        lambda: load_experiment(config(), (f"curvature.trace={{examples: 50, attacked: {block}}}",))
    )


def test_lambda1_itself_is_of_images_as_they_are(config: Config) -> None:
    said = refusal(lambda: load_experiment(config(), ("hessian.attacked={attack: fgsm, epsilon: [0.1]}",)))
    assert "hessian.attacked" in said
