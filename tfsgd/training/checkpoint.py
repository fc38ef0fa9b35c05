"""Everything that an interrupted training needs to go on as if nothing had happened.

Order of the batches, augmentation and the learning-rate rule are functions of the epoch, so a
checkpoint holds the rest: weights, BatchNorm's statistics, dropout's generator, momentum, and what
was seen so far. A checkpoint that is damaged, in whatever way, is passed over for the one before, and that is said.
"""

import contextlib
import hashlib
import json
import re
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tfsgd.errors import RequestError
from tfsgd.measures.curvature_spec import Curvature, Vector
from tfsgd.plan.config import Experiment
from tfsgd.plan.fork import KEPT as KEPT_FOLDER
from tfsgd.plan.fork import Fork, kept_name
from tfsgd.plan.stages import Stage, place_of, updates_of
from tfsgd.records.archive import Arrays, DamagedError, read_arrays, write_arrays
from tfsgd.records.record import EIGENVALUE_COLUMNS, PRECONDITIONED, Stretch
from tfsgd.training.callbacks import EpochLog, TopHessianEigenvalue
from tfsgd.training.measure_along import MeasureAlong
from tfsgd.training.provenance import provenance
from tfsgd.training.snapshots import KeepSnapshots

KEPT = 2  # the last one, and the one before should it be damaged


class Checkpoints(keras.callbacks.Callback):
    """Saves after every so many epochs, and keeps what is asked for; stands last, so that all other callbacks have been heard.

    Args:
        folder: where the checkpoints of one trial go.
        training_hash: of the trial; a checkpoint of another one is not used.
        experiment: how often.
        validation_examples: on how many images validation is taken.
        stages: of the training.
        seen: the log of the epochs so far and λ1, saved and restored as the model is; which networks on the way are
            asked for; and what is measured on the way, `None`: nothing.
    """

    def __init__(
        self, folder: Path, training_hash: str, experiment: Experiment, validation_examples: int, stages: list[Stage],
        seen: tuple[EpochLog, TopHessianEigenvalue, KeepSnapshots, MeasureAlong | None],
    ) -> None:  # fmt: skip
        super().__init__()
        self._folder = folder
        self._training_hash = training_hash
        self._every_epochs = experiment.checkpoint_every_epochs
        self._to_keep, self._fork = experiment.keep_checkpoints, experiment.fork
        self._stages = stages
        self._log, self._hessian, self._snapshots, self._along = seen
        self._validation_examples = validation_examples
        self._metrics: list[NDArray[Any]] = []  # of the epoch in which the training goes on
        self._not_counted = (
            0  # updates that the optimizer has not made: those before a fork, if it began afresh
        )
        self._kept: list[Path] = []  # of this training, the newest first
        self._earlier_seconds = 0.0
        self._earlier_parts: tuple[Stretch, ...] = ()
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time of the training so far, that before an interruption included."""
        return self._earlier_seconds + time.perf_counter() - self._began

    def made_by(self, epochs_done: int) -> tuple[Stretch, ...]:
        """Where and with what so many epochs were trained, a part for each place; one where it was one."""
        now, here = (*self._earlier_parts,), provenance()
        if now and now[-1].is_like(here):
            now = now[:-1]
        return *now, Stretch(until=epochs_done, provenance=here)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        for variable, value in zip(_metrics(self.model), self._metrics, strict=bool(self._metrics)):
            variable.assign(value)
        self._metrics = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (
            batch + 1 < self.params["steps"]
        ):  # after the last one the log has the epoch too, see `on_epoch_end`
            update = self._not_counted + int(self.model.optimizer.iterations.numpy())
            self._keep(f"u{update}", place_of(self._stages, update))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.model.stop_training:
            return
        done, update = epoch + 1, updates_of(self._stages, epoch + 1)
        if done % self._every_epochs == 0:
            self.save(done)
        for moment in (f"{done}", f"u{update}"):
            self._keep(moment, place_of(self._stages, update))

    def _keep(self, moment: str, place: tuple[int, int, int]) -> None:
        if moment in self._to_keep:
            kept = self._folder.parent / KEPT_FOLDER / kept_name(moment)
            kept.parent.mkdir(exist_ok=True)
            write_arrays(kept, self._arrays(place))

    def save(self, epochs_done: int) -> None:
        """Writes the checkpoint of so many epochs, and removes those that are no longer needed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / kept_name(f"{epochs_done}")
        write_arrays(path, self._arrays(place_of(self._stages, updates_of(self._stages, epochs_done))))
        self._kept = [path, *self._kept][:KEPT]
        for old in set(_newest_first(self._folder)) - set(self._kept):  # of another training, or damaged, too
            with contextlib.suppress(OSError):
                old.unlink()

    def _arrays(self, place: tuple[int, int, int]) -> Arrays:
        """Everything that a training needs that goes on from here, after so many epochs and updates of the next one."""
        seen = {
            "place": place,
            "training_hash": self._training_hash,
            "epochs": self._log.epochs,
            "hessian": asdict(self._hessian.result) if self._hessian.result else None,
            "hessian_settings": _settings(self._hessian),
            "hessian_seconds": self._hessian.seconds,
            "snapshots": self._snapshots.settings,
            "along": self._along.state if self._along else None,
            "validation_examples": self._validation_examples,
            "made_by": [part.model_dump(mode="json") for part in self.made_by(place[0])],
            "seconds": self.seconds,
        }
        named = {"v": _state(self.model), "m": _metrics(self.model) if place[1] else [], **self._vectors}
        arrays = {f"{name}{i:04d}": np.asarray(v) for name, vs in named.items() for i, v in enumerate(vs)}
        return arrays | {"seen": np.frombuffer(json.dumps(seen).encode(), np.uint8)}

    @property
    def _vectors(self) -> dict[str, list[Vector]]:
        """With which λ1 begins the next time on the way."""
        return {**self._hessian.kept, **({"along": self._along.kept} if self._along else {})}

    def restore(self, model: Any) -> tuple[int, int]:
        """Puts model, log and curvature where the newest good checkpoint left them.

        Returns:
            The number of epochs done, and of updates of the next one; 0 where there is no good checkpoint.
        """
        place = self._restored(model)
        self._not_counted = (
            updates_of(self._stages, place[0]) + place[1] - int(model.optimizer.iterations.numpy())
        )
        if self._along:
            self._along.not_counted = self._not_counted
        return place

    def _restored(self, model: Any) -> tuple[int, int]:
        for path in _newest_first(self._folder):
            try:
                arrays = read_arrays(path)
                seen = json.loads(arrays["seen"].tobytes())
                if seen["training_hash"] != self._training_hash:
                    continue
                fitting = _fitting(arrays, _state(model))
            except (DamagedError, ValueError, KeyError, RecursionError) as damage:
                print(f"warning: {path}: passed over for the one before: {damage}", file=sys.stderr)
                continue
            if self._snapshots.settings not in (None, seen.get("snapshots")):
                continue  # a network that is asked for now may have been passed by
            if self._along and not self._along.go_on_from(seen.get("along")):
                continue  # likewise what is measured on the way
            for variable, value in zip(_state(model), fitting, strict=True):
                variable.assign(value)
            self._log.epochs = seen["epochs"]
            self._take_vectors(arrays, seen)
            if seen["hessian_settings"] == _settings(self._hessian):
                self._hessian.result = Curvature(**seen["hessian"]) if seen["hessian"] else None
            else:
                self._forget(*EIGENVALUE_COLUMNS.values(), PRECONDITIONED)
            # Checkpoints of earlier versions do not say it.
            if seen.get("validation_examples", self._validation_examples) != self._validation_examples:
                self._forget("val_loss", "val_accuracy")
            self._hessian.seconds = seen["hessian_seconds"]
            self._earlier_seconds = seen["seconds"]
            self._earlier_parts = tuple(Stretch(**part) for part in seen.get("made_by", ()))
            self._say_what_differs(path)
            self._kept = [path]
            return len(seen["epochs"]), 0
        return self._forked(model, self._fork) if self._fork else (0, 0)

    def _take_vectors(self, arrays: Arrays, seen: dict[str, Any]) -> None:
        """As `_vectors` had them, where the same is asked for."""
        along = self._along.state["asked"] if self._along else None
        same = {"along": along == (seen.get("along") or {}).get("asked")}
        for name, vectors in self._vectors.items():
            if same.get(name, seen["hessian_settings"] == _settings(self._hessian)):
                vectors[:] = _numbered(arrays, name)

    def _forked(self, model: Any, fork: Fork) -> tuple[int, int]:
        """Begins with the weights, the momentum and the moment of a checkpoint of another training.

        The optimizer's state is taken up where the rule has the same one; else it is fresh.

        Raises:
            RequestError: the file is another one than the config was read with, or holds another network.
        """
        path = Path(fork.checkpoint)
        try:
            if hashlib.sha256(path.read_bytes()).hexdigest() != fork.sha256:
                raise DamagedError("it is another file than when the config was read")
            arrays = read_arrays(path)
            seen = json.loads(arrays["seen"].tobytes())
            weights, slots = _weights(model), list(model.optimizer.variables)
            fitting = _fitting({f"v{i:04d}": arrays[f"v{i:04d}"] for i in range(len(weights))}, weights)
            rest = _numbered(arrays, "v")[len(weights) :]
            batch_size = place_of(self._stages, updates_of(self._stages, fork.epoch))[2]
            self._take_vectors(arrays, seen)
        except (OSError, DamagedError, ValueError, KeyError) as error:
            raise RequestError(f"fork.checkpoint: {path}: {error}") from None
        is_same = [tuple(slot.shape) for slot in slots] == [array.shape for array in rest]
        for variable, value in (
            zip([*weights, *slots], [*fitting, *rest], strict=False)
            if is_same
            else zip(weights, fitting, strict=True)
        ):
            variable.assign(value)
        self._log.epochs, self._metrics = seen["epochs"], _numbered(arrays, "m")
        return fork.epoch, fork.begins(batch_size)

    def _say_what_differs(self, path: Path) -> None:
        if self._earlier_parts and (other := self._earlier_parts[-1].differences(provenance())):
            print(
                f"warning: {path.parent.parent}: trained on with {', '.join(other)}: the record has each part, and its bits "
                "are those of neither alone",
                file=sys.stderr,
            )

    def _forget(self, *columns: str) -> None:
        """Of what was measured otherwise than it is asked for now: the column would hold two things."""
        for epoch in self._log.epochs:
            for name in columns:
                epoch.pop(name, None)


def remove_checkpoints(folder: Path) -> None:
    """A recorded trial needs none."""
    shutil.rmtree(folder, ignore_errors=True)


def _state(model: Any) -> list[Any]:
    """Weights, BatchNorm's statistics and dropout's generator, then the optimizer's slots and rate."""
    return _weights(model) + list(model.optimizer.variables)


def _weights(model: Any) -> list[Any]:
    metrics = {id(variable) for variable in _metrics(model)}
    return [v for v in model.variables if id(v) not in metrics]


def _metrics(model: Any) -> list[Any]:
    """What the loss and the accuracy of the running epoch are made of."""
    return [variable for metric in model.metrics for variable in metric.variables]


def _settings(hessian: TopHessianEigenvalue) -> dict[str, Any]:
    """What determines λ1 on given weights."""
    return hessian.spec.model_dump(mode="json", exclude={"every_epochs"})


def _newest_first(folder: Path) -> list[Path]:
    found = folder.glob("epoch-*.npz") if folder.is_dir() else ()
    return sorted((path for path in found if re.fullmatch(r"epoch-\d{6}\.npz", path.name)), reverse=True)


def _numbered(arrays: Arrays, name: str) -> list[NDArray[Any]]:
    """The arrays `name0000`, `name0001`, ..."""
    return [arrays[key] for key in sorted(arrays) if re.fullmatch(rf"{name}\d{{4}}", key)]


def _fitting(arrays: Arrays, state: list[Any]) -> list[NDArray[Any]]:
    """The arrays of the variables of a network.

    Raises:
        DamagedError: they are those of another one.
    """
    found = [arrays.get(f"v{i:04d}") for i in range(len(state))]
    shapes = [None if array is None else array.shape for array in found]
    if shapes != [tuple(variable.shape) for variable in state]:
        raise DamagedError("it holds the weights of another network")
    return [array for array in found if array is not None]
