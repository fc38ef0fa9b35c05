"""What the columns of records.csv mean: a dictionary that is written beside it."""

import csv
import io
from collections.abc import Iterable, Mapping

from tfsgd.reporting.paper import UNDERTRAINED_MARGIN, attack_name, points

# column -> unit, meaning
MEANINGS: Mapping[str, tuple[str, str]] = {
    "folder": ("path", "the trial's folder, relative to this file"),
    "name": ("", "name of the sweep"),
    "dataset": ("", "data set"),
    "model": ("", "network"),
    "regime": ("", "label of the regime under which the trial is stored, or the first that it has now"),
    "regimes": ("", "labels of all regimes that the trial belongs to, separated by semicolons"),
    "seed": ("", "seed of initialisation, order of the batches, dropout and random starts"),
    "epochs": ("epochs", "length of the training"),
    "profile": ("", "full, or quick: the config's quick block"),
    "status": (
        "",
        "completed; diverged: the loss was not finite; collapsed: one predicted class or no better than guessing",
    ),
    "train_examples": ("images", "trained on in each epoch"),
    "batch_size": ("images", "of one step of SGD"),
    "momentum": ("", "coefficient gamma of v <- gamma v - gradient"),
    "learning_rate": ("", "eta of theta <- theta + eta v, in the first epoch"),
    "halve_every_epochs": ("epochs", "after which the learning rate is halved; empty: never"),
    "train_loss": ("nats", "mean cross-entropy after training, in inference mode"),
    "validation_loss": ("nats", "the same on the validation split"),
    "test_loss": ("nats", "the same on the test split"),
    "train_accuracy": ("0 to 1", "share of training images that are classified rightly, in inference mode"),
    "validation_accuracy": ("0 to 1", "the same on the validation split"),
    "test_accuracy": ("0 to 1", "the same on the test split: natural accuracy"),
    "eigenvalue": ("", "lambda1, the top eigenvalue of the Hessian of the mean cross-entropy"),
    "residual": ("", "|Hv - lambda v| / |lambda| of that eigenvalue"),
    "eigenvalue_standard_error": ("", "of that eigenvalue over images, its eigenvector held fixed"),
    "iterations": ("products", "Hessian-vector products that it took"),
    "converged": ("", "whether the residual reached its tolerance"),
    "budget": ("steps", "of SGD that were asked for in place of epochs; empty: whole epochs"),
    "updates": ("steps", "of SGD in all, as asked for: a trial that diverged was stopped before"),
    "descent_eigenvalue": ("", "lambda1 of the loss that SGD descends: with BatchNorm that of training mode"),
    "descent_residual": ("", "of that eigenvalue; 0 where it has converged"),
    "effective_learning_rate": ("", "eta / (1 - gamma)"),
    "noise_scale": ("", "eta N / (b (1 - gamma))"),
    "stability_ratio": ("", "lambda1 eta / (2 (1 + gamma)) at the end; 1 is the edge of stability"),
    "stability_ratio_max": (
        "",
        "the largest over the epochs in which lambda1 was recorded; empty where eta decays and that was at the end alone",
    ),
    "confidence": ("0 to 1", "mean probability of the predicted class"),
    "margin": ("logits", "mean of the true class's logit minus the largest other"),
    "calibration_error": ("0 to 1", "expected calibration error"),
    "zero_gradients": ("0 to 1", "share of test images whose loss has an input gradient of exactly zero"),
    "saturated": (
        "0 to 1",
        "share of test images of which the network is so sure that float32's softmax gradient lacks the true class's term",
    ),
    "misdirected": (
        "0 to 1",
        "share of test images where that gradient points elsewhere: its cosine with the exact one is below 0.9",
    ),
    "hessian_examples": ("images", "on which lambda1 was measured"),
    "hessian_split": ("", "of the data, on which lambda1 was measured"),
    "seconds_train": ("s", "training"),
    "seconds_attacks": ("s", "all attacks"),
    "seconds_hessian": ("s", "all measures of curvature"),
    "device": ("", "on which the trial ran"),
    "threads": ("", "of the processor that it used"),
    "onednn": ("", "whether oneDNN was on"),
    "replicas": ("", "on which each batch was split"),
    "git_commit": ("", "of the code"),
    "data_sha256": ("", "hash of the data"),
    "training_hash": ("", "hash of all that determines the network"),
    "failed_checks": ("", "signs that an accuracy under attack is too high, separated by semicolons"),
    "undertrained": (
        "",
        f"whether the cell's train accuracy is {points(UNDERTRAINED_MARGIN)} or more below that of the best cell of its "
        "study",
    ),
}


def dictionary(columns: Iterable[str], attacks: Mapping[str, tuple[str, float]]) -> str:
    """A CSV with a row for every column: its name, unit and meaning.

    Args:
        attacks: the columns that hold accuracies under attack -> attack and epsilon.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["column", "unit", "meaning"])
    for column in columns:
        writer.writerow([column, *_meaning(column, attacks)])
    return file.getvalue()


def _meaning(column: str, attacks: Mapping[str, tuple[str, float]]) -> tuple[str, str]:
    if column in attacks:
        attack, epsilon = attacks[column]
        return "0 to 1", (
            f"share of attacked images that keep their true label under {attack_name(attack)} with epsilon = "
            f"{epsilon:g} (L-infinity, images in [0, 1])"
        )
    at_the_end, at, train_loss = column.partition("@")
    if at:
        unit, meaning = _meaning(at_the_end, attacks)
        return unit, f"{meaning}; at the end of the first epoch with a train loss of at most {train_loss}"
    return MEANINGS.get(column, ("", f"value of the measure {column}, as the record names it"))
