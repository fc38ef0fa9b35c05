"""The recipes for code of one's own, as they stand: a file beside the config, a line of YAML, and it is in the records."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Run
from tfsgd.reporting.page.page import write_report

TEXT = Path("README.md").read_text() + Path("docs/add-your-own.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.S)
YAML = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.S)]


def block(word: str) -> str:
    """The one Python block of the pages that defines a name."""
    [found] = [text for text in PYTHON if re.search(rf"^(?:def|class) {word}\b", text, re.M)]
    return found


def yaml_block(key: str) -> dict[str, Any]:
    [found] = [content for content in YAML if key in content]
    return dict(found[key])


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The modules of the pages beside a config, under names that no other test imports."""
    for word, name in (("small", "my_nets"), ("Noise", "my_attacks"), ("Frobenius", "my_measures")):
        (tmp_path / f"{name}.py").write_text(block(word))
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    return tmp_path


def test_model_attack_and_curvature_measure_go_through_everything(
    recipes: Path, config: Callable[..., Path], run_sweep: Run
) -> None:
    attacks = yaml_block("attacks")
    curvature = {k: v | {"examples": 50} for k, v in yaml_block("curvature").items()}
    path = config(model="my_nets:small", attacks=attacks, curvature=curvature, export=True)
    code, out, err = run_sweep(path)
    assert (code, err) == (0, "")
    for label in ("noise-100", "pgd-margin", "frobenius", "trace"):
        assert label in out
    logs = recipes / "logs/tiny"
    record = json.loads((logs / "trials/lr/b0064-m0.9-s0/record.json").read_text())
    found = {(m["label"], m["settings"].get("epsilon")): m for m in record["measurements"]}
    noise, frobenius = found["noise-100", 0.1], found["frobenius", None]
    assert (noise["name"], noise["settings"]["draws"]) == ("my_attacks:Noise", 100)
    assert noise["values"]["accuracy"] <= noise["values"]["clean_accuracy"]
    assert frobenius["values"]["value"] > 0
    # |H|² is the sum of all squared eigenvalues, of which the top one is one.
    assert (
        frobenius["values"]["value"] + 4 * frobenius["values"]["error"]
        > 0.5 * found["hessian", None]["values"]["value"]
    )
    page = write_report([logs], figures=["overview"])
    assert "pgd-margin" in page.read_text().lower()


def test_a_claim_is_stated_judged_and_dated(
    tmp_path: Path, config: Callable[..., Path], run_sweep: Run
) -> None:
    """Before the first record, from the command line to the page."""
    claims = yaml_block("claims")
    regimes = {"LR": {"learning_rate": 0.01, "momentum": [0.0, 0.9]}}
    attacks = {"minimal": {"epsilon": [0.5], "steps": 5, "examples": 50}}
    code, _, err = run_sweep(config(claims=claims, regimes=regimes, attacks=attacks, seeds=[0]))
    assert (code, err) == (0, "")
    page = write_report([tmp_path / "logs/tiny"], figures=["overview"])
    assert claims["fragile-and-flat"]["statement"].removesuffix(".") in page.read_text()
    [study] = json.loads((page.parent / "claims.json").read_text())
    [own] = [claim for claim in study["claims"] if claim["role"] == "own"]
    assert own["claim"] == "fragile-and-flat"
    assert own["stated"].startswith("stated before the first record")
    assert own["verdict"] == "not testable"  # one batch size


def test_another_learning_rate_is_one_override(config: Callable[..., Path], run_sweep: Run) -> None:
    [override] = re.findall(r"--set '(regimes\.LR-0\.1=[^']*)'", TEXT)
    code, out, _ = run_sweep(config(), "--set", override, "--dry-run")
    assert code == 0
    assert "lr-0.1/b0064-m0.9-s0" in out


def test_rules_beyond_the_papers_go_through_everything(config: Callable[..., Path], run_sweep: Run) -> None:
    keys = {"epochs": 2, "attacks": {"fgsm": {"epsilon": [0.1]}}}
    [own] = re.findall(r"`({learning_rate: [\d.]+, optimizer: {name: \"my_rules.*?}})`", TEXT)
    path = config(regimes=yaml_block("regimes") | {"sign": yaml.safe_load(own)}, **keys)
    (path.parent / "my_rules.py").write_text(block("SignDescent"))
    code, out, err = run_sweep(path)
    assert (code, err) == (0, "")
    for name in (
        "large-batch/b0064-m0.9-wd0.0005-cosine-warmup1-s0",
        "flat/b0064-m0.9-nesterov-ls0.1-sam0.05-s0",
        "sign/b0064-m0.0-my_rules.SignDescent-share=0.5-s0",
    ):
        record = json.loads((path.parent / "logs/tiny/trials" / name / "record.json").read_text())
        assert record["status"] in ("completed", "collapsed")
    assert "smoothing" in out
    page = write_report([path.parent / "logs/tiny"], figures=["overview"]).read_text()
    assert "large-batch, weight decay 0.0005, schedule cosine, warmup 1" in page
