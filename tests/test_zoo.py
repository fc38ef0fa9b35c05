"""The published networks as a table."""

from pathlib import Path

import pytest

import tfsgd
from tfsgd.errors import RequestError
from tfsgd.records.folder import LogFolder

RESULTS = Path("docs/results")


def test_every_stored_network_has_a_row_and_a_file() -> None:
    zoo = tfsgd.zoo()
    assert len(zoo) == len(list(RESULTS.glob("*/trials/*/*/model.keras"))) == zoo.index.nunique()
    row = zoo.loc["fmnist_stdcnn-seeds/lr/b0064-m0.9-s0"]
    [record] = [
        r for r in LogFolder(RESULTS / "fmnist_stdcnn-seeds").records() if r.folder == "lr/b0064-m0.9-s0"
    ]
    [test] = [m for m in record.measurements if m.label == "test"]
    assert (row.batch_size, row.momentum, row.seed, row.test_accuracy) == (64, 0.9, 0, test.accuracy)
    assert Path(row.network).is_file()


def test_without_the_checkout_it_says_what_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(
        RequestError, match=r"no published networks; they are in docs/results of tfsgd's repository"
    ):
        tfsgd.zoo(tmp_path)
