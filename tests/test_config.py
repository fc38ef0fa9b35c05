"""Configs: what is read, what is refused, and in which words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import TINY
from tfsgd.errors import RequestError
from tfsgd.measures.attacks.bim import BIM
from tfsgd.measures.attacks.pgd import PGD
from tfsgd.measures.curvature.trace import Trace
from tfsgd.plan.config import slug
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import grid
from tfsgd.plan.yaml_io import to_yaml

SHIPPED = sorted(Path("configs").glob("*.yaml"))
Config = Callable[..., Path]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configs_are_the_papers_grid(path: Path) -> None:
    experiment = load_experiment(path)
    assert experiment.name == path.stem
    assert len(grid(experiment)) == 177  # 7 batch sizes x 9 settings x 3 seeds, less 4 x 3 shared at 64
    assert (experiment.epochs, experiment.profile) == (100, "full")
    assert experiment.regimes["Benchmark"].halve_every_epochs == 5
    assert max(experiment.attacks["pgd"].epsilon) == (0.02 if experiment.dataset == "cifar10" else 0.3)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_quick_profiles_keep_all_three_regimes_apart(path: Path) -> None:
    experiment = load_experiment(path, quick=True)
    assert experiment.profile == "quick"
    assert {trial.regime for trial in grid(experiment)} == {"LR", "LR/BS", "Benchmark"}
    smallest = min(experiment.batch_sizes)
    rates = {
        tuple(
            trial.settings.learning_rate_at(epoch, experiment.length.count)
            for epoch in range(experiment.length.count)
        )
        for trial in grid(experiment)
        if trial.settings.batch_size == smallest
    }
    assert len(rates) == 3


def test_the_file_gives_way_to_quick_and_quick_to_set(config: Config) -> None:
    path = config(epochs=7, quick={"epochs": 2, "hessian": {"examples": 10}})
    assert load_experiment(path).epochs == 7
    quick = load_experiment(path, quick=True)
    assert (quick.epochs, quick.hessian.examples, quick.hessian.max_iterations) == (2, 10, 3)
    assert load_experiment(path, ("epochs=9",), quick=True).epochs == 9
    assert load_experiment(path, ("quick.epochs=4",), quick=True).epochs == 4


def test_full_measures_stand_beside_the_configs_own(config: Config) -> None:
    """Labels that the config has stay as they are, also as null; images are cut to those that there are."""
    own = {
        "fgsm": {"epsilon": [0.1]},
        "pgd": {"epsilon": [0.1, 0.2]},
        "square": {"epsilon": [0.3]},
        "noise": None,
    }
    path = config(
        measures="full", attacks=own, curvature={"trace": {"probes": 9, "examples": 60}, "layers": None}
    )
    experiment = load_experiment(path)
    attacks, curvature = experiment.attacks, experiment.curvature
    assert attacks.keys() - own.keys() >= {"pgd-twice", "pgd-large", "apgd", "apgd-dlr", "minimal"}
    assert "noise" not in attacks
    assert attacks["square"].epsilon == (0.3,)
    assert attacks["apgd"].epsilon == attacks["apgd-dlr"].epsilon == (0.1, 0.2)
    assert (attacks["pgd-large"].epsilon, attacks["pgd-twice"].examples) == ((0.5,), 50)
    assert curvature.keys() >= {"trace", "spectrum", "extremes", "gauss_newton", "batch_sharpness"}
    assert "layers" not in curvature
    assert isinstance(curvature["trace"], Trace)
    assert (curvature["trace"].probes, curvature["spectrum"].examples) == (9, 200)

    again = path.with_name("resolved.yaml")
    again.write_text(to_yaml(experiment.model_dump(mode="json", exclude={"profile", "code_dir", "own_data"})))
    assert load_experiment(again) == experiment, "what is stored says it all"
    assert load_experiment(config()).curvature == {}
    assert (
        load_experiment(config(), ("measures=full",)).curvature
        == load_experiment(config(measures="full")).curvature
    )
    assert load_experiment(config(quick={"measures": "full"}), quick=True).curvature.keys() >= {
        "trace",
        "layers",
    }


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_full_measures_fit_every_shipped_config(path: Path) -> None:
    for quick in (False, True):
        experiment = load_experiment(path, ("measures=full",), quick)
        assert experiment.attacks["apgd"].epsilon == experiment.attacks["pgd"].epsilon
        assert experiment.curvature["batch_sharpness"].examples >= max(experiment.batch_sizes)


def test_overrides_are_yaml_and_dotted(config: Config) -> None:
    experiment = load_experiment(
        config(),
        ("batch_sizes=[16, 32]", "attacks.pgd.steps=10", "hessian.tolerance=1e-2", "regimes.LR/BS.ratio=2e-4",
         "regimes.LR-0.1={learning_rate: 0.1, momentum: [0.0]}", "regimes.LR-0.1.momentum=[0.5]"),
    )  # fmt: skip
    assert experiment.batch_sizes == (16, 32)
    assert isinstance(experiment.attacks["pgd"], PGD)
    assert experiment.attacks["pgd"].steps == 10
    assert experiment.hessian.tolerance == 0.01
    assert experiment.regimes["LR/BS"].ratio == 0.0002
    assert experiment.regimes["LR-0.1"].momentum == (0.5,)


@pytest.mark.parametrize("text", ["1e-2", "1E-2", "1.0e-2", ".01", "0.01", "+1e-2"])
def test_numbers_are_read_as_the_numbers_they_are(config: Config, text: str) -> None:
    path = config()
    path.write_text(path.read_text().replace("tolerance: 0.5", f"tolerance: {text}"))
    assert load_experiment(path).hessian.tolerance == 0.01


def test_equal_settings_are_one_trial_that_names_both_regimes(config: Config) -> None:
    trials = grid(load_experiment(config(batch_sizes=[64, 128])))
    assert [(t.name, t.regimes) for t in trials] == [
        ("lr/b0064-m0.0-s0", ("LR", "LR/BS")),
        ("lr/b0064-m0.9-s0", ("LR",)),
        ("lr/b0128-m0.0-s0", ("LR",)),
        ("lr/b0128-m0.9-s0", ("LR",)),
        ("lr-bs/b0128-m0.0-s0", ("LR/BS",)),
    ]


def test_slugs() -> None:
    assert [slug(label) for label in ("LR", "LR/BS", "Benchmark", "LR-0.1")] == [
        "lr",
        "lr-bs",
        "benchmark",
        "lr-0.1",
    ]


WRONG = [
    ({"epoch": 3}, "epoch: unknown key; did you mean 'epochs'?"),
    ({"attacks": {"pgd": {"epsilon": [0.1], "stepz": 3}}}, "attacks.pgd.stepz: unknown key; did you mean 'steps'?"),
    ({"regimes": {"LR": {"learning_rat": 0.1, "momentum": [0.0]}}}, "regimes.LR.learning_rat: unknown key; did you mean 'learning_rate'?"),
    ({"epochs": None}, "epochs, budget: expected one of them, received neither"),
    ({"budget": {"updates": 10}}, "epochs, budget: expected one of them, received both; --set KEY=null takes one away"),
    ({"epochs": None, "budget": {"updates": 0}}, "budget.updates: expected greater than or equal to 1, received 0"),
    ({"epochs": "ten"}, "epochs: expected a whole number, received 'ten'"),
    ({"epochs": 1.5}, "epochs: expected a whole number, received 1.5"),
    ({"epochs": True}, "epochs: expected a whole number, received True"),
    ({"batch_sizes": []}, "batch_sizes: expected at least one entry"),
    ({"batch_sizes": 64}, "batch_sizes: expected a list, received 64"),
    ({"batch_sizes": [0]}, "batch_sizes: expected greater than or equal to 1, received 0"),
    ({"batch_sizes": [201]}, "batch_sizes: expected at most the 200 training images, received 201"),
    ({"batch_sizes": [64, 64]}, "batch_sizes: expected each value once"),
    ({"attacks": {"fgsm": {"epsilon": [-0.1]}}}, "attacks.fgsm.epsilon: expected greater than or equal to 0, received -0.1"),
    ({"attacks": {"fgsm": {"epsilon": [8]}}}, "attacks.fgsm.epsilon: expected less than or equal to 1, received 8"),
    ({"attacks": {"pgd": {"epsilon": [0.1], "restarts": 3, "random_start": False}}}, "pgd.restarts"),
    ({"regimes": {"LR": {"learning_rate": 0.1, "momentum": [1.5]}}}, "regimes.LR.momentum: expected less than 1, received 1.5"),
    ({"regimes": {"LR": {"learning_rate": float("inf"), "momentum": [0.0]}}}, "regimes.LR.learning_rate: expected less than or equal to 1e+30, received inf"),
    ({"regimes": {"LR": {"learning_rate": 0.1, "ratio": 0.1, "momentum": [0.0]}}}, "regimes.LR: expected either learning_rate or ratio"),
    ({"regimes": {"LR": {"learning_rate": 1, "momentum": [0]}, "lr": {"ratio": 1, "momentum": [0]}}}, "regimes: expected labels that differ"),
    ({"regimes": {"../x": {"learning_rate": 1, "momentum": [0]}}}, "regimes.../x: expected letters"),
    ({"model": "m2"}, "model: expected one of stdcnn, m1, c1, resnet18, received 'm2'; did you mean 'm1'?"),
    ({"dataset": "fashion-mnist"}, "dataset: expected one of mnist, fashion_mnist, cifar10, received 'fashion-mnist'; did you mean 'fashion_mnist'?"),
    ({"model": "c1"}, "model: c1 takes images of shape (32, 32, 3), fashion_mnist has (28, 28, 1); expected one of stdcnn, m1"),
    ({"name": "../../etc"}, "name: expected letters, digits"),
    ({"name": ".."}, "name: expected letters, digits"),
    ({"name": "a/b"}, "name: expected letters, digits"),
    ({"attacks": {"pgdd": {"epsilon": [0.1]}}}, "attacks.pgdd.attack: expected one of apgd, bim, fgsm, minimal, noise, pgd, robust, square, transfer, or module:Class; received 'pgdd'; did you mean 'pgd'?"),
    ({"attacks": {"mine": {"attack": "fgms", "epsilon": [0.1]}}}, "attacks.mine.attack: expected one of apgd, bim, fgsm, minimal, noise, pgd, robust, square, transfer, or module:Class; received 'fgms'; did you mean 'fgsm'?"),
    ({"attacks": {"mine": {"attack": 3, "epsilon": [0.1]}}}, "attacks.mine.attack: expected a word, received 3"),
    ({"attacks": {"pgd": [0.1]}}, "attacks.pgd: expected a mapping, received [0.1]"),
    ({"attacks": {"pgd": {"steps": 3}}}, "attacks.pgd.epsilon: missing"),
    ({"attacks": {"pgd": {"epsilon": [0.1], "loss": "margins"}}}, "attacks.pgd.loss: expected 'cross_entropy', 'softmax_cross_entropy', 'margin' or 'dlr', received 'margins'"),
    ({"attacks": {"bim": {"epsilon": [0.1], "random_start": True}}}, "attacks.bim.random_start: expected False, received True"),
    ({"attacks": {"pgd": {"epsilon": [0.1], "examples": 51}}}, "attacks.pgd.examples: expected at most the 50 images of the test split"),
    ({"curvature": {"tracee": {}}}, "worst_sharpness, or module:Class; received 'tracee'; did you mean 'trace'?"),
    ({"curvature": {"extremes": {"k": 101}}}, "curvature.extremes.k: expected less than or equal to 100, received 101"),
    ({"curvature": {"spectrum": {"probes": 0}}}, "curvature.spectrum.probes: expected greater than or equal to 2, received 0"),
    ({"curvature": {"spectrum": {"steps": 1001}}}, "curvature.spectrum.steps: expected less than or equal to 1000, received 1001"),
    ({"curvature": {"batch_sharpness": {"batches": 1}}}, "curvature.batch_sharpness.batches: expected greater than or equal to 2, received 1"),
    ({"hessian": {"method": "lanczos"}}, "hessian.method: expected 'rayleigh_ritz' or 'power', received 'lanczos'"),
    ({"curvature": {"extremes": {"k": 9, "max_products": 9}}}, "curvature.extremes.max_products: expected more than k = 9, received 9"),
    ({"curvature": {"trace": {"probe": 9}}}, "curvature.trace.probe: unknown key; did you mean 'probes'?"),
    ({"curvature": {"trace": {"examples": 5000}}}, "curvature.trace.examples: expected at most the 200 images of the train split"),
    ({"hessian": {"examples": 5000}}, "hessian.examples: expected at most the 200 images of the train split"),
    ({"test_examples": 10_001}, "test_examples: expected at most 10,000, received 10,001"),
    ({"profile": "quick"}, "profile: it is set by --quick"),
    ({"quick": {"epoch": 1}}, "epoch: unknown key"),
    ({"quick": [1]}, "quick: expected a mapping"),
    ({"quick": {"quick": {"epochs": 1}}}, "quick.quick: expected no quick block inside the quick block"),
    ({"quick": {"profile": "full"}}, "quick.profile: it is set by --quick"),
    ({"measures": "ful"}, "measures: expected standard or full, received 'ful'"),
    ({"measure": "full"}, "measure: unknown key; did you mean 'measures'?"),
    ({"momentum": 0.9}, "momentum: unknown key; did you mean 'regimes.NAME.momentum'?"),
    ({"every_epochs": 5}, "every_epochs: unknown key; did you mean 'hessian.every_epochs'?"),
    ({"regimes": {"C": {"annealing": True, "momentum": [0.0]}}}, "regimes.C.annealing: unknown key"),
    ({"quik": {}}, "quik: unknown key; did you mean 'quick'?"),
    ({"hessian": {"quick": 1}}, "hessian.quick: unknown key"),
    ({"hessian": {"tolerence": 1}}, "hessian.tolerence: unknown key; did you mean 'tolerance'?"),
    ({"attacks": {"fgsm": {"epsilons": [0.1]}}}, "attacks.fgsm.epsilons: unknown key; did you mean 'epsilon'?"),
    ({"epochs": "9" * 5000}, "epochs: expected a whole number"),
    ({"data_dir": ["x"] * 5000}, "data_dir: expected a text, received ['x', 'x',"),
    ({"k" * 1000: 1}, "k...: unknown key"),
    ({"a\nb": 1}, "a\\nb: unknown key"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_wrong_key_is_named_in_one_line(config: Config, changes: dict[str, Any], message: str) -> None:
    path = config(**changes)
    with pytest.raises(RequestError) as refused:
        load_experiment(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 450


FILES = [
    (b"", "found nothing"),
    (b"- 1\n- 2\n", "expected a mapping of config keys, found [1, 2]"),
    (b"just words", "expected a mapping of config keys, found 'just words'"),
    (b"name: [1, 2", "expected YAML of plain values"),
    (b"\x80\x02\xff\x00\x00binary", "expected YAML of plain values"),
    (
        b"name: !!python/object/apply:os.system ['touch pwned']",
        "could not take the tag tag:yaml.org,2002:python/object/apply:os.system",
    ),
    (b"epochs: 1\nepochs: 2\n", 'found duplicate key "epochs" (line 2)'),
    (b"1: 2\n", "expected a word as key"),
]


@pytest.mark.parametrize(("content", "message"), FILES)
def test_wrong_file_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(RequestError) as refused:
        load_experiment(path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not Path("pwned").exists()


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such config"):
        load_experiment(tmp_path / "none.yaml")
    with pytest.raises(RequestError, match="found a folder"):
        load_experiment(tmp_path)


@pytest.mark.parametrize("override", ["epochs", "=3", "epochs=[1", "profile=quick"])
def test_wrong_override_is_refused(config: Config, override: str) -> None:
    with pytest.raises(RequestError, match=r"--set|profile"):
        load_experiment(config(), (override,))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("quick.epochs=7", "--set quick.epochs: it counts with --quick alone; add that, or leave this out"),
        (
            "attacks.fgms=null",
            "--set attacks.fgms=null: expected one that is there to be switched off: fgsm, pgd",
        ),
        ("curvature.trac=null", "did you mean 'trace'?"),
        ("regimes.LS.momentum=null", "--set regimes.LS.momentum=null: expected one that is there"),
        ("quick=3", "quick: expected a mapping of config keys, received 3"),
        ("quick.quick=3", "quick.quick: expected no quick block"),
        ("quick.profile=full", "quick.profile: it is set by --quick"),
        ("regimes.New=3", "regimes.New: expected a mapping, received 3"),
        ("regimes.LR=3", "regimes.LR: expected a mapping, received 3"),
        ("epochs.x=3", "epochs: expected a whole number"),
        ("epochs=010", "expected a YAML value: found 010"),
        ("epochs=" + "9" * 5000, "found a number of 5,000 characters"),
        ("epochs=&a 1", "anchor or alias"),
    ],
)
def test_wrong_override_is_told_by_its_key(config: Config, override: str, message: str) -> None:
    with pytest.raises(RequestError) as refused:
        load_experiment(config(), (override,))
    assert message in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_regime_that_is_null_is_switched_off(config: Config) -> None:
    path = config()
    assert set(load_experiment(path).regimes) == {"LR", "LR/BS"}
    assert set(load_experiment(path, ("regimes.LR/BS=null",)).regimes) == {"LR"}
    with pytest.raises(RequestError, match="regimes: expected at least one entry"):
        load_experiment(path, ("regimes.LR/BS=null", "regimes.LR=null"))
    with pytest.raises(
        RequestError, match=r"--set regimes.LR/SB=null: .* LR, LR/BS; did you mean 'LR/BS'\?$"
    ):
        load_experiment(path, ("regimes.LR/SB=null",))


def test_any_block_may_be_switched_off_where_the_config_or_its_quick_block_or_full_measures_have_it(
    config: Config,
) -> None:
    path = config(quick={"attacks": {"bim": {"epsilon": [0.1]}}, "epochs": 1})
    assert set(load_experiment(path, ("attacks.pgd=null",)).attacks) == {"fgsm"}
    assert set(load_experiment(path, ("attacks.pgd=null", "attacks.bim=null"), quick=True).attacks) == {
        "fgsm"
    }
    assert set(load_experiment(path, ("quick.attacks.pgd=null",), quick=True).attacks) == {"fgsm", "bim"}
    assert set(load_experiment(path, ("quick.regimes.LR=null",), quick=True).regimes) == {"LR/BS"}
    assert load_experiment(path, ("curvature.trace=null", "regimes.LR.halve_every_epochs=null")).regimes["LR"]
    assert "trace" not in load_experiment(path, ("curvature.trace=null", "measures=full")).curvature


def test_an_override_mends_a_block_that_is_none(config: Config) -> None:
    path = config(regimes={"LR": 3})
    experiment = load_experiment(path, ("regimes.LR.ratio=0.1", "regimes.LR.momentum=[0.0]"))
    assert experiment.regimes["LR"].ratio == 0.1


def test_quick_as_a_whole_can_be_given(config: Config) -> None:
    assert load_experiment(config(epochs=3), ("quick={epochs: 2}",), quick=True).epochs == 2


def test_shipped_configs_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Config
) -> None:
    own = config().read_text()
    monkeypatch.chdir(tmp_path)
    for name in ("fmnist_stdcnn", "fmnist_stdcnn.yaml", "configs/fmnist_stdcnn.yaml"):
        assert load_experiment(Path(name)).name == "fmnist_stdcnn"
    Path("fmnist_stdcnn").mkdir()  # as in a folder of logs
    assert load_experiment(Path("fmnist_stdcnn")).name == "fmnist_stdcnn"
    Path("fmnist_m1").write_text(own)  # a file that is there wins
    assert load_experiment(Path("fmnist_m1")).name == "tiny"
    for name in ("elsewhere/fmnist_stdcnn.yaml", "fmnist_stdcnn.json", "fmnist_stdcn", "configs/none.yaml"):
        with pytest.raises(RequestError, match=f"^{name}: no such config; expected a YAML file or one of"):
            load_experiment(Path(name))
    with pytest.raises(RequestError, match="did you mean 'fmnist_stdcnn'"):
        load_experiment(Path("fmnist_stdcn"))


def test_quick_needs_its_block(config: Config) -> None:
    with pytest.raises(RequestError, match="--quick needs this block"):
        load_experiment(config(), quick=True)


def test_an_experiment_survives_its_own_file(config: Config) -> None:
    experiment = load_experiment(config())
    dumped = yaml.safe_dump(experiment.model_dump(mode="json"))
    assert type(experiment).model_validate(yaml.safe_load(dumped)) == experiment


def test_a_block_is_what_it_says_or_what_its_label_says(config: Config) -> None:
    path = config(
        attacks={
            "fgsm": None,
            "bim": {"epsilon": [0.1]},
            "pgd-margin": {"attack": "pgd", "loss": "margin", "epsilon": [0.1]},
        },
        curvature={"trace": {"examples": 64}, "rough": {"measure": "trace", "probes": 6, "examples": 64}},
    )
    experiment = load_experiment(path)
    assert {label: type(spec) for label, spec in experiment.attacks.items()} == {
        "bim": BIM,
        "pgd-margin": PGD,
    }
    assert {label: type(spec) for label, spec in experiment.curvature.items()} == {
        "trace": Trace,
        "rough": Trace,
    }
    dumped = yaml.safe_dump(experiment.model_dump(mode="json"))
    assert type(experiment).model_validate(yaml.safe_load(dumped)) == experiment


def test_a_negative_zero_is_zero(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(to_yaml(TINY | {"regimes": {"LR": {"learning_rate": 0.01, "momentum": [-0.0]}}}))
    found = load_experiment(path, ("attacks.fgsm.epsilon=[-0.0, 0.1]",))
    assert [trial.name for trial in grid(found)] == ["lr/b0064-m0.0-s0"]
    assert str(found.attacks["fgsm"].epsilon[0]) == "0.0"


def test_a_default_number_of_images_fits_the_data_and_an_asked_one_must(config: Config) -> None:
    curvature = {"trace": {"probes": 6}, "spectrum": {"split": "test"}, "input_eigenvalue": {}}
    found = load_experiment(config(hessian={"max_iterations": 3}, curvature=curvature))
    assert (found.hessian.examples, found.hessian.max_iterations) == (200, 3)
    assert {label: spec.examples for label, spec in found.curvature.items()} == {
        "trace": 200, "spectrum": 50, "input_eigenvalue": 200,
    }  # fmt: skip
    assert load_experiment(config(hessian={"examples": 100})).hessian.examples == 100
