"""Attacks and measures of one's own that break their promises are held to them, and spoil nothing else."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfsgd
from tests.conftest import TINY
from tfsgd.data.dataset import Split, Splits
from tfsgd.errors import RequestError
from tfsgd.measures.attack import AttackSpec, Outcome, run_checked
from tfsgd.measures.attacks.fgsm import FGSM
from tfsgd.measures.curvature_spec import Curvature, CurvatureSpec
from tfsgd.measures.spec import Measurement, Request
from tfsgd.networks.compiled_victim import CompiledVictim
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.plan.config import Measuring
from tfsgd.plan.yaml_io import to_yaml
from tfsgd.records.atomic import from_json, to_json
from tfsgd.records.folder import LogFolder

IMAGES = np.random.default_rng(0).random((12, 4, 4, 1), np.float32)
LABELS = np.arange(12) % 3


def network(*layers: Any) -> Any:
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 1))
    x = image
    for layer in layers:
        x = layer(x)
    return keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))


class Changes(AttackSpec):
    what: str

    def run(self, victim: Any, images: Any, labels: Any, epsilon: float, seed: int) -> Outcome:
        correct = victim.predict(images) == labels
        if self.what == "images":
            images[:] = 1 - images
        if self.what == "labels":
            labels += 1
        honest = Outcome(images.copy(), correct)
        return {
            "few": replace(honest, correct=correct[:5]),
            "integers": replace(honest, correct=correct.astype(int)),
            "square": replace(honest, correct=correct[:, None] == correct[None]),
            "inverted": replace(honest, correct=~correct),
            "all broken": replace(honest, correct=np.zeros(12, bool)),
            "all kept": replace(honest, correct=np.ones(12, bool)),
            "value": replace(honest, values={"accuracy": 0.123}),
            "shape": replace(honest, images=images[:5]),
        }.get(self.what, honest)


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("images", "read-only"), ("labels", "read-only"), ("few", "`correct` of bool, shape \\(5,\\)"),
        ("integers", "`correct` of int64"), ("square", "shape \\(12, 12\\)"), ("value", "a value called accuracy"),
        ("shape", "images of the shape"),
    ],
)  # fmt: skip
def test_an_attack_is_held_to_its_promises(what: str, error: str) -> None:
    images, labels = IMAGES.copy(), LABELS.copy()
    spec = Changes(what=what, epsilon=(0.1,))
    with pytest.raises((TypeError, ValueError), match=error):
        run_checked(spec, CompiledVictim.of(network()), images, labels, 0.1, 0)
    assert np.array_equal(images, IMAGES)
    assert np.array_equal(labels, LABELS)
    images[:], labels[:] = 0, 0  # the caller's own arrays may be written to as before


@pytest.mark.parametrize("what", ["inverted", "all broken", "all kept"])
def test_what_an_attack_says_of_its_images_is_what_the_network_says(what: str) -> None:
    victim = CompiledVictim.of(network())
    with pytest.raises(ArithmeticError, match="is not what the network says of the perturbed images"):
        run_checked(Changes(what=what, epsilon=(0.1,)), victim, IMAGES, LABELS, 0.1, 0)


def test_an_honest_attack_passes() -> None:
    outcome = run_checked(FGSM(epsilon=(0.1,)), CompiledVictim.of(network()), IMAGES, LABELS, 0.1, 0)
    assert outcome.correct.shape == (12,)
    assert np.array_equal(
        run_checked(
            Changes(what="", epsilon=(0.1,)), CompiledVictim.of(network()), IMAGES, LABELS, 0.1, 0
        ).images,
        IMAGES,
    )


def test_a_measure_cannot_take_the_place_of_its_own_number() -> None:
    with pytest.raises(TypeError, match="`more` with value"):
        Curvature(1.0, 0.1, 3, True, {"value": 99.0}).values()


class Says(CurvatureSpec):
    size: int

    def run(self, matvec: Any, dimension: int, seed: int) -> Any:
        return float(np.sum(matvec(np.ones(self.size))))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (51, "the measure returned float, expected a Curvature"),
        (7, r"a vector of shape \(51,\) is needed, received \(7,\)"),
    ],
)
def test_a_measure_is_told_what_it_gave_wrong(size: int, message: str) -> None:
    split = Split((255 * IMAGES).astype(np.uint8), LABELS)
    subject = MeasuredNetwork(network(), Splits(split, split, split, "", ""))
    request = Request("m:Says", "says", Says(size=size), "train", 12)
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        request.measure_on(subject)


class Centred(keras.layers.Layer):
    """As BatchNorm does with the moments of the batch at hand."""

    def call(self, x: Any) -> Any:
        return x - keras.ops.mean(x, axis=0)


@pytest.mark.parametrize(("value", "error"), [(np.nan, 0.0), (np.float32(np.inf), 0.0), (1.0, -0.1)])
def test_what_has_converged_is_a_number_with_an_error(value: float, error: float) -> None:
    with pytest.raises(ValueError, match="says that it has converged, with value"):
        Curvature(value, error, 1, True).values()
    assert Curvature(value, error, 1, False).values()["converged"] is False


def test_a_network_whose_outputs_depend_on_the_batch_is_refused() -> None:
    with pytest.raises(RequestError, match="do not depend on the others of its batch"):
        tfsgd.attack(network(Centred()), IMAGES, LABELS, "fgsm", epsilon=0.1)
    usual = network(keras.layers.BatchNormalization())
    assert tfsgd.attack(usual, IMAGES, LABELS, "fgsm", epsilon=0.1).correct.shape == (12,)


def test_the_label_of_lambda_1_is_its_own() -> None:
    attacks = {"fgsm": {"epsilon": [0.1]}}
    raw = {"dataset": "mnist", "attacks": attacks, "curvature": {"hessian": {"measure": "trace"}}}
    with pytest.raises(ValueError, match="hessian: expected another label"):
        Measuring.model_validate(raw)
    recorded = Measuring.model_validate(raw, context={"recorded": True})  # of a sweep before it was refused
    assert set(recorded.curvature) == {"hessian"}


RAISES = """
from tfsgd.measures.attack import AttackSpec
class Raises(AttackSpec):
    def run(self, victim, images, labels, epsilon, seed):
        raise ValueError("not today")
"""


def images_file(folder: Path) -> Path:
    rng = np.random.default_rng(1)
    arrays: dict[str, Any] = {
        f"{split}_images": rng.integers(0, 256, (30, 4, 4, 1)).astype(np.uint8) for split in ("train", "test")
    }
    np.savez(folder / "d.npz", **arrays, train_labels=np.arange(30) % 3, test_labels=np.arange(30) % 3)
    return folder / "d.npz"


def test_what_cannot_be_measured_on_one_network_leaves_the_others_numbers(
    run_measure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images_file(tmp_path)
    (tmp_path / "raises.py").write_text(RAISES)
    attacks = "attacks={mine: {attack: 'raises:Raises', epsilon: [0.1]}, fgsm: {epsilon: [0.1]}}"
    curvature = "hessian={examples: 20, max_iterations: 2, tolerance: 0.9}"
    good, broken = network(keras.layers.Conv2D(2, 3)), network(keras.layers.Conv2D(2, 3))
    broken.set_weights([np.full_like(w, np.nan) for w in broken.get_weights()])
    good.save(tmp_path / "good.keras")
    broken.save(tmp_path / "broken.keras")
    monkeypatch.chdir(tmp_path)
    asked = ["--dataset", "d.npz", "--set", attacks, "--set", curvature, "--out", "o.json"]
    code, _, err = run_measure("good.keras", "broken.keras", *asked)
    assert code == 1, err
    assert "mine 0.1 failed: ValueError: not today" in err
    assert "Traceback" not in err
    text = Path("o.json").read_text()
    assert '"fgsm"' in text
    assert "ValueError: not today" in text
    Path("o.json").unlink()
    Path("o.json").mkdir()
    code, said, err = run_measure("good.keras", *asked)
    assert (code, said) == (2, "")
    assert "--out" in err


def test_an_attack_that_fails_in_a_sweep_stands_in_no_others_way(run_sweep: Any, tmp_path: Path) -> None:
    (tmp_path / "raising.py").write_text(RAISES)
    attacks = {"mine": {"attack": "raising:Raises", "epsilon": [0.1, 0.2]}, "fgsm": {"epsilon": [0.1]}}
    one = {"regimes": {"LR": {"learning_rate": 0.01, "momentum": [0.0]}}, "export": True, "attacks": attacks}
    (tmp_path / "c.yaml").write_text(to_yaml(TINY | one))
    code, _, err = run_sweep(tmp_path / "c.yaml")
    assert code == 1, err
    where = f"({tmp_path / 'raising.py'}, line 5)"
    both = f"mine 0.1: ValueError: not today {where}; mine 0.2: ValueError: not today {where}"
    assert f"failed: lr/b0064-m0.0-s0: {both} (traceback in" in err
    failure = json.loads((tmp_path / "logs/tiny/trials/lr/b0064-m0.0-s0/failure.json").read_text())
    assert failure["error"] == both
    assert "in run" in failure["traceback"], "where in one's own code"
    [record] = LogFolder(tmp_path / "logs" / "tiny").records()
    assert [m.label for m in record.attacks] == ["fgsm"]
    code, out, _ = run_sweep(tmp_path / "c.yaml", "--set", "attacks.mine=null")
    assert code == 0
    assert "0 to train" in out


MIXED = """
import numpy as np
from tfsgd.measures.attack import AttackSpec, Outcome
from tfsgd.measures.curvature_spec import Curvature, CurvatureSpec
class Exits(AttackSpec):
    def run(self, victim, images, labels, epsilon, seed):
        raise SystemExit(0)
class Many(AttackSpec):
    def run(self, victim, images, labels, epsilon, seed):
        assert len(images) > 10, "not with so few"
        found = {"share": np.float32(0.5), "flag": np.bool_(True), "each": np.arange(3)}
        return Outcome(images, victim.predict(images) == labels, found)
class Odd(CurvatureSpec):
    def run(self, matvec, dimension, seed):
        return Curvature("large", 0.0, 1, True)
"""


def test_code_that_exits_or_needs_more_images_or_gives_numpys_numbers(run_sweep: Any, tmp_path: Path) -> None:
    (tmp_path / "mixed.py").write_text(MIXED)
    one = {"regimes": {"LR": {"learning_rate": 0.01, "momentum": [0.0]}}, "export": True}
    attacks = {name.lower(): {"attack": f"mixed:{name}", "epsilon": [0.1]} for name in ("Exits", "Many")}
    (tmp_path / "c.yaml").write_text(to_yaml(TINY | one | {"attacks": attacks}))
    code, out, err = run_sweep(tmp_path / "c.yaml")
    assert (code, err.count("\n")) == (1, 2), err
    assert "warning: lr/b0064-m0.0-s0: no picture of the attacks: SystemExit: 0" in err
    assert "failed: lr/b0064-m0.0-s0: exits 0.1: SystemExit: 0" in err
    code, out, err = run_sweep(tmp_path / "c.yaml", "--set", "attacks.exits=null")
    assert (code, err) == (0, "")
    assert "1 complete" in out, "what is measured is not measured again, and a picture is no reason to fail"
    assert '"label": "many"' in next((tmp_path / "logs").rglob("manifest.json")).read_text()
    [record] = LogFolder(tmp_path / "logs" / "tiny").records()
    [many] = record.attacks
    assert (many.values["share"], many.values["flag"], many.values["each"]) == (0.5, True, [0, 1, 2])
    code, _, err = run_sweep(
        tmp_path / "c.yaml",
        "--set",
        "attacks.exits=null",
        "--set",
        "curvature.odd={measure: 'mixed:Odd', examples: 20}",
    )
    assert code == 1
    assert "mixed:Odd returned values.value: expected a number or null, found 'large'" in err


NORMED = """
import keras
def net(image_shape, classes):
    image = keras.Input(image_shape)
    x = keras.layers.BatchNormalization()(keras.layers.Flatten()(image))
    return keras.Model(image, keras.layers.Dense(classes)(x))
"""


def test_a_sweep_takes_lambda_1_in_training_mode(run_sweep: Any, tmp_path: Path) -> None:
    (tmp_path / "normed.py").write_text(NORMED)
    one = {
        "regimes": {"LR": {"learning_rate": 0.01, "momentum": [0.9]}},
        "model": "normed:net",
        "export": True,
    }
    (tmp_path / "c.yaml").write_text(to_yaml(TINY | one))
    code, _, err = run_sweep(
        tmp_path / "c.yaml", "--set", "hessian.mode=training", "--set", "hessian.every_epochs=1"
    )
    assert (code, err) == (0, "")
    folder = LogFolder(tmp_path / "logs" / "tiny")
    [trained] = folder.records()
    assert trained.batch_norm
    assert trained.top_eigenvalue is not None
    assert trained.top_eigenvalue.settings["mode"] == "training"
    code, _, err = run_sweep(
        tmp_path / "c.yaml", "--set", "hessian.mode=training", "--set", "hessian.every_epochs=1", "--set",
        "curvature.again={measure: top_eigenvalue, mode: training, examples: 49, max_iterations: 5, tolerance: 0.5}",
    )  # fmt: skip
    assert (code, err) == (0, "")


# What is returned fits, and what is raised is one line


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"each": np.zeros(300_000)}, "expected at most 200,000 numbers, found 300,0"),
        ({"table": np.zeros((500, 500))}, "expected at most 200,000 numbers, found 250,0"),
        ({"deep": [[[[1]]]]}, "expected lists in at most 3 lists"),
        ({"large": 10**400}, "expected a whole number of at most 64 bits"),
        ({"said": "x" * 201}, "expected a word of at most 200 printable characters"),
        ({"said": "\x1b[2J"}, "expected a word of at most 200 printable characters"),
        ({"\x1b[2J": 1}, "expected names of at most 200 printable characters"),
        ({"thing": object()}, "expected a number, a truth value, a word, null, or a list"),
    ],
)
def test_what_a_record_could_not_give_back_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    request = Request("my:Mine", "mine", FGSM(epsilon=(0.1,)), "test", 12, epsilon=0.1)
    with pytest.raises(TypeError, match="my:Mine returned ") as refused:
        request.measured({"accuracy": 0.5, "clean_accuracy": 0.5, **values}, 1.0)
    assert message in str(refused.value)
    assert str(refused.value).isprintable()


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=20),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=220),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=6,
        ),
        max_size=3,
    )
)
def test_what_is_taken_is_read_again(values: dict[str, Any]) -> None:
    request = Request("my:Mine", "mine", FGSM(epsilon=(0.1,)), "test", 12, epsilon=0.1)
    try:
        found = request.measured({**values, "accuracy": 0.5, "clean_accuracy": 0.5}, 1.0)
    except TypeError:
        return
    text = to_json(found.model_dump(mode="json"))
    assert Measurement.model_validate(from_json(text)) == found


class Unlocks(Changes):
    """Takes the lock from what it was given, and from what that is a view of."""

    def run(self, victim: Any, images: Any, labels: Any, epsilon: float, seed: int) -> Outcome:
        honest = Outcome(images.copy(), victim.predict(images) == labels)
        for array in (images, labels):
            while array is not None:
                array.flags.writeable = True
                array[...] = 0
                array = array.base
        return honest


def test_an_attack_that_unlocks_its_images_changes_no_number_after_it() -> None:
    given = Split((IMAGES * 255).astype(np.uint8), LABELS)
    subject = MeasuredNetwork(network(), Splits(given, given, given, "", ""))
    plain = Request("fgsm", "fgsm", FGSM(epsilon=(0.1,)), "test", 12, epsilon=0.1)
    before = plain.measure_on(subject).values
    unlocks = Unlocks(what="nothing", epsilon=(0.1,))
    Request("my:Unlocks", "mine", unlocks, "test", 12, epsilon=0.1).measure_on(subject)
    assert plain.measure_on(MeasuredNetwork(subject.network, subject.splits)).values == before
    subject._clean.clear()
    assert plain.measure_on(subject).values == before
    subject._clean.clear()
    subject.network.layers[-1].bias.assign([9.0, 0.0, 0.0])  # what code of one's own might do
    subject.evaluate.logits = lambda split: np.eye(3)[LABELS]  # type: ignore[method-assign]
    with pytest.raises(ArithmeticError, match="clean accuracy on 12 test images is"):
        subject.clean("test", 12)


ENDS = """
from tfsgd.measures.attack import AttackSpec
class Mute(BaseException):
    def __str__(self): raise OSError
class Loud(Exception):
    def __str__(self): return "\\x1b[2J\\x07 two\\nlines"
class Ends(AttackSpec):
    how: str
    def run(self, victim, images, labels, epsilon, seed):
        raise {"interrupt": KeyboardInterrupt(), "exit": SystemExit(3), "base": BaseException("all"), "mute": Mute(),
               "loud": Loud(), "generator": GeneratorExit()}[self.how]
"""


def test_whatever_code_of_ones_own_raises_is_one_line_with_its_file_and_line(
    run_measure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images_file(tmp_path)
    (tmp_path / "ends.py").write_text(ENDS)
    network().save(tmp_path / "n.keras")
    monkeypatch.chdir(tmp_path)
    ways = {
        "interrupt": "KeyboardInterrupt", "exit": "SystemExit: 3", "base": "BaseException: all",
        "mute": "Mute: its __str__ raised OSError", "loud": "Loud: \\x1b[2J\\x07 two lines", "generator": "GeneratorExit",
    }  # fmt: skip
    attacks = ", ".join(f"{how}: {{attack: 'ends:Ends', how: {how}, epsilon: [0.1]}}" for how in ways)
    hessian = "hessian={examples: 20, max_iterations: 2, tolerance: 0.9}"
    code, _, err = run_measure(
        "n.keras", "--dataset", "d.npz", "--set", f"attacks={{{attacks}}}", "--set", hessian
    )
    assert code == 1
    for how, said in ways.items():
        [line] = [line for line in err.splitlines() if f"{how} 0.1 failed: " in line]
        assert f"{how} 0.1 failed: {said} ({tmp_path / 'ends.py'}, line 1" in line
        assert line.isprintable()
    for place in ("raise KeyboardInterrupt", "class X(BaseException): ...\nraise X('y')"):
        (tmp_path / "early.py").write_text(f"{place}\nclass Mine: ...")
        sys.modules.pop("early", None)
        code, _, err = run_measure(
            "n.keras", "--dataset", "d.npz", "--set", "attacks={m: {attack: 'early:Mine', epsilon: [0.1]}}"
        )
        assert (code, err.count("\n")) == (2, 1)
        assert f"{tmp_path / 'early.py'}, line " in err
