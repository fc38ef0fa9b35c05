"""The splits, from raw files and from TFDS, and what is refused."""

import gzip
import hashlib
import os
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from tfsgd.data import cifar as cifar_module
from tfsgd.data import load, tfds
from tfsgd.data.cifar import CIFAR_TRAIN
from tfsgd.data.dataset import Split, Splits, to_unit
from tfsgd.data.load import DATASETS, FOLDERS, load_splits
from tfsgd.errors import RequestError


def hashes(split: Split) -> list[bytes]:
    return [image.tobytes() for image in split.images]


def test_the_papers_split_sizes(splits: Splits) -> None:
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [55_000, 5_000, 10_000]
    assert splits.train.images.shape[1:] == (28, 28, 1)
    assert splits.train.images.dtype == np.uint8
    assert set(splits.test.labels.tolist()) == set(range(10))


def test_no_image_is_in_two_splits_unless_the_data_set_repeats_it(splits: Splits) -> None:
    everything = [h for split in (splits.train, splits.validation, splits.test) for h in hashes(split)]
    repeated = {h for h, n in zip(*np.unique(np.array(everything), return_counts=True), strict=True) if n > 1}
    parts = [set(hashes(s)) for s in (splits.train, splits.validation, splits.test)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert parts[a] & parts[b] <= repeated
    assert len(repeated) < 100


def test_the_order_of_the_source_does_not_matter(splits: Splits) -> None:
    whole = Split(
        np.concatenate([splits.train.images, splits.validation.images]),
        np.concatenate([splits.train.labels, splits.validation.labels]),
    )
    order = np.random.default_rng(0).permutation(len(whole))
    shuffled = load._split("fashion_mnist", Split(whole.images[order], whole.labels[order]), splits.test, "x")
    assert shuffled.sha256 == splits.sha256
    np.testing.assert_array_equal(shuffled.validation.images, splits.validation.images)


def test_any_prefix_is_a_sample_of_all_classes(splits: Splits) -> None:
    counts = np.bincount(splits.train.first(1_000).labels, minlength=10)
    assert counts.min() > 60
    assert len(splits.train.first(None)) == 55_000


def test_bytes_become_fractions() -> None:
    np.testing.assert_array_equal(
        to_unit(np.array([0, 51, 255], np.uint8)), np.array([0, 0.2, 1], np.float32)
    )


# Raw files


@pytest.fixture
def fashion_copy(tmp_path: Path) -> Path:
    """Links to the original files, one of which a test will replace."""
    source = next(
        folder for folder in (load.DEBIAN_FOLDER, *(Path(os.environ.get("TFSGD_DATA", "/")) / f for f in FOLDERS["fashion_mnist"]))
        if (folder / "t10k-labels-idx1-ubyte.gz").exists()
    )  # fmt: skip
    copy = tmp_path / "fashion-mnist"
    copy.mkdir()
    for file in source.glob("*.gz"):
        (copy / file.name).symlink_to(file)
    return copy


def replaced(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).unlink()
    (folder / name).write_bytes(content)
    return folder.parent


def test_named_folder_comes_first(fashion_copy: Path) -> None:
    assert load_splits("fashion_mnist", (fashion_copy.parent,)).source == str(fashion_copy)
    assert load_splits("fashion_mnist", (None, fashion_copy)).source == str(fashion_copy)


def test_environment_names_a_folder(fashion_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFSGD_DATA", str(fashion_copy.parent))
    assert load_splits("fashion_mnist").source == str(fashion_copy)


LABELS = "t10k-labels-idx1-ubyte.gz"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda whole: whole[:2000], "truncated"),
        (lambda whole: gzip.compress(gzip.decompress(whole)[:5000]), "expected 10,000 bytes"),
        (lambda whole: b"not gzip at all", "cannot be read"),
        (lambda whole: gzip.compress(b"<html>404</html>"), "another format"),
        (lambda whole: gzip.compress(b"\0\0\x0d" + gzip.decompress(whole)[3:]), "another format"),
        (
            lambda whole: gzip.compress(gzip.decompress(whole)[:-1] + b"\x09"),
            "expected the published content of fashion_mnist's t10k-labels-idx1-ubyte, found something else",
        ),
    ],
)
def test_spoiled_idx_file_is_refused_by_name(fashion_copy: Path, spoil: Any, message: str) -> None:
    whole = (fashion_copy / LABELS).read_bytes()
    folder = replaced(fashion_copy, LABELS, spoil(whole))
    with pytest.raises(RequestError, match=message) as refused:
        load_splits("fashion_mnist", (folder,))
    assert LABELS in str(refused.value)


def test_one_data_set_is_not_taken_for_another(fashion_copy: Path) -> None:
    with pytest.raises(
        RequestError,
        match="expected the published content of mnist's train-images-idx3-ubyte, found fashion_mnist's",
    ):
        load_splits("mnist", (fashion_copy,))


def test_missing_file_and_missing_folder_are_named(fashion_copy: Path) -> None:
    (fashion_copy / LABELS).unlink()
    with pytest.raises(RequestError, match=r"t10k-labels-idx1-ubyte.*missing"):
        load_splits("fashion_mnist", (fashion_copy,))
    with pytest.raises(RequestError, match="nowhere: expected a folder"):
        load_splits("fashion_mnist", (Path("nowhere"),))


def test_data_of_the_current_folder_is_found(
    fashion_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "DEBIAN_FOLDER", Path("/nonexistent"))
    monkeypatch.delenv("TFSGD_DATA", raising=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fashion-mnist").symlink_to(fashion_copy)
    monkeypatch.chdir(tmp_path)
    assert load_splits("fashion_mnist").source == "data/fashion-mnist"


def test_no_data_names_every_way_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(load, "DEBIAN_FOLDER", Path("/nonexistent"))
    monkeypatch.setattr(load, "HERE", Path("/nonexistent"))
    monkeypatch.delenv("TFSGD_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tfds, "_can_download", lambda: False)
    ways = r"dataset-fashion-mnist.*--data DIR.*data_dir.*TFSGD_DATA.*TFDS.*out of reach"
    with pytest.raises(RequestError, match=ways) as refused:
        load_splits("fashion_mnist")
    assert "\n" not in str(refused.value)


def test_a_failing_download_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tfds, "_can_download", lambda: True)
    with (
        mock.patch("tensorflow_datasets.load", side_effect=OSError("cable cut\nsomewhere")),
        pytest.raises(RequestError, match=r"TFDS download it \(tried: cable cut\)"),
    ):
        tfds.read_tfds("mnist", tmp_path)


@pytest.fixture(scope="session")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files in CIFAR-10's binary format with made-up images."""
    folder = tmp_path_factory.mktemp("cifar") / "cifar-10-batches-bin"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in (*CIFAR_TRAIN, "test_batch.bin"):
        records = rng.integers(0, 256, (10_000, 3073), np.uint8)
        records[:, 0] = rng.permutation(np.repeat(np.arange(10, dtype=np.uint8), 1_000))
        (folder / name).write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(f"class{i}" for i in range(10)) + "\n")
    return folder


@pytest.fixture(scope="session")
def cifar_splits(cifar: Path) -> Splits:
    return load_splits("cifar10", (cifar.parent,))


def test_cifar10_records_are_planes_of_colours(cifar: Path, cifar_splits: Splits) -> None:
    assert [len(s) for s in (cifar_splits.train, cifar_splits.validation, cifar_splits.test)] == [
        40_000,
        10_000,
        10_000,
    ]
    raw = np.frombuffer((cifar / "test_batch.bin").read_bytes(), np.uint8).reshape(-1, 3073)[7]
    at = next(i for i, image in enumerate(cifar_splits.test.images) if image[0, 0, 0] == raw[1] and image[31, 31, 2] == raw[3072] and image[0, 1, 1] == raw[1 + 1024 + 1])  # fmt: skip
    image = cifar_splits.test.images[at]
    for row, column, colour in ((0, 0, 0), (3, 5, 1), (31, 0, 2)):
        assert image[row, column, colour] == raw[1 + colour * 1024 + row * 32 + column]
    assert cifar_splits.test.labels[at] == raw[0]


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("data_batch_3.bin", lambda whole: whole[:-3073], "expected 30,730,000 bytes"),
        ("test_batch.bin", lambda whole: b"\x0b" + whole[1:], "expected labels 0 to 9, found 11"),
        (
            "test_batch.bin",
            lambda whole: bytes([(whole[0] + 1) % 10]) + whole[1:],
            "expected 1,000 images of each class",
        ),
    ],
)
def test_spoiled_cifar_file_is_refused(
    cifar: Path, tmp_path: Path, name: str, spoil: Any, message: str
) -> None:
    copy = tmp_path / "cifar-10-batches-bin"
    copy.mkdir()
    for file in cifar.iterdir():
        (copy / file.name).symlink_to(file)
    replaced(copy, name, spoil((cifar / name).read_bytes()))
    with pytest.raises(RequestError, match=message):
        load_splits("cifar10", (copy,))


# TFDS's own builders, fed the raw files instead of a download


@pytest.mark.timeout(300)
def test_tfds_gives_the_same_fashion_mnist(splits: Splits, fashion_copy: Path, tmp_path: Path) -> None:
    plain = {}
    for file in fashion_copy.glob("*.gz"):
        plain[file.name] = tmp_path / file.stem
        plain[file.name].write_bytes(gzip.decompress(file.read_bytes()))
    train, test = _from_tfds(
        "fashion_mnist", tmp_path, lambda urls: {k: str(plain[Path(url).name]) for k, url in urls.items()}
    )
    assert load._split("fashion_mnist", train, test, "tfds").sha256 == splits.sha256


@pytest.mark.long
@pytest.mark.timeout(300)
def test_tfds_gives_the_same_cifar10(cifar: Path, cifar_splits: Splits, tmp_path: Path) -> None:
    train, test = _from_tfds("cifar10", tmp_path, lambda url: str(cifar.parent))
    assert load._split("cifar10", train, test, "tfds").sha256 == cifar_splits.sha256


def _from_tfds(name: str, folder: Path, files: Any) -> tuple[Split, Split]:
    import tensorflow_datasets

    download = tensorflow_datasets.download.DownloadManager
    with (
        mock.patch.object(download, "download_and_extract", lambda self, urls: files(urls)),
        mock.patch.object(tfds, "_can_download", return_value=True),
    ):
        return tfds.read_tfds(name, folder)


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
def test_real_files_where_they_are(dataset: str) -> None:
    root = os.environ.get("TFSGD_DATA")
    if not root or not load._raw_folder(dataset, (Path(root),)):
        pytest.skip(f"no {dataset} below TFSGD_DATA")
    found = load_splits(dataset, (Path(root),))
    spec = DATASETS[dataset]
    assert [len(found.train), len(found.validation), len(found.test)] == [
        spec.train,
        spec.validation,
        spec.test,
    ]


# CIFAR-10: the published bytes


def test_other_bytes_than_the_published_cifar10_are_said_to_be_others(
    cifar: Path, cifar_splits: Splits
) -> None:
    assert cifar_splits.source == f"{cifar} (not the published bytes)"
    assert cifar_splits.note == "not the published bytes"


def test_the_published_cifar10_is_known_by_its_content(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the checksums of the made-up files as the published ones: all of them count, wherever one bit differs."""
    names = (*CIFAR_TRAIN, "test_batch.bin")
    sums = {name: hashlib.sha1((cifar / name).read_bytes()).hexdigest() for name in names}
    assert sums.keys() == cifar_module._SHA1.keys()
    monkeypatch.setattr(cifar_module, "_SHA1", sums)
    assert cifar_module.is_published(cifar)
    for name in names:
        monkeypatch.setattr(cifar_module, "_SHA1", sums | {name: "0" * 40})
        assert not cifar_module.is_published(cifar)


def test_data_verified_by_content_has_no_note(splits: Splits) -> None:
    assert splits.note == ""


def test_a_data_set_that_is_not_shipped_is_refused_by_name() -> None:
    with pytest.raises(
        RequestError, match=r"^my_letters\.npz: expected one of mnist, fashion_mnist, cifar10; images"
    ):
        load_splits("my_letters.npz")
