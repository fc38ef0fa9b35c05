"""CONTRIBUTING.md: its recipes for tfsgd itself, in a copy of the package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TEXT = Path("CONTRIBUTING.md").read_text()
BLOCKS = re.findall(r"```(python|yaml)\n(.*?)```", TEXT, re.S)
FILES = {m[1]: code for language, code in BLOCKS if (m := re.match(r"# (tfsgd/\S+\.py)\n", code))}
CLAIM = next(code for language, code in BLOCKS if language == "yaml")
COLUMN = next(code for _, code in BLOCKS if code.startswith("# under trial"))
REQUEST = """Request("largest_logit", "largest_logit", LargestLogit(), "test", sizes["test"], free=True),"""
SEEN = """
import json, numpy as np
from pathlib import Path
from tfsgd.measures.largest_logit import LargestLogit
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.requests import requests_of
from tfsgd.plan.specs import attack, curvature_measure
from tfsgd.reporting.claims.verdicts import judgements_of
from tfsgd.reporting.figures.registry import figures
from tfsgd.reporting.table.studies import read_studies

class Black:
    def predict(self, images):
        return (images.sum((1, 2, 3)) > 0).astype(int)

class Images:
    def logits(self, split, examples):
        return np.array([[1.0, 7.0]])

[study] = read_studies([Path(RESULTS)])
images = np.full((3, 2, 2, 1), 0.2, np.float32)
requests = requests_of(load_experiment(Path("configs/mnist_stdcnn.yaml")), 0)
[asked] = [r for r in requests if r.label == "largest_logit"]
[drawing] = figures()["training-time"].function(study)
found = {
    "darken": attack("darken", {"epsilon": [0.3]}, None).run(Black(), images, np.ones(3), 0.3, 0).correct.tolist(),
    "one_product": curvature_measure("one_product", {}, None).run(lambda v: 2 * v, 5, 0).value,
    "largest_logit": asked.spec.values_on(Images(), asked),
    "figure": drawing.title,
    "points": len(drawing.figure.axes[0].collections[0].get_offsets()),
    "claims": [j.asked.key for j in judgements_of(study) if j.asked.key.startswith("sharper-lr")],
    "classes": sorted(set(study.trials["classes"])),
    "trials": len(study.trials),
}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of the package with all that the recipes add finds."""
    folder = tmp_path_factory.mktemp("contributed")
    shutil.copytree("tfsgd", folder / "tfsgd", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree("configs", folder / "configs")
    for name, code in FILES.items():
        assert not (folder / name).exists(), f"{name} is there already"
        (folder / name).write_text(code)
    claims = folder / "tfsgd/reporting/claims/claims.yaml"
    claims.write_text(claims.read_text() + "\n" + CLAIM)
    insert(folder / "tfsgd/reporting/table/columns.yaml", "trial:\n", COLUMN.partition("\n")[2])
    requests = folder / "tfsgd/plan/requests.py"
    insert(requests, "        *natural(sizes),\n", f"        {REQUEST}\n")
    requests.write_text("from tfsgd.measures.largest_logit import LargestLogit\n" + requests.read_text())
    results = str(Path("docs/results/mnist_stdcnn").resolve())
    done = subprocess.run(
        [sys.executable, "-c", f"RESULTS = {results!r}\n{SEEN}"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def insert(path: Path, after: str, text: str) -> None:
    before = path.read_text()
    assert before.count(after) == 1, (path, after)
    path.write_text(before.replace(after, after + text))


def test_a_file_is_an_attack_and_another_one_a_measure(seen: dict[str, Any]) -> None:
    assert len(FILES) == 4
    assert seen["darken"] == [False, False, False]
    assert seen["one_product"] == pytest.approx(2.0)
    assert seen["largest_logit"] == {"value": 7.0}


def test_a_file_is_a_figure(seen: dict[str, Any]) -> None:
    assert (seen["figure"], seen["points"]) == ("Training time", seen["trials"])


def test_an_entry_is_a_claim_and_a_line_a_column(seen: dict[str, Any]) -> None:
    assert seen["claims"] == ["sharper-lr-eigenvalue"]
    assert seen["classes"] == [10]
