"""docs/float32-and-fgsm.md: its lines print what it says."""

import re
from pathlib import Path

import pytest

TEXT = Path("docs/float32-and-fgsm.md").read_text()


def test_its_lines_print_what_stands_below_them(capsys: pytest.CaptureFixture[str]) -> None:
    [lines] = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    [shown] = re.findall(r"```\n(\[.*?)```", TEXT, re.S)
    exec(lines, {})
    printed, said = (
        [[float(word) for word in line.strip("[]").split()] for line in text.splitlines()]
        for text in (capsys.readouterr().out, shown)
    )
    assert printed[0] == pytest.approx(said[0], rel=1e-6)
    assert printed[1] == pytest.approx(said[1], rel=1e-6)
    assert (printed[0][0], printed[1][0]) == (0.0, pytest.approx(-7.76656881e-9))
