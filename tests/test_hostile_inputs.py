"""Whatever is in a config, an override, a record, a raw file or a checkpoint: it is read as what it is, or refused in a line."""

import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import TINY, Config
from tests.hostile import REFUSED, SURVIVED, edited, said, write
from tests.synthetic import experiment, record
from tfsgd.data.idx import _parse_idx
from tfsgd.plan.reading import load_experiment, load_measuring, regrown
from tfsgd.plan.trials import grid
from tfsgd.plan.yaml_io import to_yaml
from tfsgd.records.archive import Arrays, DamagedError, read_arrays, write_arrays
from tfsgd.records.folder import LogFolder, read_record
from tfsgd.reporting.table.studies import read_studies

FAST = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# Overrides

LONG = ".".join(["a"] * 2_000)
CONFLICTS: list[tuple[tuple[str, ...], str]] = [
    (("regimes.LR=5", "regimes.LR.momentum=[0.1]"), "regimes.LR: expected either learning_rate or ratio"),
    (("epochs=3", "epochs.x=1"), "epochs: expected a whole number"),
    (("attacks.pgd=null", "attacks.pgd.steps=3"), "attacks.pgd.epsilon: missing"),
    (("attacks=[]", "attacks.pgd.steps=3"), "attacks.pgd.epsilon: missing"),
    (("epochs=" + "[" * 500 + "]" * 500,), "found more than 20 mappings and lists inside each other"),
    ((f"{LONG}=1",), "expected a key of at most 250 characters, found 3,999"),
    ((f"regimes.{LONG}=1",), "expected a key of at most 250 characters"),
    (("quick." * 2_000 + "epochs=1",), "expected a key of at most 250 characters"),
    (("epochs.=1",), "--set epochs.: expected keys on both sides of each dot"),
    ((".=1",), "expected keys on both sides of each dot"),
    (("attacks.={}",), "expected keys on both sides of each dot"),
    (("quick =1",), "'quick ': unknown key; did you mean 'quick'?"),
    (("name=" + "x" * 101,), "name: expected at most 100 characters"),
    (("regimes={" + "x" * 61 + ": {learning_rate: 1, momentum: [0]}}",), "expected at most 60 characters"),
    (("seeds=1:30",), "seeds: expected a list, received '1:30'"),
    (("epochs=1:30",), "epochs: expected a whole number, received '1:30'"),
    (("epochs=010",), "found 010, which is read in different ways"),
    (("epochs=1_0",), "found 1_0, which is read in different ways"),
    (("quick={profile: full}",), "quick.profile: it is set by --quick, not by hand"),
    (("export=yes",), "export: expected true or false, received 'yes'"),
]


@pytest.mark.parametrize(("overrides", "message"), CONFLICTS, ids=[message[:40] for _, message in CONFLICTS])
def test_overrides_that_contradict_each_other_or_the_form(
    config: Config, overrides: tuple[str, ...], message: str
) -> None:
    line = said("overrides", lambda: load_experiment(config(), overrides))
    assert message in line
    assert "Input should" not in line


def test_a_quick_block_belongs_to_a_sweep(config: Config) -> None:
    """Not "quick: unknown key; did you mean 'quick'?"."""
    line = said("overrides", lambda: regrown(config(), None, ("quick.epochs=1",), None))
    assert line == "--set quick.epochs: only the config of a sweep has a quick block; leave it out"
    line = said("overrides", lambda: load_measuring(None, "mnist", ("quick={epochs: 1}",), None))
    assert line == "--set quick: only the config of a sweep has a quick block; leave it out"


WORDS = st.sampled_from(
    [
        "epochs",
        "regimes",
        "LR",
        "LR/BS",
        "momentum",
        "attacks",
        "pgd",
        "steps",
        "hessian",
        "quick",
        "seeds",
        "a",
        "",
    ]
) | st.text(max_size=4)
VALUES = st.sampled_from(
    [
        "1",
        "-1",
        "1e400",
        ".nan",
        "null",
        "{}",
        "[]",
        "[0]",
        "{a: 1}",
        "{epsilon: [0.1]}",
        "'",
        "[[",
        "x",
        "010",
        "0x1F",
    ]
) | st.text(max_size=6)


@FAST
@given(st.lists(st.tuples(st.lists(WORDS, max_size=5), VALUES), min_size=1, max_size=4))
def test_any_overrides_give_an_experiment_or_a_line(
    config: Config, assignments: list[tuple[list[str], str]]
) -> None:
    texts = tuple(f"{'.'.join(keys)}={value}" for keys, value in assignments)
    path = config()
    if said("overrides, drawn", lambda: load_experiment(path, texts)) == "":
        assert grid(load_experiment(path, texts))


# Configs

LEAVES = st.sampled_from(
    [None, True, -1, 0, 1, 0.5, math.inf, 2**63, "x", "LR", [], [0], [[0]], {}, {"a": 1}, [0.1, 0.1]]
)
PLACES = [
    *((key,) for key in TINY),
    ("regimes", "LR"), ("regimes", "LR", "momentum"), ("regimes", "LR", "learning_rate"), ("attacks", "pgd"),
    ("attacks", "pgd", "epsilon"), ("attacks", "pgd", "steps"), ("attacks", "fgsm", "attack"), ("hessian", "split"),
    ("hessian", "tolerance"), ("curvature", "trace"), ("quick", "epochs"), ("code_dir",), ("own_data",), ("data_dir",),
]  # fmt: skip


@FAST
@given(st.lists(st.tuples(st.sampled_from(PLACES), LEAVES), min_size=1, max_size=3))
def test_any_value_anywhere_gives_an_experiment_or_a_line(
    tmp_path: Path, changes: list[tuple[tuple[str, ...], Any]]
) -> None:
    raw = json.loads(json.dumps(TINY))
    for place, value in changes:
        block = raw
        for key in place[:-1]:
            inner = block.get(key)
            block[key] = inner if isinstance(inner, dict) else {}
            block = block[key]
        block[place[-1]] = value
    path = write(tmp_path / "config.yaml", to_yaml(raw))
    line = said("configs, drawn", lambda: load_experiment(path))
    assert not any(word in line for word in ("Input should", "Value error", "valid dictionary", "pydantic"))


# Records

OF = experiment(
    seeds=[0], batch_sizes=[64], epochs=3, regimes={"LR": {"learning_rate": 0.01, "momentum": [0.0]}}
)
RECORD: dict[str, Any] = record(grid(OF)[0], OF).model_dump(mode="json", by_alias=True)
ATTACK = next(i for i, m in enumerate(RECORD["measurements"]) if m["kind"] == "attack")
CURVATURE = next(i for i, m in enumerate(RECORD["measurements"]) if m["kind"] == "curvature")

EDITS: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("measurements", 0, "values", "accuracy"), 7.5, "values.accuracy: expected a fraction in [0, 1], found 7.5"),
    (("measurements", 0, "values", "accuracy"), -0.1, "expected a fraction in [0, 1]"),
    (("measurements", 0, "values", "accuracy"), True, "expected a fraction in [0, 1], found True"),
    (("measurements", 0, "values", "accuracy"), [0.5], "expected a fraction in [0, 1], found [0.5]"),
    (("measurements", 0, "values", "accuracy"), "0.5", "expected a fraction in [0, 1], found '0.5'"),
    (("measurements", 0, "values", "accuracy"), math.nan, "found NaN, which is no number of JSON"),
    (("measurements", 0, "values", "accuracy"), ..., "train: values.accuracy: missing"),
    (("measurements", 0, "values", "loss"), -5, "values.loss: expected a number from 0, found -5"),
    (("measurements", 0, "values", "loss"), math.inf, "found Infinity"),
    (("measurements", 0, "values", "predicted_classes"), 2.5, "expected a whole number from 0"),
    (("measurements", 0, "examples"), 0, "measurements.0.examples: expected greater than or equal to 1, found 0"),
    (("measurements", 0, "examples"), "200", "expected a whole number, found '200'"),
    (("measurements", 0, "seconds"), -1, "measurements.0.seconds: expected greater than or equal to 0"),
    (("measurements", ATTACK, "settings", "epsilon"), "0.1", "settings.epsilon: expected a number in [0, 1], found '0.1'"),
    (("measurements", ATTACK, "settings", "epsilon"), 99, "settings.epsilon: expected a number in [0, 1], found 99"),
    (("measurements", ATTACK, "settings", "epsilon"), ..., "settings.epsilon: expected a number in [0, 1], found None"),
    (("measurements", ATTACK, "values", "clean_accuracy"), ..., "values.clean_accuracy: missing"),
    (("measurements", CURVATURE, "values", "converged"), ..., "hessian: values.converged: missing"),
    (("measurements", CURVATURE, "values", "converged"), "yes", "expected true or false, found 'yes'"),
    (("measurements", CURVATURE, "values", "value"), [1], "values.value: expected a number or null, found [1]"),
    (("measurements", CURVATURE, "identity"), "0", "measurements"),
    (("measurements", CURVATURE, "more"), 1, "measurements.3.more: unknown key"),
    (("seed",), "0", "seed: expected a whole number, found '0'"),
    (("seed",), 0.0, "seed: expected a whole number, found 0.0"),
    (("seed",), False, "seed: expected a whole number, found False"),
    (("seed",), 2**32, "seed: expected less than 4294967296"),
    (("epochs",), "3", "epochs: expected a whole number"),
    (("epochs",), 2, "training_hash: it does not belong to these settings; the record was edited"),
    (("classes",), -3, "classes: expected greater than or equal to 1, found -3"),
    (("train_examples",), 7, "train_examples: expected all 55,000 images of fashion_mnist, found 7"),
    (("cut",), True, "training_hash: it does not belong to these settings; the record was edited"),
    (("sgd", "momentum"), "0.0", "sgd.momentum: expected a number, found '0.0'"),
    (("sgd", "momentum"), 1.5, "sgd.momentum: expected less than 1, found 1.5"),
    (("sgd", "learning_rate"), 0, "sgd.learning_rate: expected greater than or equal to 1e-30, found 0"),
    (("sgd", "dampening"), 0.1, "sgd.dampening: unknown key"),
    (("batch_norm",), "no", "batch_norm: expected true or false"),
    (("cut",), 0, "cut: expected true or false"),
    (("regimes",), [], "regimes: expected at least one, found none"),
    (("status",), "diverged", "status: diverged, but it has measurements"),
    (("status",), "done", "status: expected 'completed', 'diverged' or 'collapsed', found 'done'"),
    (("seconds", "train"), "1", "seconds.train: expected a number, found '1'"),
    (("seconds", "train"), -1.0, "seconds.train: expected greater than or equal to 0"),
    (("history", "loss"), ["1", 1, 1], "history.loss.0: expected a number, found '1'"),
    (("history", "loss"), [1, 1], "history: expected columns of one length"),
    (("history", "accuracy"), [0.1, 0.2, 7], "history.accuracy: expected fractions in [0, 1], found 0.1 to 7"),
    (("provenance", "threads"), "1", "provenance.threads: expected a whole number"),
    (("provenance", "onednn"), 1, "provenance.onednn: expected true or false"),
    (("name",), "=HYPERLINK(1)", "name: expected letters, digits"),
    (("data_sha256",), "0", "data_sha256"),
]  # fmt: skip


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return write(tmp_path / "sweep/trials/lr/b0064-m0.0-s0/record.json", json.dumps(RECORD))


def test_the_record_as_it_was_written_is_read(stored: Path) -> None:
    assert read_record(stored, {}) == record(grid(OF)[0], OF)


@pytest.mark.parametrize(
    ("place", "value", "message"), EDITS, ids=[f"{'.'.join(map(str, p))}={v}"[:60] for p, v, _ in EDITS]
)
def test_an_edited_record_is_refused_by_its_key(
    stored: Path, place: tuple[str | int, ...], value: Any, message: str
) -> None:
    stored.write_text(edited(RECORD, place, value))
    line = said("records edited by hand", lambda: read_record(stored, {}))
    assert line.startswith(f"{stored}: no valid ")
    assert message in line
    assert not any(word in line for word in ("Input should", "Value error"))


def every_place(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in every_place(item, (*path, key)))]


PLACES_OF_RECORD = [place for place in every_place(RECORD) if place]
JUNK = st.sampled_from(
    [
        ...,
        None,
        True,
        -1,
        0,
        1,
        2**70,
        -1e308,
        1e-320,
        0.5,
        math.nan,
        "",
        "0",
        "=1+1",
        [],
        [0],
        {},
        {"a": 1},
        [[1, "x"]],
    ]
)


@settings(FAST, max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(PLACES_OF_RECORD), JUNK), min_size=1, max_size=2))
def test_a_record_with_anything_anywhere_is_refused_or_gives_its_row(
    stored: Path, edits: list[tuple[tuple[str | int, ...], Any]]
) -> None:
    """What is read can be shown: every number of it is a number of its kind."""
    copy = RECORD
    for place, value in edits:
        try:
            copy = json.loads(edited(copy, place, value))
        except (KeyError, IndexError, TypeError):
            return  # the place went with an edit before
    stored.write_text(json.dumps(copy))
    read: list[Any] = []
    if said("records, drawn", lambda: read.append(read_record(stored, {}))) == "":
        for found in read[0].measurements:
            assert found.accuracy is None or 0 <= found.accuracy <= 1
            assert found.epsilon is None or 0 <= found.epsilon <= 1
        assert read[0].training.hash == RECORD["training_hash"]


@pytest.mark.parametrize("name", ["record.json", "failure.json"])
@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5_000, '{"schema": 1e999}', "", "\0", '{"error": []}', "NaN", "3", "null"]
)  # fmt: skip
def test_a_file_of_a_trial_that_is_no_such_file(stored: Path, name: str, text: str) -> None:
    sweep = stored.parents[3]
    LogFolder(sweep).write_experiment(OF)
    write(sweep / "trials/lr/b0064-m0.0-s1" / name, text)
    line = said("files of a trial", lambda: read_studies([sweep]))
    assert (name in line) == (name == "record.json")  # a failure is told of as well as it can be


# IDX

SIZES = st.sampled_from([0, 1, 2, 3, 28, 255, 60_000, 2**16, 2**31, 2**31 - 1, 2**32 - 1])


@settings(FAST, max_examples=300)
@given(
    st.binary(max_size=4) | st.just(b"\0\0\x08\x03"), st.tuples(SIZES, SIZES, SIZES), st.binary(max_size=16)
)
def test_an_idx_header_of_anything(magic: bytes, shape: tuple[int, int, int], data: bytes) -> None:
    content = magic + struct.pack(">3I", *shape) + data
    read: list[Any] = []
    path = Path("train-images-idx3-ubyte")
    if said("IDX headers, drawn", lambda: read.append(_parse_idx(content, path))) == "":
        assert read[0].shape == shape
        assert read[0].tobytes() == data


def test_an_idx_header_whose_product_is_0_in_64_bits() -> None:
    content = b"\0\0\x08\x03" + struct.pack(">3I", 2**31, 2**31, 4)
    line = said("IDX headers, drawn", lambda: _parse_idx(content, Path("train-images-idx3-ubyte")))
    assert "expected 18,446,744,073,709,551,616 bytes of data as its header says, found 0" in line


# Checkpoints


def flip(path: Path, position: int) -> None:
    """Flips one bit of a file in its place."""
    with path.open("r+b", buffering=0) as file:
        byte = os.pread(file.fileno(), 1, position // 8)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1 << position % 8]), position // 8)


def test_every_flipped_bit_of_a_checkpoint_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    """A flip in a place that holds nothing, such as a time of the archive, leaves the arrays what they were."""
    arrays: Arrays = {
        "v0000": np.arange(6, dtype=np.float32).reshape(2, 3),
        "seen": np.frombuffer(b'{"epochs": []}', np.uint8),
    }
    path = tmp_path / "epoch-000001.npz"
    write_arrays(path, arrays)
    whole = path.read_bytes()
    noticed = 0
    for position in range(8 * len(whole)):
        flip(path, position)
        try:
            read = read_arrays(path)
        except DamagedError:
            noticed += 1
            continue
        finally:
            flip(path, position)
        assert read.keys() == arrays.keys()
        for name, array in arrays.items():
            assert read[name].dtype == array.dtype
            np.testing.assert_array_equal(read[name], array)
    assert noticed > 0.6 * 8 * len(whole)
    REFUSED["checkpoints, every bit flipped"] += noticed
    SURVIVED["checkpoints, every bit flipped"] += 8 * len(whole) - noticed
    assert path.read_bytes() == whole


@FAST
@given(st.data())
def test_a_checkpoint_with_bytes_lost_or_added(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "epoch-000002.npz"
    arrays: Arrays = {"v0000": np.zeros((3, 4), np.float32)}
    write_arrays(path, arrays)
    whole = path.read_bytes()
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    path.write_bytes(whole[:begin] + data.draw(st.binary(max_size=40)) + whole[end:])
    try:
        read = read_arrays(path)
    except DamagedError:
        REFUSED["checkpoints, bytes lost or added"] += 1
        return
    SURVIVED["checkpoints, bytes lost or added"] += 1
    np.testing.assert_array_equal(read["v0000"], arrays["v0000"])


def test_a_checkpoint_that_may_not_be_read_is_said_to_be_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*arguments: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "epoch-000001.npz").write_bytes(b"arrays")
    monkeypatch.setattr(np, "load", denied)
    with pytest.raises(DamagedError, match=r"^PermissionError: \[Errno 13\] Permission denied$"):
        read_arrays(tmp_path / "epoch-000001.npz")
