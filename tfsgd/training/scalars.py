"""TensorBoard's scalars of each epoch, all of a trial in one run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfsgd.records.tensorboard_tags import epoch_tag
from tfsgd.training.callbacks import EpochLog


def remove_events(folder: Path) -> None:
    """Takes away what an earlier run has written, so that no point is there twice."""
    for stale in folder.glob("events.out.tfevents.*"):
        stale.unlink()


def write_epoch(figures: Mapping[str, float | None], epochs_done: int) -> None:
    """Writes the figures of an epoch, by the names of Keras's logs, with the default writer."""
    for key, value in figures.items():
        if value is not None:
            tf.summary.scalar(epoch_tag(key), value, step=epochs_done)


class EpochScalars(keras.callbacks.Callback):
    """Shows a training as it goes; stands behind the log, and begins with the epochs of an earlier run.

    Args:
        folder: of the trial.
        log: whose figures are written.
    """

    def __init__(self, folder: Path, log: EpochLog) -> None:
        super().__init__()
        self._folder, self._log = folder, log

    def on_train_begin(self, logs: Any = None) -> None:
        remove_events(self._folder)
        self._writer = tf.summary.create_file_writer(str(self._folder))
        for done, figures in enumerate(self._log.epochs, 1):
            self._write(figures, done)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._write(self._log.epochs[-1], epoch + 1)

    def on_train_end(self, logs: Any = None) -> None:
        self._writer.close()

    def _write(self, figures: Mapping[str, float], epochs_done: int) -> None:
        with self._writer.as_default():
            write_epoch(figures, epochs_done)
        self._writer.flush()
