"""Several networks end in one table, whose files hold the numbers of the evidence."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.foreign import letters, network
from tfsgd.measures.spec import Measurement
from tfsgd.records.published import published_networks
from tfsgd.terminal.comparison import NetworkColumn, comparison_csv, comparison_rows, short_names
from tfsgd.trials import pictures

Run = Callable[..., tuple[int, str, str]]
FEW = ("--set", "attacks.fgsm.epsilon=[0.02,0.06]", "--set", "attacks.pgd=null")


def measurement(label: str, value: float, **changes: Any) -> Measurement:
    fields: dict[str, Any] = dict(
        kind="curvature", name=label, label=label, settings={}, split="train", examples=60, seed=0, seconds=None,
        values={"value": value, "error": 0.01, "products": 9, "converged": True}, identity="0" * 64,
    )  # fmt: skip
    return Measurement(**(fields | changes))


def attacked(label: str, epsilon: float, accuracy: float, **settings: Any) -> Measurement:
    values = {"accuracy": accuracy, "clean_accuracy": 0.9}
    changes = {"kind": "attack", "split": "test", "values": values}
    return measurement(label, 0, settings={"epsilon": epsilon, **settings}, **changes)


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["a/b/one.keras", "c/two.keras"], ["one", "two"]),
        (["run1/best/net.keras", "run2/best/net.keras"], ["run1", "run2"]),
        (["z/lr/b64-s0/model.keras", "z/lr/b64-s1"], ["b64-s0", "b64-s1"]),
        (["x/lr/b64", "x/sr/b64", "y/lr/b32"], ["lr/b64", "sr/b64", "b32"]),
        (["net.keras"], ["net"]),
        (["a.keras", "a"], ["1 a", "2 a"]),
    ],
)
def test_names_are_short_and_differ(names: list[str], short: list[str]) -> None:
    assert short_names(names) == short


def test_long_names_are_cut_and_still_differ() -> None:
    names = [f"{'x' * 100}{middle}{'y' * 100}.keras" for middle in "abc"]
    short = short_names(names)
    assert len(set(short)) == 3
    assert max(map(len, short)) < 32


def test_what_was_measured_otherwise_has_a_row_of_its_own() -> None:
    one = NetworkColumn("a", "Letters", [attacked("pgd", 0.1, 0.5, steps=10), measurement("hessian", 12.345)])
    other = NetworkColumn("b", "Letters", [attacked("pgd", 0.1, 0.4, steps=20), measurement("hessian", 7.5)])
    rows = [(row.what, row.epsilon, row.numbers) for row in comparison_rows([one, other])]
    assert rows == [
        ("λ1 (hessian)", None, [12.345, 7.5]),
        ("pgd", 0.1, [0.5, None]),
        ("pgd", 0.1, [None, 0.4]),
    ]
    elsewhere = NetworkColumn("b", "Digits", other.measurements)
    assert [row.what for row in comparison_rows([one, elsewhere])][:2] == [
        "λ1 (hessian), Letters",
        "λ1 (hessian), Digits",
    ]


def test_an_epsilon_that_breaks_no_half_is_infinite() -> None:
    search = attacked("minimal", 0.3, 0.7)
    search = search.model_copy(update={"values": search.values | {"censored": 0.7}})
    columns = [
        NetworkColumn("a", "Letters", [search], {"median": 0.0125, "low": 0.01, "high": 0.02}),
        NetworkColumn("b", "Letters", [search], {"median": np.inf}),
    ]
    assert comparison_csv(columns).splitlines()[:2] == [
        "measure,epsilon,images,a,b",
        '"smallest ε, median",,60,0.0125,inf',
    ]
    assert comparison_rows(columns)[0].texts == ["0.0125 [0.01, 0.02]", "-"]


def test_two_networks_end_in_one_table_and_its_files(
    run_measure: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("letters.npz", **letters())
    for seed in (0, 1):
        Path(f"run{seed}").mkdir()
        network(seed=seed).save(f"run{seed}/net.keras")
    outs = [word for name in ("found.json", "found.csv", "found.tex") for word in ("--out", name)]
    targets = ("run0/net.keras", "run1/net.keras")
    for _ in range(2):  # its own files are written anew
        code, said, err = run_measure(*targets, "--dataset", "letters.npz", *FEW, *outs)
        assert code == 0, err
    last = said[said.index("all networks") :]
    assert last.split()[:7] == ["all", "networks", "measure", "ε", "images", "run0", "run1"]
    networks = json.loads(Path("found.json").read_text())["networks"]
    with Path("found.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name, found in zip(("run0", "run1"), networks, strict=True):
        for m in found["measurements"]:
            wanted = ("accuracy", "value", "fraction", "confidence")
            value = next(m["values"][key] for key in wanted if key in m["values"])
            epsilon = str(m["settings"].get("epsilon", "")) if m["kind"] == "attack" else ""
            [row] = [r for r in rows if m["label"] in r["measure"] and r["epsilon"] == epsilon]
            assert (float(row[name]) if row[name] else None) == value, m["label"]
    latex = Path("found.tex").read_text()
    assert latex.count("\\toprule") == latex.count("\\bottomrule") == 1
    assert (
        f"run0 & run1 \\\\\n\\midrule\naccuracy on test images &  & 60 & {float(rows[0]['run0']):.3f}"
        in latex
    )

    Path("mine.csv").write_text("a,b\n")
    code, _, err = run_measure(*targets, "--dataset", "letters.npz", "--out", "mine.csv")
    assert (code, "--out mine.csv: there is a file that measure did not write" in err) == (2, True)


@pytest.mark.parametrize(("networks", "letters_each"), [(1, 5), (2, 60), (8, 60)])
def test_the_pictures_legend_fits_whatever_the_names(
    networks: int, letters_each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    png = pictures._png

    def seen(figure: Figure, dpi: int) -> bytes:
        figures.append(figure)
        return png(figure, 50)

    monkeypatch.setattr(pictures, "_png", seen)
    names = short_names([f"{i}{'W' * letters_each}/{'N' * letters_each}{i}" for i in range(networks)])
    curves = [attacked("m" * letters_each, 0.1, 0.5), attacked("pgd", 0.1, 0.4)]
    pictures.epsilon_picture(dict.fromkeys(names, curves), "Letters: accuracy against ε")
    [figure] = figures
    [legend] = figure.legends
    inside = legend.get_window_extent()
    assert inside.x0 >= 0
    assert inside.x1 <= figure.bbox.width
    assert inside.y0 >= 0
    assert figure.axes[0].bbox.height > 1.8 * figure.dpi, "the curves keep their room"


def test_published_networks_take_part_by_their_names(run_measure: Run, tmp_path: Path) -> None:
    first, second = (f"fmnist_stdcnn-seeds/lr/b0064-m{momentum}-s0" for momentum in ("0.0", "0.9"))
    assert {first, second} <= set(published_networks())
    few = ("test_examples=50", "train_examples=50", "hessian.max_iterations=3", "hessian.tolerance=1.0")
    sets = [word for each in few for word in ("--set", each)]
    out = tmp_path / "found.csv"
    code, _, err = run_measure(first, second, "--dataset", "fashion_mnist", *FEW, *sets, "--out", out)
    assert code == 0, err
    heading, accuracy = out.read_text().splitlines()[:2]
    assert heading == "measure,epsilon,images,b0064-m0.0-s0,b0064-m0.9-s0"
    assert all(float(value) > 0.7 for value in accuracy.split(",")[-2:])
    code, _, err = run_measure(first.replace("m0.0", "m0.1"), "--dataset", "fashion_mnist")
    assert code == 2
    assert f"did you mean '{first}'?" in err or "did you mean 'fmnist" in err
