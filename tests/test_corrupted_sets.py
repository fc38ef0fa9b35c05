"""MNIST-C and CIFAR-10-C through TFDS's own builders, which are given few images of a test in place of a download."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest

from tests.conftest import Config
from tests.own import refusal
from tfsgd.data import corrupted_sets, tfds
from tfsgd.data.dataset import Split, Splits, canonical, to_unit
from tfsgd.measures import corruptions
from tfsgd.measures.corruption_accuracy import Corruptions
from tfsgd.measures.spec import Request
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.plan.reading import load_experiment

COUNT = 60
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 10, COUNT)
GREY = RNG.integers(0, 256, (COUNT, 28, 28, 1), np.uint8)
COLOUR = RNG.integers(0, 256, (COUNT, 32, 32, 3), np.uint8)
FAMILIES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {  # that a test can undo
    "identity": lambda images, severity: images,
    "fog": lambda images, severity: 255 - images,
    "brightness": lambda images, severity: np.maximum(images, 10 * severity).astype(np.uint8),
}


def mnist_c(folder: Path) -> None:
    """The files of mnist_c.zip, of three families."""
    for family, change in FAMILIES.items():
        place = folder / "mnist_c" / family
        place.mkdir(parents=True)
        for split in ("train", "test"):
            np.save(place / f"{split}_images.npy", change(GREY, 1))
            np.save(place / f"{split}_labels.npy", LABELS)


def cifar10_c(folder: Path) -> None:
    """The files of CIFAR-10-C.tar, of one family, and those of cifar-10-binary.tar.gz."""
    corrupted, clean = folder / "CIFAR-10-C", folder / "cifar-10-batches-bin"
    corrupted.mkdir(parents=True)
    clean.mkdir()
    np.save(corrupted / "labels.npy", np.tile(LABELS, 5))
    every = np.concatenate([FAMILIES["brightness"](COLOUR, severity) for severity in (1, 2, 3, 4, 5)])
    np.save(corrupted / "brightness.npy", every)
    (clean / "batches.meta.txt").write_text("".join(f"{i}\n" for i in range(10)))
    records = np.concatenate([LABELS[:, None], COLOUR.transpose(0, 3, 1, 2).reshape(COUNT, -1)], 1)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (clean / f"{name}.bin").write_bytes(records.astype(np.uint8).tobytes())


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of TFDS, into which it builds from the files above."""
    import tensorflow_datasets as real

    files, folder = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("tfds")
    mnist_c(files)
    cifar10_c(files)
    inside = SimpleNamespace(
        builder=lambda name, data_dir=None: real.builder(name, data_dir=folder),
        load=lambda name, **how: real.load(name, **{**how, "data_dir": folder}),
        as_numpy=real.as_numpy,
    )
    real.disable_progress_bar()
    with (
        mock.patch.object(real.download.DownloadManager, "download_and_extract", return_value=str(files)),
        mock.patch.object(tfds, "_tfds", return_value=inside),
        mock.patch.object(tfds, "_can_download", return_value=True),
    ):
        yield folder


def first(images: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the test set in canonical order."""
    split = canonical(Split(images, LABELS)).first(count)
    return to_unit(split.images), split.labels


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("count", [COUNT, 25])
def test_each_image_of_mnist_c_is_that_of_the_test_image_in_its_place(count: int) -> None:
    images, labels = first(GREY, count)
    found = corrupted_sets.corrupted_images("mnist_corrupted", images, labels)
    np.testing.assert_allclose(found("fog", 1), 1 - images, atol=1e-6)
    np.testing.assert_array_equal(found("identity", 1), images)


@pytest.mark.usefixtures("here")
def test_cifar_10_c_has_the_order_of_tfdss_cifar10_and_its_severities() -> None:
    images, labels = first(COLOUR, COUNT)
    found = corrupted_sets.corrupted_images("cifar10_corrupted", images, labels)
    for severity in (1, 5):
        expected = np.maximum(images, np.float32(10 * severity / 255))
        np.testing.assert_allclose(found("brightness", severity), expected, atol=1e-6)


@pytest.mark.usefixtures("here")
def test_other_images_and_other_labels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = first(GREY, 25)
    for given in ((images[::-1], labels), (images, (labels + 1) % 10)):
        said = refusal(partial(corrupted_sets.corrupted_images, "mnist_corrupted", *given))
        assert (
            said
            == "tfds:mnist_corrupted/identity: expected the mnist test images that are measured, found others"
        )
    found = corrupted_sets.corrupted_images("mnist_corrupted", images, labels)
    monkeypatch.setattr(
        corrupted_sets, "read_test", lambda name: Split(tfds.read_test(name).images, LABELS[::-1])
    )
    assert "expected the labels of mnist_corrupted/identity in its order" in refusal(lambda: found("fog", 1))


def test_what_is_not_there_is_refused_in_a_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Corruptions(tfds="mnist_corrupted", families=("zigzag",))
    monkeypatch.setattr(tfds, "_can_download", lambda: False)
    said = refusal(spec.prepare)
    assert said.startswith("tfds:mnist_corrupted/")
    assert "prepare it elsewhere by `tfds build mnist_corrupted/" in said
    monkeypatch.setattr(tfds, "_can_download", lambda: True)
    Corruptions(tfds="mnist_corrupted", families=("fog",)).prepare()
    assert (here / "mnist_corrupted" / "fog").is_dir()


@pytest.mark.usefixtures("here")
def test_the_accuracies_are_those_on_the_sets_images() -> None:
    keras.utils.set_random_seed(1)
    network: Any = keras.Sequential(
        [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    split = canonical(Split(GREY, LABELS))
    subject = MeasuredNetwork(network, Splits(split, split, split, "0" * 64, "drawn"))
    spec = Corruptions.model_validate({"tfds": "mnist_corrupted", "families": ["fog", "brightness"]})
    found = Request("corruptions", "corruptions", spec, "test", 40).measure_on(subject)
    images, labels = split.images[:40], split.labels[:40]
    for family, [accuracy] in zip(spec.families, found.values["accuracies"], strict=True):
        moved = to_unit(FAMILIES[family](images, 1))
        assert accuracy == (np.asarray(network(moved)).argmax(1) == labels).mean()
    assert found.settings["tfds"] == "mnist_corrupted"


def test_a_config_asks_for_a_published_set_and_gets_all_of_it(config: Config) -> None:
    found = load_experiment(config(dataset="mnist", corruptions={"tfds": "mnist_corrupted"})).corruptions
    assert found
    assert len(found.families) == 15
    assert found.severities == (1,)
    cifar = Corruptions.model_validate({"tfds": "cifar10_corrupted", "severities": 5})
    assert (len(cifar.families), cifar.severities) == (19, (5,))
    plain = Corruptions()
    assert "tfds" not in plain.settings()  # nor in an identity
    assert plain.families == tuple(family for family in corruptions.FAMILIES if family != "identity")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("corruptions={tfds: mnist_corrupted}", "corruptions.tfds: mnist_corrupted is for mnist, the data set is fashion_mnist"),
        ("corruptions={tfds: mnist_corrupted, families: [fogg]}", "corruptions.families: expected some of shot_noise"),
        ("corruptions={tfds: mnist_corrupted, severities: [3]}", "corruptions.severities: expected some of 1, received '3'"),
        ("corruptions={tfds: imagenet}", "corruptions.tfds: expected"),
    ],
)  # fmt: skip
def test_a_set_that_does_not_fit_is_refused_in_a_line(config: Config, setting: str, said: str) -> None:
    assert said in refusal(lambda: load_experiment(config(), (setting,)))


def test_the_sets_are_those_of_tfds() -> None:
    import tensorflow_datasets as real

    for name, known in corrupted_sets.SETS.items():
        there = set(real.builder_cls(name).builder_configs)
        ours = {
            corrupted_sets.part_of(name, family, severity).removeprefix(f"{name}/")
            for family in known.families
            for severity in known.severities
        }
        assert ours == there - {"identity"}
