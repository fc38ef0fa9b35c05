"""Measures that are taken in the course of a training."""

import time
from functools import cached_property
from typing import Any, cast

import keras
import numpy as np

from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.measures.curvature_spec import Vector
from tfsgd.measures.spec import Request
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.plan.along import Along
from tfsgd.plan.config import WHILE_TRAINED
from tfsgd.plan.requests import HESSIAN
from tfsgd.training.next_step import NextStep

Course = dict[str, list[float | None]]  # `update`, and each measure's title -> a number a moment


class MeasureAlong(keras.callbacks.Callback):
    """Measures what the config asks for after the updates that it names; it changes nothing of the training.

    Args:
        along: after which updates.
        requests: what.
        subject: on which; if its network is not the one that is trained, it gets that one's weights.

    Attributes:
        course: what was found.
        kept: the eigenvector of the last moment, with which λ1 begins at the next.
        not_counted: updates that the optimizer has not made: those before a fork, if it began afresh.
        seconds: wall time spent here.
    """

    def __init__(self, along: Along, requests: list[Request], subject: MeasuredNetwork) -> None:
        super().__init__()
        self._along, self._requests, self._subject = along, requests, subject
        self.course: Course = {"update": [], **{request.title: [] for request in requests}}
        self.kept: list[Vector] = []
        self.not_counted = 0
        self.seconds = 0.0

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        identities = [request.identity for request in self._requests]
        when = self._along.model_dump(mode="json", exclude={"measures", "examples"})
        return {"asked": [identities, when], "course": self.course, "seconds": self.seconds}

    def go_on_from(self, state: Any) -> bool:
        """Takes up what a checkpoint kept; not what was asked for otherwise."""
        if not state or state["asked"] != self.state["asked"]:
            return False
        self.course, self.seconds = state["course"], state["seconds"]
        return True

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._along.every_epochs is None:
            self._take(None)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._take(epoch + 1)

    def _take(self, epochs_done: int | None) -> None:
        update = self.not_counted + int(self.model.optimizer.iterations.numpy())
        taken = self.course["update"]
        if self.model.stop_training or update in taken[-1:] or not self._along.is_due(update, epochs_done):
            return
        began = time.perf_counter()
        network = self._subject.network
        if network is not self.model:
            network.set_weights(self.model.get_weights())
        is_finite = all(np.isfinite(w).all() for w in network.get_weights())
        for request in self._requests:
            self.course[request.title].append(self._found(request) if is_finite else None)
        taken.append(update)
        self._subject.forget()
        self.seconds += time.perf_counter() - began

    def _found(self, request: Request) -> float | None:
        if request.label == WHILE_TRAINED:
            with self._subject.while_trained(self._next_step):
                return request.measure_on(self._subject).headline
        if request.label != HESSIAN:
            return request.measure_on(self._subject).headline
        spec = cast(TopEigenvalue, request.spec)
        with self._subject.product(spec, request.split, request.examples).beginning_with(self.kept):
            return request.measure_on(self._subject).headline

    @cached_property
    def _next_step(self) -> NextStep:
        return NextStep(self.model)
