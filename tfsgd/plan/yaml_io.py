"""YAML 1.2 of plain values: text <-> mappings, lists, words, numbers, true, false, null.

What a reader could take for something else is refused, with its line: repeated keys, aliases, tags,
`010` or `1_0` for numbers, dates, keys that are no words. So is what could exhaust the machine.
"""

import io
import os
import re
import stat
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    ScalarEvent,
)
from ruamel.yaml.nodes import CollectionNode, MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.representer import SafeRepresenter

from tfsgd.errors import RequestError
from tfsgd.text import cut, shown

LONGEST_FILE = 1_000_000  # bytes
DEEPEST = 20  # mappings and lists inside each other
MOST_VALUES = 20_000
LONGEST_NUMBER = 40  # characters

_NUMBER = re.compile(
    r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+([eE][-+]?[0-9]+)?"
    r"|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)


_WORD = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")


class DialectError(ValueError):
    """The text is no YAML of plain values; the message is one line and names the line of the text."""


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping, keys in the order of the file.

    Raises:
        RequestError: it cannot be read, is no regular file, is too large, or holds no mapping of plain values.
    """
    try:
        content = _content(path)
        value = parse_yaml(content.decode("utf-8-sig"))
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RequestError(f"{path}: expected YAML of plain values: found bytes that are no UTF-8") from None
    except DialectError as error:
        raise RequestError(f"{path}: expected YAML of plain values: {error}") from None
    if not isinstance(value, dict):
        found = "nothing" if value is None else shown(value)
        raise RequestError(f"{path}: expected a mapping of config keys, found {found}")
    return value


def _content(path: Path) -> bytes:
    mode = os.stat(path).st_mode  # before it is opened: a FIFO would wait for a writer
    if stat.S_ISDIR(mode):
        raise RequestError(f"{path}: expected a YAML file, found a folder")
    if not stat.S_ISREG(mode):
        raise RequestError(f"{path}: expected a YAML file, found what is not a regular file")
    with path.open("rb") as file:
        content = file.read(LONGEST_FILE + 1)
    if len(content) > LONGEST_FILE:
        raise RequestError(
            f"{path}: expected a YAML file of at most {LONGEST_FILE:,} bytes, found a larger one"
        )
    return content


class _Representer(SafeRepresenter):
    """Words are plain, every other text is in double quotes with escapes: read back as it was."""

    def text(self, text: str) -> ScalarNode:
        style = None if _WORD.fullmatch(text) else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Representer.add_representer(str, _Representer.text)


def to_yaml(value: dict[str, Any]) -> str:
    """Plain values as the text that `parse_yaml` reads back as the same values, in the same order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = None  # lists of numbers on one line
    yaml.allow_unicode = False  # escaped, else odd line breaks are read back as others
    yaml.width = 120
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # the library says: None
    text = io.StringIO()
    yaml.dump(value, text)
    return text.getvalue()


def parse_yaml(text: str) -> Any:
    """The plain value that a YAML text stands for; `None` for an empty text.

    Raises:
        DialectError: it stands for none, or not for a plain one.
    """
    if len(text) > LONGEST_FILE:
        raise DialectError(f"found more than {LONGEST_FILE:,} characters")
    try:
        _refuse_what_is_not_plain(text)
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        problem = problem.partition(" with value ")[0]  # of a key that stands twice
        raise _at(getattr(error, "problem_mark", None), problem) from None
    except RecursionError:
        raise DialectError("found too much nesting") from None


def _refuse_what_is_not_plain(text: str) -> None:
    """Walks over the text's events, then over its keys: no value is built before all of them are plain."""
    yaml = YAML(typ="safe", pure=True)
    depth = values = 0
    for event in yaml.parse(text):
        values += isinstance(event, ScalarEvent)
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        problem = _problem_of(event, yaml)
        if depth > DEEPEST:
            problem = f"found more than {DEEPEST} mappings and lists inside each other"
        if values > MOST_VALUES:
            problem = f"found more than {MOST_VALUES:,} values"
        if problem:
            raise _at(event.start_mark, problem)
    _refuse_odd_keys(yaml.compose(text))


def _refuse_odd_keys(node: Any) -> None:
    for child in node.value if isinstance(node, MappingNode | SequenceNode) else ():
        key, value = child if isinstance(node, MappingNode) else (None, child)
        if isinstance(key, CollectionNode):
            raise _at(key.start_mark, "expected a word as key, found a list or mapping")
        if key and not str(key.tag).endswith(":str"):
            raise _at(key.start_mark, f"expected a word as key, found {cut(key.value) or 'nothing'}")
        _refuse_odd_keys(value)


def _problem_of(event: Event, yaml: YAML) -> str | None:
    if isinstance(event, DocumentStartEvent) and (event.version or event.tags):
        return "found a directive (%)"
    if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
        return "found an anchor or alias (& or *): write the value out"
    if tag := getattr(event, "ctag", None):
        return f"could not take the tag {cut(str(tag))}: only plain values are read"
    if not isinstance(event, ScalarEvent):
        return None
    kind, value = _kind(event, yaml), cut(event.value)
    if re.search("[\ud800-\udfff]", event.value):
        return f"found half a character: {value}"
    if kind in ("int", "float"):
        if len(event.value) > LONGEST_NUMBER:
            return f"found a number of {len(event.value):,} characters"
        if not _NUMBER.fullmatch(event.value):
            return f"found {value}, which is read in different ways: write a plain number, or quote a text"
    elif kind not in ("str", "bool", "null"):
        return f"found {value}, which YAML takes for a {kind}: quote it"
    return None


def _kind(event: ScalarEvent, yaml: YAML) -> str:
    """What the library takes a scalar for: str, int, float, bool, null, timestamp ..."""
    tag = yaml.resolver.resolve(ScalarNode, event.value, event.implicit)
    return str(tag).rpartition(":")[2]


def _at(mark: Any, problem: str) -> DialectError:
    line = f" (line {mark.line + 1})" if mark else ""
    return DialectError(f"{' '.join(problem.split())[:200]}{line}")
