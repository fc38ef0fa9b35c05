"""What Python code may call: an attack, the top eigenvalue, the records of a sweep as a table."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfsgd.errors import RequestError
from tfsgd.measures.attack import SOFTMAX, AttackSpec, Outcome
from tfsgd.measures.curvature_spec import Curvature
from tfsgd.measures.curvature_spec import CurvatureSpec as CurvatureSpec  # `tfsgd` hands it out
from tfsgd.measures.landscape_slice import Slice
from tfsgd.plan.specs import attack as attack_spec
from tfsgd.plan.specs import curvature_measure
from tfsgd.text import shown

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from tfsgd.networks.compiled_victim import CompiledVictim

_last: list[Any] = []  # the network of the last attack, and its victim


def attack(
    model: Any,
    images: "NDArray[np.floating[Any]]",
    labels: "NDArray[np.integer[Any]]",
    kind: str = "pgd",
    *,
    epsilon: float,
    seed: int = 0,
    **settings: Any,
) -> Outcome:
    """Attacks images in the L-infinity ball, or with `norm="L2"` in that of L2; the formula and source of each kind are in `docs/measures.md`.

    Args:
        model: a Keras model, images to logits `(N, classes)`; or what `load_network` returns.
        images: `(N, height, width, channels)`, floats in [0, 1].
        labels: `(N,)`, the true classes as integers from 0.
        kind: `fgsm`, `pgd`, `bim`, `apgd`, `minimal`, `robust`, `square`, `noise`, `transfer`, or `module:Class`.
        epsilon: radius of the ball around each image; of L-infinity in [0, 1].
        seed: of random starts.
        settings: of the attack, such as `steps=100`, as in a config's block.

    Returns:
        `images`: the perturbed images; `correct`: which of them get their true label, `(N,)` of bool. The mean
        of `correct` is the adversarial accuracy. `distance`, of `minimal`: the smallest epsilon of each image.

    Warns:
        UserWarning: the steps are too few or too short to reach most of the ball: the accuracy would be too high; or
            the network is no better than guessing on the clean images, or its outputs look like sigmoids. Of `fgsm`, and
            of any attack by `loss="softmax_cross_entropy"`: float32's softmax gradient points elsewhere at more than 2 %
            of the first 1,000 images, and what FGSM by it would leave.

    Raises:
        RequestError: a setting, the images, the labels or the model do not fit; one line that says which.
        ArithmeticError: an attack of one's own left the ball or [0, 1].
    """
    spec = _spec(kind, epsilon, settings)
    [radius] = spec.epsilon
    _refuse_no_seed(seed)
    from tfsgd.networks.arguments import checked

    pixels, classes = checked(model, images, labels)
    if doubt := spec.doubt():
        warnings.warn(f"{kind}: {doubt}", stacklevel=2)
    from tfsgd.measures.attack import run_checked
    from tfsgd.measures.zero_gradients import float32_warning
    from tfsgd.networks.surrogate import Sources

    victim = _victim_of(model, pixels, classes)
    _warn_of_answers(model, victim.logits(pixels), classes)
    victim.beside = Sources()
    float32_matters = kind == "fgsm" or getattr(spec, "loss", "") == SOFTMAX
    if float32_matters and (said := float32_warning(victim, pixels, classes, [radius])):
        warnings.warn(f"{kind}: {said}", stacklevel=2)
    return run_checked(spec, victim, pixels, classes, radius, seed)


def top_eigenvalue(
    model: Any,
    images: "NDArray[np.floating[Any]]",
    labels: "NDArray[np.integer[Any]]",
    *,
    max_iterations: int = 100,
    tolerance: float = 1e-2,
    seed: int = 0,
) -> Curvature:
    """λ1: the top eigenvalue of the Hessian of the mean cross-entropy (nats) with respect to all trainable parameters.

    In inference mode. By power iteration on Hessian-vector products, the eigenvalue by Rayleigh-Ritz over the last three
    vectors as in LOBPCG (Knyazev 2001); `docs/measures.md` has more.

    Args:
        model: a Keras model, images to logits `(N, classes)`; or what `load_network` returns.
        images: `(N, height, width, channels)`, floats in [0, 1]: they define the Hessian.
        labels: `(N,)`, the true classes as integers from 0.
        max_iterations: Hessian-vector products at most.
        tolerance: on the residual |Hv - λv| / |λ|.
        seed: of the start vector.

    Returns:
        `value`: λ1, NaN where the Hessian has non-finite entries; `error`: its residual; `products`: Hessian-vector
        products taken; `converged`: whether the residual is within the tolerance; `more["standard_error"]`: how far λ1
        is off because other images would give another, NaN of 100 images or fewer.

    Warns:
        UserWarning: the network is no better than guessing on the images, its outputs look like sigmoids, or some of its
            weights are frozen or quantized.

    Raises:
        RequestError: a setting, the images, the labels or the model do not fit, or TensorFlow's second derivatives of it
            would be wrong; one line that says which.
    """
    settings = {"max_iterations": max_iterations, "tolerance": tolerance}
    try:
        spec = curvature_measure("top_eigenvalue", settings, None)
    except ValueError as error:
        raise RequestError(f"top_eigenvalue: {error}") from None
    _refuse_no_seed(seed)
    from tfsgd.networks.arguments import checked

    pixels, classes = checked(model, images, labels)
    if not model.trainable_variables:
        raise RequestError(f"{model.name}: it has no trainable variables, so there is no Hessian to take")
    from tfsgd.networks.frozen import of_left_out
    from tfsgd.networks.hessian import HessianVectorProduct

    answers = [np.asarray(model(pixels[i : i + 256], training=False)) for i in range(0, len(pixels), 256)]
    _warn_of_answers(model, np.concatenate(answers), classes)
    if doubt := of_left_out(model):
        warnings.warn(f"top_eigenvalue: {doubt}", stacklevel=2)
    product = HessianVectorProduct(model, pixels, classes)
    return spec.of(product, seed)


def barrier(
    one: Any,
    other: Any,
    images: "NDArray[np.floating[Any]]",
    labels: "NDArray[np.integer[Any]]",
    *,
    points: int = 11,
) -> Slice:
    """Loss and accuracy along the straight line of weights between two networks, and how far the loss rises on it.

    The ends are the networks as they are; between them BatchNorm takes its statistics anew from the images, 1,000 at a time.

    Args:
        one: a Keras model, images to logits `(N, classes)`; or what `load_network` returns of a `.keras` file.
        other: another one with weights of the same shapes.
        images, labels: as of `attack`.
        points: on the line, with its ends.

    Returns:
        `coordinates`, from 0 to 1; `losses` and `barrier`, in nats; and `accuracies`.

    Raises:
        RequestError: something does not fit; one line that says which.
    """
    from tfsgd.networks.arguments import checked
    from tfsgd.networks.slices import between

    checked(other, images, labels)
    return between(one, other, *checked(one, images, labels), points)


def landscape(
    model: Any,
    images: "NDArray[np.floating[Any]]",
    labels: "NDArray[np.integer[Any]]",
    *,
    directions: int = 1,
    extent: float = 1.0,
    points: int = 21,
    seed: int = 0,
) -> Slice:
    """Loss and accuracy around a network along random directions whose filters have the lengths of its own (Li et al. 2018).

    Args:
        model: a Keras model, images to logits `(N, classes)`; or what `load_network` returns.
        images, labels: as of `attack`.
        directions: 1 for a line, 2 for a plane.
        extent: how far to either side, 1 is the length of the weights.
        points: along each direction; with an odd number the network itself is the middle one.
        seed: of the directions.

    Returns:
        `coordinates`, from -extent to extent; `losses` in nats; `accuracies`; `(points,)` or `(points, points)`.

    Raises:
        RequestError: something does not fit; one line that says which.
    """
    from tfsgd.networks.arguments import checked
    from tfsgd.networks.slices import around

    _refuse_no_seed(seed)
    return around(model, *checked(model, images, labels), directions, extent, points, seed)


def picture(found: Slice, file: str | Path, title: str = "") -> None:
    """Draws what `barrier` or `landscape` found: loss and accuracy along a line, or the contours of the loss over a plane.

    Args:
        found: what they returned.
        file: a PNG file; one that is there is written over.
        title: over the picture.

    Raises:
        RequestError: the file is no .png in a folder that is there.
    """
    target = Path(file)
    if target.suffix != ".png" or not target.parent.is_dir() or target.is_dir():
        raise RequestError(f"file: expected a .png in a folder that is there, received {shown(str(file))}")
    from tfsgd.trials.pictures import slice_picture

    target.write_bytes(slice_picture(found, title))


def read_records(folder: str | Path) -> "pd.DataFrame":
    """The records below `LOGS/NAME` as a table: one row a trial.

    Accuracies are fractions in [0, 1]: `train_accuracy`, `test_accuracy`, and one column for each attack and
    epsilon, such as `pgd_0.1`. `eigenvalue` is λ1, `residual` its error. The report writes the unit and meaning of every
    column beside its `records.csv`, into `records-columns.csv`.

    Args:
        folder: of a sweep, finished or in progress.

    Raises:
        RequestError: there is no such folder, or something in it is no record.
    """
    from tfsgd.reporting.table.studies import read_studies

    [study] = read_studies([Path(folder)])
    return study.trials.copy()


def outcomes(folder: str | Path, label: str | None = None) -> "pd.DataFrame":
    """What became of every image under every attack of a sweep, image by image.

    Args:
        folder: of a sweep, finished or in progress.
        label: of one attack; by default all.

    Returns:
        A table with a row for each trial, attack, epsilon and image: `trial`, `label`, `norm`, `epsilon`, `image` (its
        number in the test set, from 0), `correct` (whether it keeps its label), and `distance` (of an attack that searches
        it the smallest epsilon, infinite where there is none; else NaN).

    Warns:
        UserWarning: outcomes are gone, or not what was recorded.

    Raises:
        RequestError: there is no such folder, or something in it is no record.
    """
    import pandas as pd

    from tfsgd.records.folder import LogFolder
    from tfsgd.records.outcomes import lost_outcomes, outcomes_of

    logs, tables = LogFolder(Path(folder)), []
    for record in logs.records():
        place = logs.path / "trials" / record.folder
        found = outcomes_of(place, record)
        if lost := lost_outcomes(place, record):
            names = ", ".join(f"{m.label} {m.epsilon:g}" for m in lost)
            warnings.warn(f"{place}/outcomes.npz: gone or changed: {names}", stacklevel=2)
        for m in record.measurements:
            if m.identity in found and label in (None, m.label):
                searched = found[m.identity].dtype == np.float32
                tables.append(
                    pd.DataFrame({
                        "trial": record.folder, "label": m.label, "norm": m.settings.get("norm", "Linf"),
                        "epsilon": m.epsilon, "image": np.arange(m.examples),
                        "correct": np.isinf(found[m.identity]) if searched else found[m.identity],
                        "distance": found[m.identity] if searched else np.nan,
                    })
                )  # fmt: skip
    columns = ["trial", "label", "norm", "epsilon", "image", "correct", "distance"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def load_network(path: str | Path) -> Any:
    """A network for `attack` and `top_eigenvalue`, float32 images `(N, height, width, channels)` to logits `(N, classes)`.

    Args:
        path: a `.keras` file, or a SavedModel's folder with an endpoint `serve` or `serving_default`.

    Raises:
        RequestError: it is no network with one image input.
    """
    from tfsgd.networks import load_network

    return load_network.load_network(Path(path))


def zoo(folder: str | Path | None = None) -> "pd.DataFrame":
    """The published networks, one row each: setting, seed, what was measured, and `network`, the file for `load_network`.

    The index is `STUDY/REGIME/TRIAL`, such as `fmnist_stdcnn-seeds/lr/b0064-m0.0-s0`; the other columns are those of `read_records`.

    Args:
        folder: with the studies; by default `docs/results` of the checkout.

    Raises:
        RequestError: the package is installed without its checkout, which has the networks.
    """
    import pandas as pd

    place = Path(folder) if folder else Path(__file__).parents[1] / "docs/results"
    studies = sorted(path.parent for path in place.glob("*/experiment.yaml"))
    if not studies:
        raise RequestError(
            f"{place}: no published networks; they are in docs/results of tfsgd's repository: clone it, and give that "
            "folder as zoo(folder)"
        )
    tables = [read_records(study).assign(study=study.name).dropna(axis=1, how="all") for study in studies]
    found = pd.concat(tables, ignore_index=True)
    found = found.assign(network=[str(Path(trial) / "model.keras") for trial in found["folder"]])
    places = zip(found["study"], found["folder"], strict=True)
    found.index = pd.Index([f"{study}/{'/'.join(Path(trial).parts[-2:])}" for study, trial in places])
    return found[[Path(file).is_file() for file in found["network"]]]


def _spec(kind: str, epsilon: Any, settings: dict[str, Any]) -> AttackSpec:
    """The attack that a call asks for, or a line that says what does not fit."""
    for key in ("attack", "examples"):
        if key in settings:
            instead = "kind" if key == "attack" else "so many images"
            raise RequestError(f"{kind}: {key}: not a setting here; give {instead}")
    try:
        if isinstance(epsilon, bool | np.bool_ | str | bytes):
            raise TypeError
        radius = float(epsilon)
    except (ValueError, TypeError):
        raise RequestError(
            f"{kind}: epsilon: expected a number in [0, 1], received {epsilon!r:.60}"
        ) from None
    try:
        return attack_spec(kind, {**settings, "epsilon": [radius]}, None)
    except (ValueError, TypeError) as error:
        raise RequestError(f"{kind}: {error}") from None


def _victim_of(model: Any, images: "NDArray[np.float32]", labels: "NDArray[np.int64]") -> "CompiledVictim":
    """A loop over epsilons or images compiles its network once, as long as that is the same and does the same."""
    from tfsgd.networks.compiled_victim import CompiledVictim

    if _last and _last[0] is model and _last[1].answers_as_traced(images[:8], labels[:8]):
        return _last[1]
    _last[:] = [model, CompiledVictim.of(model)]
    return _last[1]


def _warn_of_answers(model: Any, logits: "NDArray[Any]", labels: "NDArray[np.int64]") -> None:
    """The command's warnings of a network, from its logits on clean images; those that are not finite are refused."""
    from tfsgd.measures.failed_checks import of_answers
    from tfsgd.networks.finite import refuse_infinite

    refuse_infinite(f"model {model.name}", logits)
    for doubt in of_answers(logits, labels):
        warnings.warn(f"model {model.name}: {doubt}", stacklevel=3)


def _refuse_no_seed(seed: Any) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise RequestError(f"seed: expected a whole number from 0 to 4,294,967,295, received {seed!r:.60}")
