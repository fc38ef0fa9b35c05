"""The benchmark's arithmetic; what it times is never timed here."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import flops, rules, sharpness
from bench.pairs import Timing, ratio
from bench.profile import rows_of
from bench.rows import PARTS, rows
from bench.tables import Line, write
from tfsgd.models.paper import MODELS, build_model
from tfsgd.plan.regimes import Regime


@pytest.mark.parametrize("name", list(flops.FORWARD_PRODUCTS))
def test_forward_products_are_those_of_the_network(name: str) -> None:
    found = []
    for layer in build_model(name).layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            pixels = layer.output.shape[1] * layer.output.shape[2] if len(kernel.shape) == 4 else 1
            size = 1
            for side in kernel.shape:
                size *= side
            found.append(pixels * size)
    assert tuple(found) == flops.FORWARD_PRODUCTS[name]
    assert set(flops.FORWARD_PRODUCTS) <= set(MODELS)


def test_training_and_attacks_by_hand() -> None:
    # StdCNN: 1,006,140 products forward, 60,840 of them in the first layer.
    assert flops.forward("stdcnn") == 2 * 1_006_140
    assert flops.training("stdcnn") == 2 * (3 * 1_006_140 - 60_840)
    assert flops.pgd("stdcnn", 40) == 2 * 1_006_140 * 81


@pytest.mark.parametrize("name", list(flops.FORWARD_PRODUCTS))
def test_kernels_share_the_work_of_training(name: str) -> None:
    assert sum(flops.of_kernels(name).values()) == flops.training(name)


def test_profile_has_the_slowest_kernel_first_and_misses_no_time() -> None:
    result = {"kernels": {"Relu": 0.02, "FusedConv2D": 1.0, "Cast": 0.5}, "cpu": 3.0}
    rows = rows_of("one", result, "stdcnn", 10_000)
    work = 2 * (60_840 + 518_400 + 180_000 + 230_400) * 10_000  # StdCNN's convolutions
    assert [row[1:] for row in rows] == [
        ("FusedConv2D", "1.000", "33.3%", f"{work / 1e9:.0f}"),
        ("Cast", "0.500", "16.7%", ""),
        ("all else", "1.500", "50.0%", ""),
    ]


def test_ratio_is_theirs_over_ours_pair_by_pair() -> None:
    assert ratio([(1.0, 2.0), (2.0, 2.0), (1.0, 4.0)]) == (2.0, 1.0, 4.0)


def test_tables_replace_only_their_part_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- pgd -->\nold\n<!-- /pgd -->\nafter\n")
    timing = Timing(cpu=[(1.0, 2.0)], wall=[(1.0, 1.5)])
    lines = [Line("PGD", 1, timing, goal=1.3, flops=2e9, gflops=4.0, result="accuracy 0.1 | 0.1")]
    write(page, "pgd", lines, "today.")
    text = page.read_text()
    assert text.startswith("before\n<!-- pgd -->\ntoday.")
    assert text.endswith("<!-- /pgd -->\nafter\n")
    assert "old" not in text
    assert (
        "| PGD | 1 | 1 | 1 | 2 | 1.5 | 2.00 | 1.50 | 1.3: met | 0.5 | 2.0 | 4.0 | accuracy 0.1 / 0.1 |"
        in text
    )
    with pytest.raises(ValueError, match="markers"):
        write(page, "train", lines, "")


ORPHAN = """
import os, sys, time
if os.fork() == 0:
    if os.fork() == 0:
        while time.process_time() < 0.5: pass
        print("done", file=sys.stderr, flush=True)
    os._exit(0)
os.wait()
"""


def test_seconds_of_a_process_that_its_parent_left_are_counted() -> None:
    code = (
        "import sys; from bench.sweeps import _run; from bench.machine import cores; "
        f"print(_run([[sys.executable, '-c', {ORPHAN!r}]], None, cores())['cpu'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 0.5


def test_the_page_has_a_place_for_every_part() -> None:
    text = Path("docs/performance.md").read_text()
    for part in PARTS:
        assert f"<!-- {part} -->" in text
        assert f"<!-- /{part} -->" in text
    assert {row.part for row in rows()} <= set(PARTS)


def test_a_rule_stands_beside_plain_sgd_turn_by_turn() -> None:
    times = {rule: [2.0, 4.0, 3.0] for rule in rules.RULES}
    times["SAM"] = [4.0, 8.4, 6.0]
    table = {row[0]: row[1:] for row in rules.rows_of(times)}
    assert table["SAM"] == ("6", "2.00", "2.00 .. 2.10", "plain SGD")
    assert table["ghost batches of 32"][-1] == "plain SGD, with BatchNorm"
    assert list(table) == list(rules.RULES)
    for block in rules.RULES.values():
        assert len(list(Regime.model_validate({"learning_rate": 0.1, **block}).settings(128))) == 1
    assert "<!-- rules -->" in Path("docs/performance.md").read_text()


def test_the_page_has_a_row_for_each_sharpness_that_is_compared() -> None:
    table = (
        Path("docs/measures.md").read_text().split("<!-- sharpness -->")[1].split("<!-- /sharpness -->")[0]
    )
    shown = [
        line.split(" | ")[:5] for line in table.splitlines() if "/trials" not in line and "_stdcnn" in line
    ]
    for _, name in sharpness.NETWORKS:
        for row in sharpness.rows(name, 300):
            cells = sharpness.cells(row | {"zeros": 0, "found": [0.5, 0.25], "found_by_many": [0.5, 0.75]})
            assert cells[5:8] == ("0.5", "0.25", "0.5")
            assert [f"| {cells[0]}", *cells[1:5]] in shown
