"""Models and data of one's own: what a name stands for, and what is refused, in one line each."""

import io
import subprocess
import sys
import textwrap
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml

from tfsgd.data.own import own_data
from tfsgd.errors import RequestError
from tfsgd.plan.config import Experiment
from tfsgd.plan.own import OwnModel
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.resolve import resolve
from tfsgd.plan.trials import grid, training_of
from tfsgd.plan.wanted import wanted
from tfsgd.reporting.studies import read_studies

Write = Callable[[str], str]
Config = Callable[..., Path]


def arrays(count: int = 120, **changes: Any) -> dict[str, Any]:
    """Images whose top left pixels say their number, so that each is known again; `None` leaves a key out."""
    images = np.zeros((count, 8, 8), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    made = {"train_images": images, "train_labels": np.arange(count) % 3} | changes
    return {key: value for key, value in made.items() if value is not None}


def numbers(images: np.ndarray) -> list[int]:
    """Which images of `arrays` they are."""
    return [int(image[0, 0, 0]) + 256 * int(image[0, 1, 0]) for image in images]


@pytest.fixture
def module(tmp_path: Path) -> Write:
    """Writes a module of a new name beside the config; returns the name."""

    def write(text: str) -> str:
        name = f"own_{uuid.uuid4().hex}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        return name

    return write


@pytest.fixture
def own_config(config: Config) -> Config:
    """A config that 8x8 images fit."""
    small = {"batch_sizes": [16], "train_examples": None, "validation_examples": None, "test_examples": None}

    def write(**changes: Any) -> Path:
        return config(
            **(small | {"hessian": {"examples": 20, "max_iterations": 3, "tolerance": 0.5}} | changes)
        )

    return write


def refusal(do: Callable[[], Any]) -> str:
    with pytest.raises(RequestError) as refused:
        do()
    assert "\n" not in str(refused.value)
    return str(refused.value)


# module:name


def test_the_configs_folder_comes_first_and_the_path_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"own_{uuid.uuid4().hex}"
    beside, elsewhere = tmp_path / "beside", tmp_path / "elsewhere"
    for folder in (beside, elsewhere):
        folder.mkdir()
        (folder / f"{name}.py").write_text(f"def f():\n    return {folder.name!r}\n")
    monkeypatch.syspath_prepend(str(elsewhere))
    path = list(sys.path)
    assert resolve(f"{name}:f", beside, "model")() == "beside"
    assert sys.path == path


def test_a_module_on_the_path_and_in_a_package_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "elsewhere" / f"own_{uuid.uuid4().hex}"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "nets.py").write_text("class Net: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    for code_dir in (None, tmp_path):
        assert resolve(f"{package.name}.nets:Net", code_dir, "model").__name__ == "Net"


def test_a_module_is_imported_once(module: Write, tmp_path: Path) -> None:
    name = module("count = []\ndef f(): ...\ndef g(): return count\ncount.append(1)")
    first = resolve(f"{name}:f", tmp_path, "model")
    assert resolve(f"{name}:f", tmp_path, "model") is first
    assert resolve(f"{name}:g", tmp_path, "model")() == [1]


def test_what_a_module_prints_leaves_standard_output_alone(
    module: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resolve(f"{module('print(1234)' + chr(10) + 'def f(): ...')}:f", tmp_path, "model")
    assert capsys.readouterr() == ("", "1234\n")


@pytest.mark.parametrize(
    ("text", "attribute", "message"),
    [
        ("def smaller(): ...", "small", "has no 'small'; did you mean 'smaller'?"),
        ("small = 3", "small", "expected 'small' to be a function or a class, found int"),
        ("x = 1\n1 / 0", "small", "cannot be imported: ZeroDivisionError: division by zero (FILE, line 2)"),
        ("def small(:", "small", "cannot be imported: SyntaxError: invalid syntax (FILE, line 1)"),
        ("import nowhere_to_be_found", "small", "No module named 'nowhere_to_be_found' (FILE, line 1)"),
        ("raise SystemExit('no\\nway')", "small", "cannot be imported: SystemExit: no way (FILE, line 1)"),
    ],
)
def test_a_module_that_cannot_be_used_is_named(
    text: str, attribute: str, message: str, module: Write, tmp_path: Path
) -> None:
    name = module(text)
    told = refusal(lambda: resolve(f"{name}:{attribute}", tmp_path, "model"))
    assert told.startswith(f"model: {name}:small: ")
    assert message.replace("FILE", str(tmp_path / f"{name}.py")) in told


def test_a_missing_module_is_named_with_the_nearest_file(tmp_path: Path) -> None:
    (tmp_path / "my_letterz_module.py").touch()
    told = refusal(lambda: resolve("my_letters_module:f", tmp_path, "dataset"))
    assert f"no module 'my_letters_module' in {tmp_path} or on Python's path" in told
    assert told.endswith("did you mean 'my_letterz_module'?")


@pytest.mark.parametrize("name", ["nets.py:", "a/b:small", "nets:small:x", ":small", "nets:sm all"])
def test_another_form_of_name_is_refused(name: str, tmp_path: Path) -> None:
    assert "expected module:name, such as" in refusal(lambda: resolve(name, tmp_path, "model"))


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text("def small(): ...\n")
    told = refusal(lambda: resolve("yaml:small", tmp_path, "model"))
    assert f"{tmp_path / 'yaml.py'}: a module 'yaml' has been imported from {yaml.__file__}" in told


# Data


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
    ({"train_labels": np.arange(120) / 3}, "train_labels: expected integers of shape (N,), found float64"),
    ({"train_labels": np.eye(3, dtype=int)[np.arange(120) % 3]}, "train_labels: expected integers of shape (N,), found int64 of shape (120, 3)"),
    ({"train_labels": np.zeros(120, int)}, "expected at least two classes"),
    ({"classes": 2}, "train_labels: expected 0 to 1 for 2 classes, found 2"),
    ({"classes": np.array(["a", "b"])}, "train_labels: expected 0 to 1 for 2 classes, found 2"),
    ({"classes": np.array(["a", "b", "a"])}, "classes: expected names that differ"),
    ({"classes": 3.5}, "classes: expected their number or their names"),
    ({"test_images": IMAGES[:, 1:], "test_labels": np.arange(120) % 3}, "test_images: expected images of shape (8, 8, 1) like those of the training, found (7, 8, 1)"),
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
        return load_experiment(config, (), False, (folders["data"],)).data.title

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


DATA = """
import numpy as np
images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
def letters():
    print("drawing")
    return {"train_images": images, "train_labels": np.arange(60) % 3}
def moody():
    return letters() | {"train_images": np.random.default_rng().integers(0, 256, (60, 8, 8), np.uint8)}
def nothing(): ...
def wrong():
    return letters() | {"augment": "yes"}
def raises():
    import nowhere_to_be_found
def needs(count): ...
"""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", "expected to return a dict with train_images and train_labels, returned NoneType"),
        ("wrong", "augment: expected True or False, found 'yes'"),
        ("raises", "it raised ModuleNotFoundError: No module named 'nowhere_to_be_found' (FILE, line 13)"),
        ("needs", "it raised TypeError: needs() missing 1 required positional argument: 'count'"),
        ("leters", "has no 'leters'; did you mean 'letters'?"),
    ],
)
def test_a_function_that_gives_no_data_is_named_with_its_file(
    function: str, message: str, module: Write, own_config: Config, tmp_path: Path
) -> None:
    name = module(DATA)
    config = own_config(dataset=f"{name}:{function}")
    told = refusal(lambda: load_experiment(config))
    assert told.startswith(f"{config}: dataset: {name}:{function}")
    assert str(tmp_path / f"{name}.py") in told
    assert message.replace("FILE", str(tmp_path / f"{name}.py")) in told


def test_data_that_differ_from_call_to_call_are_refused(module: Write, own_config: Config) -> None:
    name = module(DATA)
    experiment = load_experiment(own_config(dataset=f"{name}:moody", model=f"{name}:nothing"))
    assert "it must give the same each time, fix its seed" in refusal(experiment.splits)


# Experiments


def test_a_resolved_config_is_read_without_the_module_or_the_file(
    module: Write, own_config: Config, tmp_path: Path
) -> None:
    name = module(DATA)
    np.savez(tmp_path / "letters.npz", **arrays())
    experiments = [
        load_experiment(own_config(dataset=dataset, model=f"{name}:nothing"))
        for dataset in (f"{name}:letters", "letters.npz")
    ]
    assert {experiment.code_dir for experiment in experiments} == {str(tmp_path.resolve())}
    for file in (f"{name}.py", "letters.npz"):
        (tmp_path / file).unlink()
    del sys.modules[name]
    for experiment in experiments:
        text = yaml.safe_dump(experiment.model_dump(mode="json"))
        again = Experiment.model_validate(yaml.safe_load(text))
        assert again == experiment
        assert again.examples("test") == experiment.data.test


def test_where_code_lies_does_not_count_for_what_a_trial_is(module: Write, own_config: Config) -> None:
    name = module(DATA)
    experiment = load_experiment(own_config(dataset=f"{name}:letters", model=f"{name}:nothing"))
    elsewhere = experiment.model_copy(update={"code_dir": "/elsewhere"})
    hashes = {training_of(grid(e)[0], e, "a" * 64, "b" * 64).hash for e in (experiment, elsewhere)}
    identities = [[request.identity for request in wanted(e, 0)] for e in (experiment, elsewhere)]
    assert len(hashes) == 1
    assert identities[0] == identities[1]


def test_shipped_names_leave_no_folder_behind(config: Config) -> None:
    experiment = load_experiment(config())
    assert (experiment.code_dir, experiment.own_data) == (None, None)
    assert experiment.data.class_names is not None


@pytest.mark.parametrize("key", ["code_dir", "own_data"])
def test_what_the_tool_sets_is_not_set_by_hand(key: str, config: Config) -> None:
    assert f"{key}: it is set by the tool" in refusal(lambda: load_experiment(config(**{key: "/tmp"})))


def test_sizes_and_shapes_of_own_data_are_compared_with_the_config(own_config: Config, module: Write) -> None:
    data = f"{module(DATA)}:letters"
    told = refusal(lambda: load_experiment(own_config(dataset=data)))
    assert "stdcnn takes images of shape (28, 28, 1)" in told
    assert "(8, 8, 1); expected a model of your own, module:function" in told
    told = refusal(lambda: load_experiment(own_config(dataset=data, model=data, batch_sizes=[46])))
    assert "batch_sizes: expected at most the 45 training images, received 46" in told
    told = refusal(lambda: load_experiment(own_config(dataset=data, model=data, test_examples=11)))
    assert "test_examples: expected at most 10, received 11" in told


def test_a_missing_model_module_is_found_out_before_tensorflow_is_needed(config: Config) -> None:
    told = refusal(lambda: load_experiment(config(model="my_absent_nets:small")))
    assert "model: my_absent_nets:small: no module 'my_absent_nets'" in told


# Models


NETS = """
import itertools
import keras
from keras import layers
calls = itertools.count(1)
def functional(image_shape, classes, end=None, **settings):
    image = keras.Input(image_shape)
    x = layers.Dense(5, **settings)(layers.Flatten()(image))
    return keras.Model(image, layers.Dense(classes, activation=end)(x))
def sequential(image_shape, classes):
    return keras.Sequential([keras.Input(image_shape), layers.Flatten(), layers.Dense(classes)])
def none(image_shape, classes): ...
def unbuilt(image_shape, classes):
    return keras.Sequential([layers.Flatten(), layers.Dense(classes)])
class Net(keras.Model):
    def __init__(self, image_shape, classes):
        super().__init__()
    def call(self, x): return x
def softmax(image_shape, classes): return functional(image_shape, classes, end="softmax")
def softmax_layer(image_shape, classes):
    return keras.Sequential([keras.Input(image_shape), *sequential(image_shape, classes).layers, layers.Softmax()])
def softmax_operation(image_shape, classes):
    inside = sequential(image_shape, classes)
    image = keras.Input(image_shape)
    return keras.Model(image, keras.ops.softmax(inside(image)))
def softmax_inside(image_shape, classes):
    inside = softmax(image_shape, classes)
    image = keras.Input(image_shape)
    return keras.Model(image, inside(image))
def narrow(image_shape, classes): return functional(image_shape, classes - 1)
def flat(image_shape, classes):
    return keras.Sequential([keras.Input(image_shape), layers.Dense(classes)])
def other_input(image_shape, classes): return functional((9, 9, 1), classes)
def two_inputs(image_shape, classes):
    a, b = keras.Input(image_shape), keras.Input(image_shape)
    return keras.Model([a, b], layers.Dense(classes)(layers.Flatten()(layers.Add()([a, b]))))
def no_weights(image_shape, classes):
    image = keras.Input(image_shape)
    return keras.Model(image, layers.Flatten()(image)[:, :classes])
def frozen(image_shape, classes):
    model = sequential(image_shape, classes)
    model.trainable = False
    return model
def secret(image_shape, classes):
    return keras.Sequential([keras.Input(image_shape), layers.Flatten(), layers.Lambda(lambda x: x), layers.Dense(classes)])
def decayed(image_shape, classes): return functional(image_shape, classes, kernel_regularizer="l2")
def noisy_loss(image_shape, classes): return functional(image_shape, classes, activity_regularizer="l1")
def growing(image_shape, classes):
    return keras.Sequential([keras.Input(image_shape), layers.Flatten(), layers.Dense(next(calls)), layers.Dense(classes)])
def raises(image_shape, classes): raise ValueError("no\\nluck")
def no_arguments(): ...
"""

UNFIT = [
    ("none", "expected to return a keras.Model, returned NoneType"),
    (
        "unbuilt",
        "expected a functional model or a Sequential one that begins with keras.Input, returned Sequential",
    ),
    ("Net", "expected a functional model or a Sequential one that begins with keras.Input, returned Net"),
    ("softmax", "expected logits, found a softmax in the last layer"),
    ("softmax_layer", "expected logits, found a softmax in the last layer"),
    ("softmax_operation", "expected logits, found a softmax in the last layer"),
    ("softmax_inside", "expected logits, found a softmax in the last layer"),
    ("narrow", "expected one output of 3 logits, shape (3,), found (2,)"),
    ("flat", "expected one output of 3 logits, shape (3,), found (8, 8, 3)"),
    ("other_input", "expected one input of image_shape (8, 8, 1), found (9, 9, 1)"),
    ("two_inputs", "expected one input of image_shape (8, 8, 1), found (8, 8, 1), (8, 8, 1)"),
    ("no_weights", "expected weights to train, found none"),
    ("frozen", "expected weights to train, found none"),
    ("secret", "a Lambda layer cannot be stored"),
    ("decayed", "found 1 losses of its layers (a regularizer, add_loss)"),
    ("noisy_loss", "found 1 losses of its layers (a regularizer, add_loss)"),
    ("growing", "built twice, it has two structures"),
    ("raises", "it raised ValueError: no luck (FILE, line "),
    ("no_arguments", "it raised TypeError: no_arguments() takes 0 positional arguments but 2 were given"),
    ("sequentiel", "has no 'sequentiel'; did you mean 'sequential'?"),
]


@pytest.mark.parametrize(("function", "message"), UNFIT, ids=[name for name, _ in UNFIT])
def test_a_function_that_gives_no_network_is_named_with_its_file(
    function: str, message: str, module: Write, tmp_path: Path
) -> None:
    name = module(NETS)
    told = refusal(lambda: OwnModel(f"{name}:{function}", tmp_path).check((8, 8, 1), 3))
    assert told.startswith(f"model: {name}:{function}")
    file = str(tmp_path / f"{name}.py")
    assert file in told
    assert message.replace("FILE", file) in told


@pytest.mark.parametrize("function", ["functional", "sequential"])
def test_a_network_that_fits_passes(function: str, module: Write, tmp_path: Path) -> None:
    own = OwnModel(f"{module(NETS)}:{function}", tmp_path)
    own.check((8, 8, 1), 3)
    network = own.build((8, 8, 1), 3)
    assert isinstance(network, keras.Model)
    assert network.output_shape == (None, 3)
    assert own.title == function


def test_an_unfit_network_ends_the_command_in_one_line(
    module: Write, own_config: Config, run_sweep: Any, tmp_path: Path
) -> None:
    data, nets = module(DATA), module(NETS)
    config = own_config(dataset=f"{data}:letters", model=f"{nets}:softmax")
    for workers in (1, 2):
        code, _, err = run_sweep(config, "--workers", workers)
        assert code == 2
        assert f"error: model: {nets}:softmax ({tmp_path / nets}.py): expected logits" in err
        assert "Traceback" not in err
        assert not list((tmp_path / "logs").rglob("failure.json"))


# The examples, as a user would run them


@pytest.mark.timeout(600)
def test_the_example_runs_with_two_workers_and_is_reported(run_sweep: Any, tmp_path: Path) -> None:
    code, out, err = run_sweep("examples/own.yaml", "--workers", 2, "--set", "batch_sizes=[8]")
    assert code == 0, err
    assert "own_shapes.py" in out + err
    records = [yaml.safe_load(path.read_text()) for path in (tmp_path / "logs").rglob("record.json")]
    assert len(records) == 2
    on_test = [next(m for m in record["measurements"] if m["label"] == "test") for record in records]
    best = max(found["values"]["accuracy"] for found in on_test)
    assert best > 0.9  # of 4 classes
    assert {record["model"] for record in records} == {"own_nets:small"}
    assert {found["examples"] for found in on_test} == {100}
    code, out, _ = run_sweep("examples/own.yaml", "--workers", 1, "--set", "batch_sizes=[8]")
    assert code == 0
    assert "0 to train" in out
    study = read_studies([tmp_path / "logs" / "own"])[0]
    assert study.chance == 0.25
    report = [
        sys.executable,
        "-m",
        "tfsgd.report",
        str(tmp_path / "logs" / "own"),
        "--out",
        str(tmp_path / "r"),
    ]
    done = subprocess.run(report, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r" / "index.html").exists()
