"""The YAML that is read: YAML 1.2's plain values as PyYAML's or JSON's reader sees them, and nothing else."""

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Config
from tfsgd.errors import RequestError
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.yaml_io import LONGEST_FILE, DialectError, parse_yaml, read_yaml, to_yaml
from tfsgd.records.folder import LogFolder
from tfsgd.text import cut

VALUES: list[tuple[str, Any]] = [
    ("1e-2", 0.01),
    ("1E-2", 0.01),
    ("1.0e-2", 0.01),
    (".01", 0.01),
    ("+1e-2", 0.01),
    ("12e03", 12_000.0),
    ("1.", 1.0),
    ("0", 0),
    ("-7", -7),
    ("+12", 12),
    ("0o17", 15),
    ("0x1F", 31),
    ("1:30", "1:30"),  # a minute and a half in YAML 1.1
    ("'010'", "010"),
    ("'2020-01-01'", "2020-01-01"),
    ("yes", "yes"),  # true in YAML 1.1
    ("on", "on"),
    ("true", True),
    ("~", None),
    ("null", None),
    ("[1, 2]", [1, 2]),
    ("{x: {y: [a]}}", {"x": {"y": ["a"]}}),
    ("LR/BS", "LR/BS"),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_plain_values(text: str, value: Any) -> None:
    found = parse_yaml(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


REFUSED = [
    ("a: 010", "found 010, which is read in different ways"),
    ("a: 08", "found 08"),
    ("a: -010", "found -010"),
    ("a: 007.5", "found 007.5"),
    ("a: 1_0", "found 1_0"),
    ("a: 1_0.5", "found 1_0.5"),
    ("a: 0b11", "found 0b11"),
    ("a: 2020-01-01", "takes for a timestamp: quote it"),
    ("a: 2020-99-99", "takes for a timestamp"),
    ("a: 1\nb: 2\na: 3", 'found duplicate key "a" (line 3)'),
    ("a: {b: 1, b: 2}", 'found duplicate key "b" (line 1)'),
    ("a: 1\n2: 3", "expected a word as key, found 2 (line 2)"),
    ("? [a]\n: 1", "expected a word as key, found a list or mapping"),
    ("? {a: b}\n: 1", "expected a word as key, found a list or mapping"),
    ("a: [{1: 2}]", "expected a word as key, found 1"),
    ("~: 1", "expected a word as key"),
    ("a: &x 1\nb: *x", "anchor or alias (& or *): write the value out (line 1)"),
    ("a: &x [1]", "anchor or alias"),
    ("<<: {a: 1}", "found <<"),
    ("a: !!python/object/apply:os.system [touch pwned]", "tag"),
    ("a: !!int 010", "tag"),
    ("a: !!set {x}", "tag"),
    ("a: !!map {x: 1}", "tag"),
    ("%YAML 1.1\n---\na: 010", "directive"),
    ("a: 1\n---\nb: 2", "another document"),
    ("a: [1", "(line 1)"),
    ("a: " + "9" * 5000, "found a number of 5,000 characters (line 1)"),
    ("[" * 100_000, "found more than 20 mappings and lists inside each other (line 1)"),
    ("{a: " * 21 + "1" + "}" * 21, "found more than 20"),
    ("a: \x07", "character"),
    ("a: " + "b: " * 3, "mapping values"),
    ('a: "\\ud800"', "found half a character: \\ud800"),
    ("'" + "k" * 900 + "': 1\n'" + "k" * 900 + "': 2", "duplicate key"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_is_not_plain_is_refused_in_one_short_line(text: str, message: str) -> None:
    with pytest.raises(DialectError, match=re.escape(message)) as refused:
        parse_yaml(text)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 250


def test_twenty_levels_are_read() -> None:
    value = parse_yaml("{a: " * 20 + "1" + "}" * 20)
    for _ in range(20):
        value = value["a"]
    assert value == 1


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    with pytest.raises(DialectError, match="alias"):
        parse_yaml("\n".join(lines))


def test_only_regular_files_of_a_size_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "large.yaml").write_text("a: 1\n" + "#" * LONGEST_FILE)
    (tmp_path / "fits.yaml").write_text("a: 1\n" + "#" * (LONGEST_FILE - 5))
    (tmp_path / "mark.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    for path, message in [
        (tmp_path / "fifo.yaml", "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path, "found a folder"),
        (tmp_path / "large.yaml", "at most 1,000,000 bytes"),
        (tmp_path / "none.yaml", "No such file"),
    ]:
        with pytest.raises(RequestError, match=message) as refused:
            read_yaml(path)
        assert str(refused.value).startswith(f"{path}: ")
    assert read_yaml(tmp_path / "fits.yaml") == {"a": 1}
    assert read_yaml(tmp_path / "mark.yaml") == {"a": 1}


@pytest.mark.parametrize(
    ("letters", "attacks", "message"),
    [(300_000, 1, "more than 1,000,000 characters"), (0, 1_900, "more than 20,000 values"), (240_000, 1, "")],
)
def test_a_config_can_be_read_again_with_its_defaults_or_is_refused(
    letters: int, attacks: int, message: str, config: Config, tmp_path: Path
) -> None:
    path = config(attacks={f"a{i}": {"attack": "pgd", "epsilon": [0.1]} for i in range(attacks)})
    path.write_text(f'{path.read_text()}data_dir: "/{"é" * letters}"\n')  # longer where it is escaped
    assert path.stat().st_size < LONGEST_FILE
    if message:
        with pytest.raises(RequestError, match=f"{path}: with every default written out, .*{message}"):
            load_experiment(path)
        return
    logs = LogFolder(tmp_path)
    logs.write_experiment(experiment := load_experiment(path))
    assert logs.experiment_path.stat().st_size > 0.95 * LONGEST_FILE
    assert logs.read_experiment() == experiment


def test_echoed_text_is_short_and_printable() -> None:
    assert cut("x" * 100) == "x" * 57 + "..."
    assert cut("a\nb\x1b[31m") == "a\\nb\\x1b[31m"


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PRINTED = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Co", "Zl", "Zp"]), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | WORDS
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(WORDS, PLAIN, max_size=4))
def test_what_is_written_is_read_back_in_its_order(value: dict[str, Any]) -> None:
    read = parse_yaml(to_yaml(value))
    assert repr(read) == repr(value)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(PRINTED, PRINTED | st.lists(st.integers(-(10**9), 10**9) | st.floats(0, 1)), max_size=4)
)
def test_json_is_yaml(value: dict[str, Any]) -> None:
    assert parse_yaml(json.dumps(value, ensure_ascii=False)) == value


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60) | st.text("ab01:-_.#[]{},&*!|>'\"%@ \n\t?", max_size=60))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    refusal = ""
    try:
        parse_yaml(text)
    except DialectError as error:
        refusal = str(error)
    assert len(refusal.splitlines()) <= 1


@settings(max_examples=100, deadline=None)
@given(st.text("0123456789+-.eE_xob:", min_size=1, max_size=8))
def test_a_number_is_the_one_that_python_reads(text: str) -> None:
    """No text becomes another number than the one that it is in decimal (or 0x, 0o)."""
    try:
        value = parse_yaml(f"[{text}]")
    except DialectError:
        return
    if isinstance(value[0], int | float) and not isinstance(value[0], bool):
        expected = int(text, 0) if text[:2] in ("0x", "0o") else float(text)
        assert value[0] == expected or math.isnan(expected)
