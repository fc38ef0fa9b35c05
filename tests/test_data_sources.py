"""Data as people have it: folders of images, names of TFDS, Keras's names, labels from 1, any fixed range."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.own import arrays, numbers, refusal
from tfsgd.data import tfds
from tfsgd.data.user_data import own_data
from tfsgd.measures.victim import Images, Labels
from tfsgd.plan.config import MeasuringConfig
from tfsgd.plan.import_string import is_own_name
from tfsgd.plan.user_model import is_own_dataset
from tfsgd.trials.pictures import PictureRow, _rows_picture

Run = Callable[..., tuple[int, str, str]]


def measuring(name: str, folder: Path) -> MeasuringConfig:
    raw = {"dataset": name, "attacks": {}}
    return MeasuringConfig.model_validate(raw, context={"folder": folder, "data_folder": None})


def same(one: Any, other: Any) -> None:
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)


# Arrays


def test_keras_names_and_labels_in_a_column_are_understood() -> None:
    plain = arrays(120)
    keras = {"x_train": plain["train_images"], "y_train": plain["train_labels"][:, None]}
    same(own_data("k.npz", keras, "here")[1].train, own_data("k.npz", plain, "here")[1].train)
    told = refusal(lambda: own_data("k.npz", keras | {"train_images": plain["train_images"]}, "here"))
    assert told == "here: x_train: it is train_images, which is there, too; leave one of them out"


def test_labels_from_one_are_refused_with_both_ways_out_which_give_the_same() -> None:
    plain = own_data("l.npz", arrays(120), "here")
    labels = arrays(120)["train_labels"]
    from_one = arrays(120, train_labels=labels + 1)
    told = refusal(lambda: own_data("l.npz", from_one, "here"))
    assert "train_labels: labels begin at 1, expected 0; give train_labels - 1" in told
    assert "first_label=1" in told
    known, splits = own_data("l.npz", from_one | {"first_label": 1}, "here")
    assert known == plain[0]
    same(splits.train, plain[1].train)
    gap = arrays(120, train_labels=labels + 2 * (labels > 0))
    assert "no training image of class 1" in refusal(lambda: own_data("l.npz", gap, "here"))
    assert "first_label: expected a whole number" in refusal(
        lambda: own_data("l.npz", from_one | {"first_label": "one"}, "here")
    )


@pytest.mark.parametrize(
    ("scale", "to"),
    [
        ([-1.0, 1.0], lambda x: x / np.float32(127.5) - 1),
        (255, lambda x: x.astype(np.float64)),
        (255, lambda x: x.astype(np.int64)),
        ([10, 20], lambda x: 10 + x / 25.5),
    ],
)
def test_any_fixed_range_gives_the_bytes_that_it_stands_for(scale: Any, to: Callable[..., Any]) -> None:
    plain = arrays(60)
    scaled = arrays(60, train_images=to(plain["train_images"]), scale=scale)
    same(own_data("s.npz", scaled, "here")[1].train, own_data("s.npz", plain, "here")[1].train)
    assert "scale" in refusal(lambda: own_data("s.npz", scaled | {"scale": None}, "here"))
    del scaled["scale"]
    assert "scale=255" in refusal(lambda: own_data("s.npz", scaled, "here"))


@pytest.mark.parametrize("scale", [0, [1, 1], [1, 2, 3], "white", [0, np.inf]])
def test_a_scale_that_is_none_is_refused(scale: Any) -> None:
    told = refusal(lambda: own_data("s.npz", arrays(60, scale=scale), "here"))
    assert told.startswith("here: scale: expected [black, white] such as [-1, 1], or white, found")


# A folder of images by class


def write_images(folder: Path, found: Any, classes: list[str]) -> None:
    for number, (image, label) in enumerate(zip(found.images, found.labels, strict=True)):
        place = folder / classes[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(place / f"{number}.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_of_images_is_the_arrays_that_it_was_written_from(channels: int, tmp_path: Path) -> None:
    made = arrays(120)
    made["train_images"] = np.repeat(made["train_images"][..., None], channels, 3)
    made["train_images"][:, 5, 5, 0] = 200
    _, splits = own_data("f.npz", made, "here")
    for part in ("train", "test", "validation"):
        write_images(tmp_path / "mine" / part, getattr(splits, part), ["b", "c", "d"])
    plan = measuring("mine/", tmp_path)
    assert (plan.data.class_names, plan.data.title) == (("b", "c", "d"), "mine")
    for part in ("train", "test", "validation"):
        same(getattr(plan.splits(), part), getattr(splits, part))
    alone = measuring("train/", tmp_path / "mine")
    assert alone.data.image_shape == (8, 8, channels)
    assert alone.data.train + alone.data.validation + alone.data.test == len(splits.train)


def test_folders_that_are_no_data_set_are_refused(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    assert "none: expected images by class, such as none/CLASS/1.png" in told_of("none/", tmp_path)
    assert "dataset: gone/: no such folder in" in told_of("gone/", tmp_path)
    for size, name in ((8, "a/1.png"), (9, "b/2.png")):
        (tmp_path / "sizes" / name).parent.mkdir(parents=True)
        Image.fromarray(np.full((size, 8), 99, np.uint8)).save(tmp_path / "sizes" / name)
    assert "b/2.png: expected 8 x 8 pixels as a/1.png has, found 8 x 9" in told_of("sizes/", tmp_path)
    (tmp_path / "sizes/b/2.png").write_text("no image")
    assert "b/2.png: cannot be read as an image" in told_of("sizes/", tmp_path)


def told_of(name: str, folder: Path) -> str:
    with pytest.raises(ValueError, match=name.rstrip("/")) as refused:
        measuring(name, folder)
    return str(refused.value)


# TensorFlow Datasets


class Stub:
    """TFDS with one data set of its catalogue."""

    def __init__(self, parts: dict[str, Any], features: dict[str, Any]) -> None:
        self.parts = parts
        self.info = SimpleNamespace(features=features, splits=parts)

    def builder(self, name: str, data_dir: Any) -> Any:
        return SimpleNamespace(info=self.info, is_prepared=lambda: name == "kmnist")

    def load(self, name: str, split: list[str], **settings: Any) -> list[Any]:
        assert settings["batch_size"] == -1
        return [self.parts[part] for part in split]

    def as_numpy(self, part: Any) -> Any:
        return part


def test_a_name_of_tfds_is_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = arrays(120)
    part = {"image": made["train_images"][..., None], "label": made["train_labels"], "coarse": None}
    label = SimpleNamespace(names=["o", "ki", "su"], num_classes=3)
    stub = Stub({"train": part, "test": part}, {"image": None, "label": label, "coarse": None})
    monkeypatch.setattr(tfds, "_tfds", lambda: stub)
    monkeypatch.setattr(tfds, "_can_download", lambda: False)
    plan = measuring("tfds:kmnist", tmp_path)
    assert (plan.data.class_names, plan.data.test, plan.data.title) == (("o", "ki", "su"), 120, "kmnist")
    assert sorted(numbers(plan.splits().test.images)) == list(range(120))
    assert "no data found (tried: storage.googleapis.com is out of reach)" in told_of("tfds:emnist", tmp_path)
    assert "prepare it elsewhere by `tfds build emnist`" in told_of("tfds:emnist", tmp_path)
    stub.info.features.pop("label")
    monkeypatch.setattr(tfds, "_described", lambda name, data_dir: (stub.info.features, ["train"]))
    assert "expected features image and label, found coarse, image" in told_of("tfds:coco", tmp_path)


@pytest.mark.parametrize("name", ["tfds:huggingface:x", "tfds:../x", "tfds:my.module", "tfds:"])
def test_no_name_of_tfds_is_code(name: str, tmp_path: Path) -> None:
    assert is_own_dataset(name)
    assert not is_own_name(name)
    assert "expected a name of TFDS's catalogue" in told_of(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("mnist", "t10k-labels-idx1-ubyte.gz (Yann LeCun's page The MNIST database) into DIR/mnist"),
        ("fashion_mnist", "zalandoresearch/fashion-mnist on GitHub, data/fashion"),
        (
            "cifar10",
            "cifar-10-binary.tar.gz on Alex Krizhevsky's page The CIFAR-10 dataset) into DIR/cifar-10-b",
        ),
    ],
)
def test_what_is_missing_is_named_with_the_place_to_get_it(
    name: str, files: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfds, "_can_download", lambda: False)
    told = refusal(lambda: tfds.read_tfds(name, tmp_path))
    assert files in told
    assert "give --data DIR" in told


# Pictures


@pytest.mark.parametrize("shape", [(1, 16, 1), (16, 1, 1), (1, 16, 3), (1, 1, 1)])
def test_images_of_one_row_have_a_picture(shape: tuple[int, ...]) -> None:
    images: Images = np.random.default_rng(0).random((8, *shape), np.float32)
    labels: Labels = np.arange(8) % 2
    assert _rows_picture([PictureRow("clean", images, labels)], labels, ("a", "b")).startswith(b"\x89PNG")
