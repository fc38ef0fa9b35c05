"""The functions for notebooks: the same numbers as Foolbox and a dense Hessian, refusals, lazy imports."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfsgd
from tests.foreign import SHAPE, dense_hessian, fitted, foolbox, letters, network
from tfsgd import api
from tfsgd.api import measure
from tfsgd.errors import RequestError
from tfsgd.measures.attack import run_checked
from tfsgd.measures.attacks.fgsm import FGSM
from tfsgd.networks.compiled_victim import CompiledVictim


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return (letters()["test_images"] / 255).astype(np.float32)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.asarray(letters()["test_labels"])


@pytest.fixture(scope="module")
def model() -> Any:
    arrays = letters()
    return fitted(network(), arrays["train_images"] / np.float32(255), arrays["train_labels"])


def refusal(do: Callable[[], Any]) -> str:
    with pytest.raises(RequestError) as refused:
        do()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def ending_in(model: Any, *layers: Any) -> Any:
    return keras.Sequential([keras.Input(SHAPE), model, *layers])


@pytest.mark.parametrize("epsilon", [0.04, 0.08])
def test_attacks_are_foolboxs(model: Any, images: np.ndarray, labels: np.ndarray, epsilon: float) -> None:
    victim = foolbox.TensorFlowModel(lambda x: model(x, training=False), bounds=(0, 1))
    plain = {"steps": 10, "relative_step_size": 0.25, "random_start": False, "early_stop": False}
    pairs = [
        ("fgsm", {}, foolbox.attacks.LinfFastGradientAttack()),
        ("pgd", plain, foolbox.attacks.LinfPGD(steps=10, rel_stepsize=0.25, random_start=False)),
        ("bim", {**plain, "random_start": False}, foolbox.attacks.LinfBasicIterativeAttack(steps=10, rel_stepsize=0.25)),
    ]  # fmt: skip
    for kind, settings, attack in pairs:
        ours = tfsgd.attack(model, images, labels, kind, epsilon=epsilon, **settings)
        _, moved, broken = attack(victim, tf.constant(images), tf.constant(labels), epsilons=epsilon)
        assert np.mean(ours.correct != ~broken.numpy()) <= 1 / len(images), kind
        assert np.mean(np.abs(ours.images - moved.numpy()) > 1e-5) < 0.01, kind
    assert ours.correct.mean() < np.mean(np.argmax(model(images), 1) == labels)


class Switched(keras.layers.Layer):
    """Times `scale`; backwards, times `slope` as well."""

    scale, slope = 1.0, 1.0

    def call(self, inputs: Any) -> Any:
        slope = self.slope

        @tf.custom_gradient
        def same(x: Any) -> Any:
            return tf.identity(x), lambda upstream: slope * upstream

        return self.scale * same(inputs)


@pytest.fixture
def switched(model: Any) -> Any:
    return keras.Sequential([keras.Input(SHAPE), Switched(), model])


def test_a_loop_over_epsilons_compiles_its_network_once(
    switched: Any, images: np.ndarray, labels: np.ndarray
) -> None:
    graphs = []
    for epsilon in (0.02, 0.04, 0.06):
        found = tfsgd.attack(switched, images, labels, "fgsm", epsilon=epsilon)
        graphs.append(api._last[1]._graphs.copy())
        again = run_checked(FGSM(epsilon=(epsilon,)), CompiledVictim.of(switched), images, labels, epsilon, 0)
        np.testing.assert_array_equal(found.images, again.images)
    assert graphs[0]
    assert graphs[0] == graphs[1] == graphs[2]


@pytest.mark.parametrize(("what", "value"), [("scale", -1.0), ("slope", -1.0)])
def test_a_network_that_does_something_else_by_now_is_compiled_anew(
    switched: Any, images: np.ndarray, labels: np.ndarray, what: str, value: float
) -> None:
    before = tfsgd.attack(switched, images, labels, "fgsm", epsilon=0.04)
    setattr(switched.layers[0], what, value)
    after = tfsgd.attack(switched, images, labels, "fgsm", epsilon=0.04)
    expected = run_checked(FGSM(epsilon=(0.04,)), CompiledVictim.of(switched), images, labels, 0.04, 0)
    assert (after.images != before.images).mean() > 0.1
    np.testing.assert_array_equal(after.images, expected.images)


def test_weights_are_those_of_the_moment(images: np.ndarray, labels: np.ndarray) -> None:
    trained = network()
    before = tfsgd.attack(trained, images, labels, "fgsm", epsilon=0.04)
    victim = api._last[1]
    fitted(trained, images, labels)
    after = tfsgd.attack(trained, images, labels, "fgsm", epsilon=0.04)
    assert api._last[1] is victim
    expected = run_checked(FGSM(epsilon=(0.04,)), CompiledVictim.of(trained), images, labels, 0.04, 0)
    assert before.correct.mean() != after.correct.mean()
    np.testing.assert_array_equal(after.images, expected.images)


def test_steps_too_short_for_the_ball_are_warned_of(
    model: Any, images: np.ndarray, labels: np.ndarray
) -> None:
    with pytest.warns(
        UserWarning, match=r"^pgd: 5 steps of 0\.0333 epsilon from a random start move no pixel"
    ):
        tfsgd.attack(model, images, labels, "pgd", epsilon=0.06, steps=5)


def test_a_hessian_inside_a_strategys_scope_is_refused(
    model: Any, images: np.ndarray, labels: np.ndarray
) -> None:
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        said = refusal(lambda: tfsgd.top_eigenvalue(model, images, labels))
    assert said == "a Hessian is taken outside of strategy.scope(); call it after the `with` block"


def test_a_lambda_layer_is_refused_with_what_to_do(tmp_path: Path) -> None:
    lambda_layer = keras.layers.Lambda(lambda x: 2 * x)
    keras.Sequential([keras.Input(SHAPE), lambda_layer, keras.layers.Flatten()]).save(tmp_path / "l.keras")
    said = refusal(lambda: tfsgd.load_network(tmp_path / "l.keras"))
    assert "it has a Lambda layer, whose code is not run unseen; if you trust it, load it" in said
    assert "safe_mode=False" in said


def test_the_top_eigenvalue_is_the_dense_hessians(model: Any, images: np.ndarray, labels: np.ndarray) -> None:
    hessian = dense_hessian(model, images, labels)
    found = tfsgd.top_eigenvalue(model, images, labels, tolerance=1e-3)
    assert found.converged
    assert found.error <= 1e-3
    assert found.value == pytest.approx(float(np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1]), rel=1e-3)


def test_float64_images_and_a_network_from_a_file_give_the_same(
    model: Any, images: np.ndarray, labels: np.ndarray, tmp_path: Path
) -> None:
    model.save(tmp_path / "net.keras")
    model.export(str(tmp_path / "exported"), verbose=False)
    ours = tfsgd.attack(model, images, labels, epsilon=0.06, seed=3)
    for name in ("net.keras", "exported"):
        other = tfsgd.load_network(str(tmp_path / name))
        theirs = tfsgd.attack(other, images.astype(np.float64), labels.astype(np.uint8), epsilon=0.06, seed=3)
        np.testing.assert_array_equal(theirs.correct, ours.correct)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "pdg"}, "did you mean 'pgd'?"),
        ({"stepz": 3}, "pgd: stepz: unknown key; did you mean 'steps'?"),
        ({"steps": 0}, "pgd: steps: expected greater than or equal to 1"),
        ({"epsilon": 8}, "pgd: epsilon: expected less than or equal to 1"),
        ({"epsilon": None}, "pgd: epsilon: expected a number in [0, 1], received None"),
        ({"epsilon": "big"}, "pgd: epsilon: expected a number in [0, 1], received 'big'"),
        ({"seed": "one"}, "seed: expected a whole number from 0 to 4,294,967,295, received 'one'"),
        ({"seed": -1}, "seed: expected a whole number from 0"),
        ({"seed": 1.0}, "seed: expected a whole number from 0"),
        ({"examples": 3}, "pgd: examples: not a setting here; give so many images"),
        ({"images": lambda x: x[..., :1]}, "images: expected shape (N, 8, 10, 3), received (60, 8, 10, 1)"),
        ({"images": lambda x: x[0]}, "images: expected shape (N, 8, 10, 3), received (8, 10, 3)"),
        ({"images": lambda x: x[:0]}, "images: expected floats in [0, 1], received no image"),
        ({"images": lambda x: 255 * x}, "images: expected floats in [0, 1]; divide bytes by 255"),
        ({"images": lambda x: x * np.nan}, "images: expected floats in [0, 1], received NaN or infinity"),
        ({"images": lambda x: (255 * x).astype(np.uint8)}, "images: expected floats in [0, 1]"),
        ({"labels": lambda y: y[:5]}, "labels: expected 60 integers, received int64 of shape (5,)"),
        (
            {"labels": lambda y: np.eye(3)[y]},
            "labels: expected 60 integers, received float64 of shape (60, 3)",
        ),
        (
            {"labels": lambda y: y + 1},
            "labels: expected 0 to 2, since the model has 3 outputs; received 1 to 3",
        ),
        ({"model": lambda m: ending_in(m, keras.layers.Softmax())}, "leave the softmax out"),
        ({"model": lambda m: ending_in(m, keras.layers.Dense(3, "sigmoid"))}, "leave the sigmoid out"),
        (
            {"model": lambda m: keras.Model(m.inputs, [m.outputs[0]] * 2)},
            "expected one output, the logits, found 2;",
        ),
        (
            {"model": lambda m: keras.Model(m.inputs, {"logits": m.outputs[0]})},
            "the logits, found a dict of 1;",
        ),
        (
            {"model": lambda m: ending_in(m, keras.layers.Rescaling(np.nan)), "kind": "square"},
            "its outputs are not finite",
        ),
        (
            {
                "model": lambda m: ending_in(
                    m, keras.layers.Softmax(dtype="float16"), keras.layers.Identity(dtype="float16")
                )
            },
            "expected logits, received probabilities; leave the softmax out",
        ),
        (
            {"model": lambda m: keras.Sequential([keras.layers.Dense(3)])},
            "model: expected a built network of one",
        ),
        ({"model": lambda m: lambda x: x}, "model: expected a built network of one input"),
    ],
)
def test_what_does_not_fit_an_attack_is_refused(
    model: Any, images: np.ndarray, labels: np.ndarray, change: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"model": model, "images": images, "labels": labels, "epsilon": 0.1}
    for key, value in change.items():
        given[key] = value(given[key]) if callable(value) else value
    assert message in refusal(lambda: tfsgd.attack(**given))


def test_what_has_no_hessian_is_refused(model: Any, images: np.ndarray, labels: np.ndarray) -> None:
    frozen = keras.models.clone_model(model)
    frozen.trainable = False
    assert "has no trainable variables" in refusal(lambda: tfsgd.top_eigenvalue(frozen, images, labels))
    softmax = ending_in(model, keras.layers.Softmax())
    assert "leave the softmax out" in refusal(lambda: tfsgd.top_eigenvalue(softmax, images, labels))
    told = refusal(lambda: tfsgd.top_eigenvalue(model, images, labels, max_iterations=0))
    assert told.startswith("top_eigenvalue: max_iterations: expected greater than or equal to 1")
    assert "tolerance" in refusal(lambda: tfsgd.top_eigenvalue(model, images, labels, tolerance=0.0))


def test_files_that_are_no_network_are_refused(tmp_path: Path) -> None:
    assert "none.keras: no such file" in refusal(lambda: tfsgd.load_network(tmp_path / "none.keras"))
    assert "found another folder" in refusal(lambda: tfsgd.load_network(tmp_path))


def test_records_are_a_table_with_a_row_a_trial() -> None:
    folder = Path("docs/results/mnist_stdcnn")
    table = tfsgd.read_records(folder)
    assert len(table) == len(list(folder.glob("trials/*/*/record.json"))) == 24
    assert {"regime", "batch_size", "momentum", "seed", "test_accuracy", "pgd_0.1", "eigenvalue"} <= set(
        table
    )
    assert table["test_accuracy"].between(0, 1).all()
    table["test_accuracy"] = 0.0
    assert (tfsgd.read_records(str(folder))["test_accuracy"] > 0).all(), "each call gives a table of its own"


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    assert "no record.json below trials/" in refusal(lambda: tfsgd.read_records(tmp_path))
    assert "no such folder" in refusal(lambda: tfsgd.read_records(tmp_path / "none"))


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    script = (
        "import sys, tfsgd\n"
        "assert not {'tensorflow', 'keras', 'pandas', 'pydantic', 'numpy'} & set(sys.modules), 'at once'\n"
        "assert {'attack', 'load_network', 'read_records', 'top_eigenvalue'} <= set(dir(tfsgd))\n"
        "tfsgd.read_records('docs/results/mnist_stdcnn')\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'for records'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == ""


def test_no_function_shares_its_name_with_a_module() -> None:
    """An import of the module would put it in the function's place; that of `measure` can be called as the function."""
    for name in set(tfsgd.__all__) - {"measure"}:
        assert not [*Path("tfsgd").glob(name), *Path("tfsgd").glob(f"{name}.py")], name


@pytest.mark.parametrize("first", ["import tfsgd", "import tfsgd.measure", "from tfsgd import measure"])
def test_measure_can_be_called_whatever_was_imported_before(first: str) -> None:
    script = (
        f"{first}\nimport sys, tfsgd\nassert 'tensorflow' not in sys.modules\n"
        "try: tfsgd.measure(None, None, None, seed=-1)\n"
        "except tfsgd.api.RequestError as error: assert 'seed' in str(error)\n"
        "else: raise AssertionError\n"
        "assert dir(tfsgd) == sorted(tfsgd.__all__)\nassert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == ""


def test_measure_gives_what_the_functions_and_numpy_give(
    model: Any, images: np.ndarray, labels: np.ndarray
) -> None:
    table = measure(model, images, labels, {"fgsm": {}, "twice": {"attack": "pgd", "steps": 5, "relative_step_size": 0.5}},
                    {"trace": {"probes": 9}, "hessian": {"tolerance": 1e-3}}, [0.02, 0.06])  # fmt: skip
    at = {(row.measure, row.epsilon): row for row in table.itertuples() if row.epsilon in (0.02, 0.06)}
    for label, kind, settings in (
        ("fgsm", "fgsm", {}),
        ("twice", "pgd", {"steps": 5, "relative_step_size": 0.5}),
    ):
        for epsilon in (0.02, 0.06):
            expected = tfsgd.attack(model, images, labels, kind, epsilon=epsilon, **settings)
            assert at[label, epsilon].result == expected.correct.mean(), (label, epsilon)
    values = table[table.epsilon.isna()].set_index("measure").result
    logits = np.asarray(model(images, training=False))
    assert values["test"] == pytest.approx((logits.argmax(1) == labels).mean())
    assert values["hessian"] == tfsgd.top_eigenvalue(model, images, labels, tolerance=1e-3).value
    assert values["trace"] == tfsgd.curvature(model, images, labels, "trace", probes=9).value


def test_measure_warns_as_the_command_does(model: Any, images: np.ndarray, labels: np.ndarray) -> None:
    with pytest.warns(UserWarning, match="no better than guessing") as warned:
        measure(model, images, (labels + 1) % 3, ["fgsm"], {"hessian": {"max_iterations": 2}}, 0.1)
    assert {w.filename for w in warned if "guessing" in str(w.message)} == {__file__}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attacks": ["pdg"]}, "did you mean 'pgd'?"),
        ({"attacks": {"pgd": {"stepz": 3}}}, "attacks.pgd.stepz: unknown key; did you mean 'steps'?"),
        ({"curvature": ["trase"]}, "did you mean 'trace'?"),
        ({"epsilon": 9.0}, "attacks.fgsm.epsilon: expected less than or equal to 1"),
        ({"seed": -1}, "seed: expected a whole number"),
    ],
)
def test_what_does_not_fit_a_measurement_is_refused(
    model: Any, images: np.ndarray, labels: np.ndarray, change: dict[str, Any], message: str
) -> None:
    assert message in refusal(lambda: measure(model, images, labels, **change))
    told = refusal(lambda: tfsgd.curvature(model, images, labels, "trace", probez=3))
    assert told == "trace: probez: unknown key; did you mean 'probes'?"


def test_the_notebook_runs(capsys: pytest.CaptureFixture[str]) -> None:
    cells = json.loads(Path("examples/measure.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        assert not cell.get("outputs"), "it is kept without outputs"
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert len(cells) >= 10
    assert 0.8 < names["table"].set_index("measure").result["test"] <= 1
    assert "the median image breaks at 0.0" in capsys.readouterr().out


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'tfsgd' has no attribute 'atack'"):
        _ = tfsgd.atack
