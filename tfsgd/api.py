"""What Python code may call: attacks, curvature, all that the command measures, the records of a sweep as a table."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfsgd.errors import RequestError
from tfsgd.loss_surface import attack_path as attack_path
from tfsgd.loss_surface import barrier as barrier
from tfsgd.loss_surface import landscape as landscape
from tfsgd.loss_surface import picture as picture
from tfsgd.measures.attack import SOFTMAX, Outcome
from tfsgd.measures.attack import AttackSpec as AttackSpec  # `tfsgd` hands it out
from tfsgd.measures.curvature_spec import Curvature
from tfsgd.measures.curvature_spec import CurvatureSpec as CurvatureSpec  # and this
from tfsgd.plan.specs import asked_attack, curvature_measure, refuse_keys, refuse_no_seed

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from tfsgd.networks.compiled_victim import CompiledVictim
    from tfsgd.plan.at_hand import Blocks

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
    spec = asked_attack(kind, epsilon, settings)
    [radius] = spec.epsilon
    from tfsgd.networks.arguments import checked

    refuse_no_seed(seed)

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
    how = {"max_iterations": max_iterations, "tolerance": tolerance}
    return _curvature(model, images, labels, "top_eigenvalue", seed, how)


def curvature(
    model: Any,
    images: "NDArray[np.floating[Any]]",
    labels: "NDArray[np.integer[Any]]",
    kind: str = "top_eigenvalue",
    *,
    seed: int = 0,
    **settings: Any,
) -> Curvature:
    """A measure of curvature; the formula and source of each kind are in `docs/measures.md`.

    Args:
        model: a Keras model, images to logits `(N, classes)`; or what `load_network` returns.
        images: `(N, height, width, channels)`, floats in [0, 1]: they define the Hessian.
        labels: `(N,)`, the true classes as integers from 0.
        kind: `top_eigenvalue`, `trace`, `spectrum`, `extremes`, `input_eigenvalue`, ..., or `module:Class`.
        seed: of whatever is drawn.
        settings: of the measure, such as `probes=60`, as in a config's block.

    Returns:
        `value`, its `error` in the measure's own terms, `products` taken, `converged`, and `more`.

    Warns:
        UserWarning: as `top_eigenvalue`.

    Raises:
        RequestError: as `top_eigenvalue`.
    """
    return _curvature(model, images, labels, kind, seed, settings)


def measure(
    model: Any,
    images: "NDArray[np.floating[Any]]",
    labels: "NDArray[np.integer[Any]]",
    attacks: "Blocks" = ("fgsm", "pgd"),
    curvature: "Blocks" = (),
    epsilon: float | Sequence[float] | None = None,
    seed: int = 0,
) -> "pd.DataFrame":
    """What `python -m tfsgd.measure` measures, of a network and images that are at hand: one row for each measure and epsilon.

    Natural accuracy, confidence, slopes, weights and λ1 are always among them; `docs/measures.md` has all.

    Args:
        model: a Keras model, images to logits `(N, classes)`; or what `load_network` returns.
        images: `(N, height, width, channels)`, floats in [0, 1]; they also define the Hessian.
        labels: `(N,)`, the true classes as integers from 0.
        attacks: their names, or blocks of settings by label as in a config: `{"pgd": {"steps": 100}}`.
        curvature: likewise, beside λ1; the block `hessian` is that of λ1.
        epsilon: one or several, of attacks whose block says none; by default those of the command.
        seed: of random starts.

    Returns:
        A table: `measure` (its label), `norm`, `epsilon`, `images`, `result` (the measure's main number: of an attack
        the accuracy that it leaves), and a column for each other number: `clean_accuracy`, `error`, `converged`, ...

    Warns:
        UserWarning: as the command: a network is no better than guessing, or something could not be measured.

    Raises:
        RequestError: a setting, the images, the labels or the model do not fit; one line that says which.
    """
    refuse_no_seed(seed)
    import pandas as pd

    from tfsgd.networks.arguments import checked
    from tfsgd.plan.at_hand import plan_for
    from tfsgd.trials.arrays import measure_arrays

    pixels, classes = checked(model, images, labels)
    outputs = np.asarray(model(pixels[:1], training=False)).shape[1]
    plan = plan_for(pixels, outputs, attacks, curvature, epsilon)
    said: list[str] = []
    rows = measure_arrays(model, pixels, classes, plan, seed, said.append)
    for line in said:
        warnings.warn(line, stacklevel=2)
    return pd.DataFrame(rows)


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


def load_network(
    path: str | Path,
    *,
    scale: float = 1.0,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    strip_softmax: bool = False,
) -> Any:
    """A network for `attack`, `measure` and `curvature`, float32 images `(N, height, width, channels)` to logits `(N, classes)`.

    Whatever the network expects, images stay pixels in [0, 1], and epsilon with them: it is given
    `(scale x - mean) / std`.

    Args:
        path: a `.keras` file, or a SavedModel's folder with an endpoint `serve` or `serving_default`.
        scale: 255 for a network that expects 0 to 255.
        mean: a number, or one for each channel; of the scaled pixels.
        std: likewise.
        strip_softmax: take off the softmax that the network ends in.

    Raises:
        RequestError: it is no network with one image input.
    """
    from tfsgd.networks import load_network

    each = [tuple(float(one) for one in np.atleast_1d(value)) for value in (mean, std)]
    return load_network.load_network(Path(path), load_network.Pixels(float(scale), *each), strip_softmax)


def zoo(folder: str | Path | None = None) -> "pd.DataFrame":
    """The published networks, one row each: setting, seed, what was measured, and `network`, the file for `load_network`.

    The index is `STUDY/REGIME/TRIAL`, such as `fmnist_stdcnn-seeds/lr/b0064-m0.0-s0`; the other columns are those of `read_records`.

    Args:
        folder: with the studies; by default `docs/results` of the checkout.

    Raises:
        RequestError: the package is installed without its checkout, which has the networks.
    """
    import pandas as pd

    from tfsgd.records.published import RESULTS

    place = Path(folder) if folder else RESULTS
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


def _curvature(
    model: Any, images: Any, labels: Any, kind: str, seed: int, settings: dict[str, Any]
) -> Curvature:
    refuse_keys(kind, settings, "measure")
    try:
        spec = curvature_measure(kind, settings, None)
    except ValueError as error:
        raise RequestError(f"{kind}: {error}") from None
    from tfsgd.networks.arguments import checked

    refuse_no_seed(seed)

    pixels, classes = checked(model, images, labels)
    of_weights = spec.operator != "inputs"
    if of_weights and not model.trainable_variables:
        raise RequestError(f"{model.name}: it has no trainable variables, so there is no Hessian to take")
    from tfsgd.networks.frozen import of_left_out
    from tfsgd.networks.operators import product_of

    answers = [np.asarray(model(pixels[i : i + 256], training=False)) for i in range(0, len(pixels), 256)]
    _warn_of_answers(model, np.concatenate(answers), classes, 4)
    if of_weights and (doubt := of_left_out(model)):
        warnings.warn(f"{kind}: {doubt}", stacklevel=3)
    product = product_of(spec, model, pixels, classes)
    if unfit := spec.unfit(product.dimension, None):
        raise RequestError(f"{kind}: {unfit}")
    return spec.of(product, seed)


def _victim_of(model: Any, images: "NDArray[np.float32]", labels: "NDArray[np.int64]") -> "CompiledVictim":
    """A loop over epsilons or images compiles its network once, as long as that is the same and does the same."""
    from tfsgd.networks.compiled_victim import CompiledVictim

    if _last and _last[0] is model and _last[1].answers_as_traced(images[:8], labels[:8]):
        return _last[1]
    _last[:] = [model, CompiledVictim.of(model)]
    return _last[1]


def _warn_of_answers(
    model: Any, logits: "NDArray[Any]", labels: "NDArray[np.int64]", stacklevel: int = 3
) -> None:
    """The command's warnings of a network, from its logits on clean images; those that are not finite are refused."""
    from tfsgd.measures.failed_checks import of_answers
    from tfsgd.networks.finite import refuse_infinite

    refuse_infinite(f"model {model.name}", logits)
    for doubt in of_answers(logits, labels):
        warnings.warn(f"model {model.name}: {doubt}", stacklevel=stacklevel)
