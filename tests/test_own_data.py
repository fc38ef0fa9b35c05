"""Arrays of one's own: how they are split, and what is refused, in one line each."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.own import Config, Write, arrays, numbers, refusal
from tfsgd.data.user_data import own_data
from tfsgd.plan.reading import load_experiment


def test_without_other_splits_the_last_sixth_and_tenth_of_the_canonical_order_are_taken() -> None:
    dataset, splits = own_data("my.npz", arrays(120), "here")
    assert (dataset.train, dataset.validation, dataset.test) == (90, 10, 20)
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [90, 10, 20]
    found = [numbers(s.images) for s in (splits.train, splits.validation, splits.test)]
    assert sorted(number for part in found for number in part) == list(range(120))
    for images, split in zip(found, (splits.train, splits.validation, splits.test), strict=True):
        assert split.labels.tolist() == [number % 3 for number in images]


def test_the_order_of_the_arrays_does_not_matter() -> None:
    plain = arrays(120)
    order = np.random.default_rng(0).permutation(120)
    shuffled = {key: value[order] for key, value in plain.items()}
    (known, splits), (again, other) = own_data("x:f", plain, "here"), own_data("x:f", shuffled, "here")
    assert known == again
    np.testing.assert_array_equal(splits.validation.images, other.validation.images)


def test_given_splits_are_kept_and_the_training_gives_only_what_is_missing() -> None:
    test = arrays(24)
    dataset, splits = own_data(
        "x:f", arrays(120, test_images=test["train_images"], test_labels=test["train_labels"]), "here"
    )
    assert (dataset.train, dataset.validation, dataset.test) == (108, 12, 24)
    assert sorted(numbers(splits.test.images)) == list(range(24))


def test_what_is_known_of_a_data_set() -> None:
    dataset, _ = own_data(
        "my_data:letters",
        arrays(classes=("a", "b", "c", "d"), augment=True, epsilon=0.1, title="Letters"),
        "here",
    )
    assert (dataset.name, dataset.title, dataset.image_shape) == ("my_data:letters", "Letters", (8, 8, 1))
    assert (dataset.classes, dataset.class_names) == (4, ("a", "b", "c", "d"))
    assert (dataset.augment, dataset.paper_epsilon) == (True, 0.1)
    plain, _ = own_data("my_data:letters", arrays(), "here")
    assert (plain.title, plain.classes, plain.class_names) == ("letters", 3, None)
    assert (plain.augment, plain.paper_epsilon) == (False, None)
    assert own_data("sub/my_letters.npz", arrays(), "here")[0].title == "my_letters"


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floats_that_are_bytes_are_taken_as_bytes(kind: type) -> None:
    images = np.random.default_rng(0).integers(0, 256, (120, 8, 8, 3), np.uint8)
    floats = images.astype(kind) / kind(255)
    _, splits = own_data("x:f", arrays(train_images=floats), "here")
    _, expected = own_data("x:f", arrays(train_images=images), "here")
    np.testing.assert_array_equal(splits.train.images, expected.train.images)


def test_labels_that_no_training_image_has_are_for_those_who_say_so() -> None:
    dataset, _ = own_data("x:f", arrays(train_labels=np.arange(120) % 3 + 1, classes=4), "here")
    assert dataset.classes == 4


def test_test_images_that_are_trained_on_are_counted() -> None:
    part = {"test_images": arrays()["train_images"][:50], "test_labels": np.arange(50) % 3}
    held_out = arrays(validation_images=255 - part["test_images"], validation_labels=part["test_labels"])
    _, splits = own_data("x:f", held_out | part, "here")
    assert splits.source == "here (50 of 50 test images are among the training images)"
    assert splits.note == "50 of 50 test images are among the training images"
    _, splits = own_data("x:f", arrays(), "here")
    assert (splits.source, splits.note) == ("here", "")


def test_the_sha256_is_of_all_that_a_training_depends_on() -> None:
    other_pixel = arrays()["train_images"].copy()
    other_pixel[7, 7, 7] = 1
    changes: list[dict[str, Any]] = [
        {}, {"train_images": other_pixel}, {"train_labels": (np.arange(120) + 1) % 3}, {"classes": 4},
        {"augment": True}, {"train_images": arrays()["train_images"].reshape(120, 4, 16)},
    ]  # fmt: skip
    assert len({own_data("x:f", arrays(**change), "here")[0].sha256 for change in changes}) == len(changes)
    same = own_data("x:f", arrays(title="Another", epsilon=0.2), "there")[0].sha256
    assert same == own_data("x:f", arrays(), "here")[0].sha256


IMAGES = arrays()["train_images"]
NAN = np.where(np.arange(64).reshape(8, 8) == 9, np.nan, IMAGES / 255.0)
MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"train_images": None}, "train_images: missing beside train_labels"),
    ({"train_labels": None}, "train_labels: missing beside train_images"),
    ({"train_images": None, "train_labels": None}, "train_images: missing; expected at least"),
    ({"test_images": IMAGES}, "test_labels: missing beside test_images"),
    ({"train_image": IMAGES}, "train_image: unknown; did you mean 'train_images'?"),
    ({"zzz": IMAGES}, "zzz: unknown; expected some of train_images, train_labels"),
    ({"train_images": IMAGES.astype(np.int64)}, "train_images: expected uint8, or float32 or float64 in [0, 1], found int64"),
    ({"train_images": IMAGES.astype("U3")}, "train_images: expected uint8"),
    ({"train_images": IMAGES > 1}, "found bool"),
    ({"train_images": IMAGES[0]}, "train_images: expected images of shape (N, height, width)"),
    ({"train_images": IMAGES[:0], "train_labels": np.arange(0)}, "found (0, 8, 8)"),
    ({"train_images": NAN}, "train_images: expected numbers, found NaN or infinity"),
    ({"train_images": NAN * 0 - np.inf}, "train_images: expected numbers, found NaN or infinity"),
    ({"train_images": IMAGES.astype(np.float32)}, "train_images: expected floats in [0, 1], found 0 to 119"),
    ({"train_images": IMAGES / 254.0}, "between two of 256 levels"),
    ({"train_labels": np.arange(119) % 3}, "train_labels: 119 labels for 120 images"),
    ({"train_labels": np.arange(120) % 3 - 1}, "train_labels: expected labels from 0, found -1"),
    ({"train_labels": np.arange(120) % 3 + 1}, "train_labels: labels begin at 1, expected 0; give train_labels - 1"),
    ({"test_images": IMAGES, "test_labels": np.arange(120) % 4}, "train_labels: no training image of class 3"),
    ({"train_images": (IMAGES > 0).astype(np.uint8)}, "train_images: expected bytes up to 255 or floats up to 1, found none above 1 of 255"),
    ({"train_labels": np.arange(120) / 3}, "train_labels: expected integers of shape (N,), found float64"),
    ({"train_labels": np.eye(3, dtype=int)[np.arange(120) % 3]}, "train_labels: expected integers of shape (N,), found int64 of shape (120, 3)"),
    ({"train_labels": np.zeros(120, int)}, "expected at least two classes"),
    ({"classes": 2}, "train_labels: expected 0 to 1 for 2 classes, found 2"),
    ({"classes": np.array(["a", "b"])}, "train_labels: expected 0 to 1 for 2 classes, found 2"),
    ({"classes": np.array(["a", "b", "a"])}, "classes: expected names that differ"),
    ({"classes": 3.5}, "classes: expected their number or their names"),
    ({"test_images": IMAGES[:, :-1], "test_labels": np.arange(120) % 3}, "test_images: expected images of shape (8, 8, 1) like those of the training, found (7, 8, 1)"),
    ({"test_images": IMAGES, "test_labels": np.arange(120), "classes": 3}, "test_labels: expected 0 to 2 for 3 classes, found 119"),
    ({"train_images": IMAGES[:5], "train_labels": np.arange(5)}, "5 images are too few to take a test split from"),
    ({"train_images": IMAGES[:9], "train_labels": np.arange(9) % 3}, "8 images are too few to take a validation split from"),
    ({"augment": 1}, "augment: expected True or False, found 1"),
    ({"epsilon": 8}, "epsilon: expected a number above 0 and at most 1, found 8"),
    ({"epsilon": np.nan}, "epsilon: expected a number above 0 and at most 1, found nan"),
    ({"title": "two\nlines"}, "title: expected a line of at most 60 characters"),
    ({"title": "x" * 61}, "title: expected a line of at most 60 characters"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), MALFORMED, ids=[message[:50] for _, message in MALFORMED])
def test_malformed_arrays_are_refused_as_a_file_and_as_a_function(
    changes: dict[str, Any], message: str, own_config: Config, tmp_path: Path
) -> None:
    made = arrays(**changes)
    file = tmp_path / "my_letters.npz"
    np.savez(file, **made)
    config = own_config(dataset=file.name)
    told = refusal(lambda: load_experiment(config))
    assert told.startswith(f"{config}: dataset: {file}: ")
    assert message in told
    told = refusal(lambda: own_data("my_data:letters", made, "my_data:letters (my_data.py)"))
    assert told.startswith("my_data:letters (my_data.py): ")
    assert message in told


def zipped(**changes: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays(**changes))
    return file.getvalue()


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, IMAGES)
    return file.getvalue()


def other_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("letter.txt", "Dear all,")
    return file.getvalue()


def damaged() -> bytes:
    whole = bytearray(zipped())
    middle = len(whole) // 4
    whole[middle : middle + 8] = b"nonsense"
    return bytes(whole)


class Trap:
    """Pickled, it makes a file when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("pwned", "w"))


FILES = [
    (b"", "expected an .npz file as numpy.savez writes it, found another format"),
    (b"not a zip at all", "found another format"),
    (npy(), "found another format"),
    (zipped()[:-30], "found another format"),
    (damaged(), "cannot be read"),
    (other_zip(), "letter.txt: unknown; expected some of train_images"),
    (zipped(train_images=np.array([Trap()] * 120, object)), "it holds Python objects, which are not loaded"),
    (zipped(classes=np.array(["a", None, "c"], object)), "it holds Python objects, which are not loaded"),
]


@pytest.mark.parametrize(("content", "message"), FILES)
def test_a_file_that_is_none_ends_the_command_in_one_line(
    content: bytes,
    message: str,
    own_config: Config,
    tmp_path: Path,
    run_sweep: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_letters.npz").write_bytes(content)
    code, out, err = run_sweep(own_config(dataset="my_letters.npz"))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err
    assert not Path("pwned").exists()


def test_a_file_is_looked_for_beside_the_config_then_in_data_folders(
    own_config: Config, module: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {key: tmp_path / key for key in ("data", "data_dir", "environment")}
    for key, folder in folders.items():
        folder.mkdir()
        np.savez(folder / "letters.npz", **arrays(title=key))
    np.savez(tmp_path / "letters.npz", **arrays(title="beside"))
    monkeypatch.setenv("TFSGD_DATA", str(folders["environment"]))
    name = module("def small(): ...")
    config = own_config(dataset="letters.npz", model=f"{name}:small", data_dir=str(folders["data_dir"]))

    def title() -> str:
        return load_experiment(config, (), False, folders["data"]).data.title

    assert title() == "beside"
    for key, folder in (
        ("data", tmp_path),
        ("data_dir", folders["data"]),
        ("environment", folders["data_dir"]),
    ):
        (folder / "letters.npz").unlink()
        assert title() == key
    (folders["environment"] / "letters.npz").unlink()
    told = refusal(title)
    for folder in (tmp_path, *folders.values()):
        assert str(folder) in told
    assert "--data DIR" in told


def test_a_file_that_was_written_anew_is_read_anew(own_config: Config, module: Write, tmp_path: Path) -> None:
    config = own_config(dataset="letters.npz", model=f"{module('def small(): ...')}:small")
    for count in (120, 240):
        np.savez(tmp_path / "letters.npz", **arrays(count))
        experiment = load_experiment(config)
        assert experiment.data.test == count // 6
        assert experiment.splits().sha256 == experiment.data.sha256
