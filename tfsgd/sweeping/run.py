"""The trials of a grid that are not complete -> complete, in this process or by workers."""

import contextlib
import importlib.util
import math
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfsgd.data.dataset import Splits
from tfsgd.data.shared_memory import write_shared
from tfsgd.errors import RequestError
from tfsgd.imports import quickly
from tfsgd.plan.config import Experiment
from tfsgd.plan.feasibility import refuse_unfit
from tfsgd.plan.import_string import is_own_name
from tfsgd.plan.requests import doubts
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.folder import LogFolder
from tfsgd.records.resume import refuse_other_data, refuse_other_structure
from tfsgd.sweeping.address import Address
from tfsgd.sweeping.allocation import (
    allocate,
    default_size,
    described,
    refuse_few_threads,
    unseen_gpu,
    visible_gpus,
)
from tfsgd.sweeping.forkserver import import_ahead
from tfsgd.terminal.progress import Display, console, send_native_logs_to, warn

if TYPE_CHECKING:
    from tfsgd.sweeping.worker_pool import WorkerPool


@dataclass(frozen=True)
class WorkerOptions:
    """Who trains and measures, as asked for on the command line.

    Attributes:
        workers: how many processes; `None`: one for each GPU or core.
        per_gpu: how many processes share a GPU.
        listen: HOST:PORT for workers on other machines.
        join: HOST:PORT of a sweep on another machine.
        jobqueue: the batch system that starts the workers.
        dashboard: a port of this machine for Dask's dashboard.
        data_folder: to look in first for the images.
    """

    workers: int | None = None
    per_gpu: int = 1
    listen: str | None = None
    join: str | None = None
    jobqueue: str | None = None
    dashboard: int | None = None
    data_folder: Path | None = None

    def check(self, folder: LogFolder) -> None:
        """Refuses what cannot be, before anything is read or written.

        Raises:
            RequestError: the line names the option.
        """
        if self.join and (self.listen or self.jobqueue):
            raise RequestError(
                f"{'--listen' if self.listen else '--jobqueue'}, --join: expected one of them; the sweep that deals out "
                "the trials is not the one that joins"
            )
        if folder.shard and (self.join or self.listen or self.jobqueue):
            raise RequestError(
                "--shard: expected no --listen, --join or --jobqueue beside it; nodes with shards share the folder alone"
            )
        for option, address in (("--listen", self.listen), ("--join", self.join)):
            if address:
                Address.parse(address, option)
        if self.dashboard is not None and importlib.util.find_spec("bokeh") is None:
            raise RequestError("--dashboard: needs bokeh; pip install bokeh")
        if self.jobqueue:
            with _refusing_malformed_files():
                from tfsgd.sweeping.jobs import job_maker

            job_maker(self.jobqueue, folder.path.resolve())

    def worker_specs(self, trials: int, folder: LogFolder) -> list[dict[str, Any]]:
        """What this machine's workers must know, for so many trials."""
        if self.jobqueue:
            return []
        gpus = visible_gpus()
        specs = allocate(self.workers or default_size(trials, gpus, self.per_gpu), gpus, folder.path)
        return [spec | {"shard": folder.shard} for spec in specs]


@dataclass(frozen=True)
class SweepRun:
    """What is to be done, on what, where and by whom.

    Attributes:
        waiting: the trials that are not complete.
        experiment: how to train, and what to measure.
        splits: the images.
        folder: where everything is written.
        pool: the workers; `None`: this process works alone.
    """

    waiting: list[Trial]
    experiment: Experiment
    splits: Splits
    folder: LogFolder
    pool: "WorkerPool | None"


@contextlib.contextmanager
def prepared(
    waiting: list[Trial], experiment: Experiment, folder: LogFolder, options: WorkerOptions
) -> Iterator[SweepRun]:
    """Workers come while the images are read; they leave at the end.

    Args:
        waiting: the trials that are not complete.
        experiment: how to train, and what to measure.
        folder: where everything is written.
        options: who works.

    Raises:
        RequestError: there are no images, others than the records', or nobody can work.
    """
    _refuse_missing_sources(experiment, folder)
    if experiment.corruptions:
        experiment.corruptions.prepare()
    folder.empty_scratch()
    folder.write_plan(experiment)
    send_native_logs_to(folder.tuner_path / "tensorflow.log")
    with _workers(len(waiting), folder, options) as pool:
        splits = experiment.splits(options.data_folder)
        refuse_other_data(splits.sha256, splits.source, folder)
        yield SweepRun(waiting, experiment, splits, folder, pool)


@contextlib.contextmanager
def _workers(trials: int, folder: LogFolder, options: WorkerOptions) -> Iterator["WorkerPool | None"]:
    workers = options.worker_specs(trials, folder)
    needs_cluster = options.listen or options.jobqueue or options.dashboard is not None
    alone = len(workers) == 1 and not needs_cluster
    refuse_few_threads(workers, alone)
    _say_device(workers, alone)
    if alone:
        yield None
        return
    import_ahead(workers)
    with _refusing_malformed_files():
        from tfsgd.sweeping.cluster import log_to
        from tfsgd.sweeping.worker_pool import WorkerPool

    log_to(folder.tuner_path / "dask.log")
    listen = Address.parse(options.listen, "--listen") if options.listen else None
    jobs = None
    if options.jobqueue:
        from tfsgd.sweeping.jobs import job_maker, own_address

        jobs = (options.workers or 1, job_maker(options.jobqueue, folder.path.resolve()))
        listen = listen or own_address(options.jobqueue)
    try:
        with WorkerPool(folder, workers, listen, options.dashboard, jobs) as pool:
            yield pool
    finally:
        for path in (folder.images_path, folder.temporary_path):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _refusing_malformed_files() -> Iterator[None]:
    """Dask reads the user's files when it is imported, before it can be told not to."""
    try:
        yield
    except ValueError as error:
        raise RequestError(" ".join(str(error).split())) from None


def _say_device(workers: list[dict[str, Any]], alone: bool) -> None:
    gpus = visible_gpus() if workers else []
    console().print(f"device: {described(workers, gpus, alone)}")
    unseen = unseen_gpu() if workers and not gpus else ""
    if unseen:
        warn(
            f"a GPU is here ({unseen}), and TensorFlow does not see it: the CPU trains; pip install 'tfsgd[gpu]', "
            "or set CUDA_VISIBLE_DEVICES=-1 if that is meant"
        )


def _refuse_missing_sources(experiment: Experiment, folder: LogFolder) -> None:
    for label, spec in experiment.attacks.items():
        for name in spec.others():
            try:
                folder.network(name)
            except RequestError as error:
                raise RequestError(
                    f"attacks.{label}.source: {error}; train it first, then measure with this attack"
                ) from None


def run_trials(run: SweepRun) -> dict[str, str]:
    """Trains and measures what is missing. TensorFlow is first imported here.

    Returns:
        The trials that failed, with an error of one line each.

    Raises:
        RequestError: the network is built otherwise than those of the records, a batch size does not fit the
            replicas, or workers cannot start.
    """
    experiment, folder, pool = run.experiment, run.folder, run.pool
    for doubt in doubts(experiment):
        warn(doubt)
    if pool:
        _share(run.splits, folder)
    with quickly():
        from tfsgd.sweeping.tuner import search, search_on_workers
        from tfsgd.training.devices import (
            check_replicas,
            check_rules,
            configure_tensorflow,
            mirrored_strategy,
        )
        from tfsgd.training.model import structure_of
        from tfsgd.training.precision import is_slow_here
        from tfsgd.trials.tensorboard import write_hparams_config
        from tfsgd.trials.trial import SweepContext

    configure_tensorflow()
    if any("bfloat16" in regime.precision for regime in experiment.regimes.values()) and is_slow_here():
        warn(
            "regimes: precision: this processor has no unit for bfloat16; training in it is slower than in float32"
        )
    if experiment.has_code:
        experiment.architecture.check(experiment.data.image_shape, experiment.data.classes)
        refuse_other_structure(structure_of(experiment), folder)
        _refuse_unfit(experiment, pool.size if pool else 1)
        _refuse_rules(experiment)
    write_hparams_config(experiment, grid(experiment), folder.path)
    with Display(run.waiting, experiment, folder, console()) as display:
        if pool:
            pool.callbacks = display
            return search_on_workers(run.waiting, pool, folder)
        replicas = mirrored_strategy().num_replicas_in_sync
        check_replicas(experiment.batch_sizes, len(run.splits.train), replicas)
        check_rules((trial.settings for trial in grid(experiment)), replicas)
        return search(run.waiting, SweepContext(experiment, run.splits, folder, display))


def _refuse_rules(experiment: Experiment) -> None:
    """Refuses rules that the network is not made for, and optimizers of one's own that cannot be used."""
    chosen = [trial.settings for trial in grid(experiment)]
    own = {(s.optimizer, s.optimizer_arguments): s for s in chosen if is_own_name(s.optimizer)}
    if not own and not any(s.ghost_batch for s in chosen):
        return
    from tfsgd.training.devices import check_ghosts
    from tfsgd.training.own_optimizer import check_state, own_optimizer

    network = experiment.build()
    check_ghosts(chosen, network)
    for (name, _), settings in own.items():
        optimizer = own_optimizer(experiment, settings)
        optimizer.build(network.trainable_variables)
        check_state(optimizer, name)


def _refuse_unfit(experiment: Experiment, workers: int) -> None:
    """Refuses curvature measures that cannot be taken on the network, or not in the memory there is."""
    measures = {
        "hessian": experiment.hessian,
        **{f"curvature.{k}": m for k, m in experiment.curvature.items()},
    }
    if not experiment.curvature and experiment.hessian.mode == "inference":
        return
    from tfsgd.networks.operators import check_mode

    network = experiment.build()
    refuse_unfit(experiment, sum(math.prod(v.shape) for v in network.trainable_variables), workers)
    for label, spec in measures.items():
        try:
            check_mode(spec, network, experiment.batch_sizes[0])
        except RequestError as error:
            raise RequestError(f"{label}.{error}") from None


def _share(splits: Splits, folder: LogFolder) -> None:
    try:
        write_shared(splits, folder.images_path)
    except OSError as error:
        raise RequestError(
            f"{folder.images_path}: the images cannot be written for the workers: {error.strerror or error}; "
            "choose another folder with --logs, or --workers 1"
        ) from None


def bring_workers(
    trials: list[Trial], folder: LogFolder, options: WorkerOptions, display: Display
) -> dict[str, str]:
    """Works for a sweep on another machine, until that is over.

    Args:
        trials: of the sweep.
        folder: where it writes, as this machine sees it.
        options: who works.
        display: told how the trials go on that are run here.

    Returns:
        The trials that failed here, with an error of one line each.

    Raises:
        RequestError: the other sweep is not there, or no longer.
    """
    assert options.join is not None
    address = Address.parse(options.join, "--join")
    if not folder.certificate_path.exists():
        raise RequestError(
            f"--join {address}: no sweep listens in {folder.path}; start it there with --listen first, with the same --logs"
        )
    name = f"joined-{socket.gethostname()}-{os.getpid()}"
    send_native_logs_to(folder.tuner_path / f"{name}.log")
    with _refusing_malformed_files():
        from tfsgd.sweeping.cluster import log_to
        from tfsgd.sweeping.joining import RemoteWorkers

    log_to(folder.tuner_path / f"{name}-dask.log")
    workers = options.worker_specs(len(trials), folder)
    refuse_few_threads(workers, alone=False)
    with RemoteWorkers(address, trials, folder, workers, display) as remote:
        remote.wait()
    return remote.failures
