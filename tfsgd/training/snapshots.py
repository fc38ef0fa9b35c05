"""Networks on the way: each batch size equally trained, not only for equally many epochs."""

from pathlib import Path
from typing import Any

import keras

from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.plan.config import Experiment
from tfsgd.records.atomic import replacing
from tfsgd.records.record import Snapshot
from tfsgd.training.callbacks import EpochLog
from tfsgd.training.model import plain_copy

LOSS = "train_loss_in_inference"  # its name in the logs


class KeepSnapshots(keras.callbacks.Callback):
    """Keeps the network at the end of the first epoch whose train loss is at or below each value asked for.

    The loss is the mean over fixed training images without augmentation, in inference mode; it is taken after each
    epoch until the last value is reached. Stands before the log, which tells after an interruption what was reached.

    Args:
        experiment: which values, on how many images.
        folder: of the trial.
        log: of the epochs before.
        subject: its network is kept.
    """

    def __init__(self, experiment: Experiment, folder: Path, log: EpochLog, subject: MeasuredNetwork) -> None:
        super().__init__()
        self._subject, train = subject, subject.splits.train
        asked = experiment.snapshots
        self._experiment, self._folder, self._log = experiment, folder, log
        self._values = asked.train_loss if asked else ()
        self._split = train.first(min(asked.examples, len(train))) if asked else train
        self.settings = asked.model_dump(mode="json") if asked else None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        left = [snapshot for snapshot in self.found() if snapshot.epoch is None]
        if not left or self.model.stop_training:
            return
        logs[LOSS] = self._subject.evaluate(self._split).loss
        for snapshot in left:
            if logs[LOSS] <= snapshot.train_loss:
                self._keep(self._folder / snapshot.file)

    def found(self) -> tuple[Snapshot, ...]:
        """For each value the first epoch at or below it, as the log has it."""
        losses = [epoch.get(LOSS) for epoch in self._log.epochs]
        result = []
        for value in self._values:
            reached = ((i, loss) for i, loss in enumerate(losses, 1) if loss is not None and loss <= value)
            epoch, loss = next(reached, (None, None))
            result.append(Snapshot(train_loss=value, epoch=epoch, loss=loss))
        return tuple(result)

    def _keep(self, path: Path) -> None:
        with replacing(path) as temporary:
            plain_copy(self._subject.network, self._experiment).save(temporary)
