"""What happens between the epochs of a `fit`: the learning-rate rule, validation, curvature, the log.

Those that add to `logs` stand before those that read it.
"""

import math
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import keras

from tfsgd.data.dataset import Split, to_unit
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.measures.curvature_spec import Curvature, Vector
from tfsgd.networks.accuracy import Evaluator
from tfsgd.networks.hessian import Product
from tfsgd.networks.operators import product_of
from tfsgd.plan.regimes import SGDSettings
from tfsgd.records.record import EIGENVALUE_COLUMNS, PRECONDITIONED
from tfsgd.training.preconditioner import Preconditioned, preconditioner


class LearningRateRule(keras.callbacks.Callback):
    """Sets the learning rate of each epoch, keeping the momentum of the paper's Algorithm 1.

    Algorithm 1 has v <- momentum v - gradient and weights <- weights + learning_rate v. Keras keeps
    learning_rate x v in its slots instead, so where the rate changes the slots change with it. Other optimizers keep theirs.
    """

    def __init__(self, settings: SGDSettings, epochs: int) -> None:
        super().__init__()
        self._settings = settings
        self._epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        optimizer = self.model.optimizer
        old, new = (
            float(optimizer.learning_rate.numpy()),
            self._settings.learning_rate_at(epoch, self._epochs),
        )
        optimizer.learning_rate.assign(new)
        scale = (
            float(optimizer.learning_rate.numpy()) / old if old else 1
        )  # halved to nothing, it stays there
        if scale != 1 and isinstance(optimizer, keras.optimizers.SGD):
            for slot in optimizer.momentums:
                slot.assign(slot * scale)


def exact_loss_metric() -> keras.metrics.Metric:
    """The epoch's mean cross-entropy, every example weighing the same.

    For more than one replica, and where SGD descends another loss.
    """
    return keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="exact_loss")


class ExactLoss(keras.callbacks.Callback):
    """Puts the exact loss, where it is measured, in the place of Keras's `loss`.

    Keras averages the replicas' losses: where a last batch is dealt out unevenly, that is not the
    mean over the examples. With smoothed labels its loss is not the cross-entropy.
    """

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["loss"] = logs.pop("exact_loss", logs["loss"])


class StopWhenDiverged(keras.callbacks.Callback):
    """Ends the training after an epoch whose loss is not finite; stands before what costs time."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if not math.isfinite(logs["loss"]):
            self.model.stop_training = True


class ValidationMetrics(keras.callbacks.Callback):
    """Adds `val_loss` and `val_accuracy` of a network, weighted by examples however many replicas there are."""

    def __init__(self, split: Split, network: Any) -> None:
        super().__init__()
        self._split = split
        self._network = network

    @cached_property
    def _evaluate(self) -> Evaluator:
        return Evaluator(self._network)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        found = self._evaluate(self._split)
        logs |= {"val_loss": found.loss, "val_accuracy": found.accuracy}


class TopHessianEigenvalue(keras.callbacks.Callback):
    """Adds the top eigenvalue of the Hessian to the epochs in which it is computed, and as an optimizer such as Adam sees it.

    It is computed by power iteration after every `every_epochs` epochs (0: never) and after the
    last, on fixed images without augmentation, and not for a diverged network. On the way it begins with the eigenvector
    of the time before, at the end by its seed, as of any stored network.

    Args:
        split: the images and labels that define H.
        spec: when the power iteration stops, and how often besides it is computed.
        epochs: how many the training has.
        batch_size: of the training.
        network: on which it is taken.

    Attributes:
        result: the last one, `None` before the first.
        kept: eigenvectors of the last time, of H and as the optimizer sees it.
        seconds: wall time spent here.
    """

    def __init__(self, split: Split, spec: TopEigenvalue, epochs: int, batch_size: int, network: Any) -> None:
        super().__init__()
        self._split = split.first(spec.examples)
        self._network = network
        self._epochs = epochs
        self._batch_size = batch_size
        self.spec = spec
        self.result: Curvature | None = None
        self.kept: dict[str, list[Vector]] = {"hessian": [], "preconditioned": []}
        self.seconds = 0.0

    @cached_property
    def _product(self) -> Product:
        images, labels = to_unit(self._split.images), self._split.labels
        return product_of(self.spec, self._network, images, labels, self._batch_size)

    def on_train_begin(self, logs: Any = None) -> None:
        _ = self._product.evidence  # what it cannot be taken on is refused before the first epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        done = epoch + 1
        every = self.spec.every_epochs
        due = done == self._epochs or (every > 0 and done % every == 0)
        if not due or self.model.stop_training:
            return
        began = time.perf_counter()
        first, second = (None if done == self._epochs else kept for kept in self.kept.values())
        self._product.kept = first
        self.result = self.spec.of(self._product)
        logs[EIGENVALUE_COLUMNS[self.spec.mode]] = self.result.value
        if (diagonal := preconditioner(self.model.optimizer)) is not None:
            logs[PRECONDITIONED] = self.spec.of(Preconditioned(self._product, diagonal, second)).value
        self.seconds += time.perf_counter() - began


class EpochLog(keras.callbacks.Callback):
    """Keeps every epoch's figures, and passes them on.

    Args:
        observe: called after each epoch with the number of epochs done and its figures.

    Attributes:
        epochs: one dict an epoch; a figure that an epoch has not is missing there.
    """

    def __init__(self, observe: Callable[[int, dict[str, float]], None]) -> None:
        super().__init__()
        self._observe = observe
        self.epochs: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        rate = float(self.model.optimizer.learning_rate.numpy())
        self.epochs.append({key: float(value) for key, value in logs.items()} | {"learning_rate": rate})
        self._observe(epoch + 1, self.epochs[-1])

    def columns(self) -> dict[str, tuple[float | None, ...]]:
        """The figures as columns, as long as the training; `None` where an epoch has no figure."""
        keys = dict.fromkeys(key for epoch in self.epochs for key in epoch)
        return {key: tuple(epoch.get(key) for epoch in self.epochs) for key in keys}
