"""The trials of a grid that are not complete -> complete, in this process or by workers."""

import math
from dataclasses import dataclass
from pathlib import Path

from tfsgd.data.dataset import Splits
from tfsgd.errors import RequestError
from tfsgd.plan.config import Experiment
from tfsgd.plan.fit import refuse_unfit
from tfsgd.plan.trials import Trial, grid
from tfsgd.plan.wanted import doubts
from tfsgd.records.folder import LogFolder
from tfsgd.records.ledger import Done, refuse_other_structure
from tfsgd.sweeping.progress import Display, console, send_native_logs_to, warn


@dataclass(frozen=True)
class Crew:
    """Who trains and measures, as asked for on the command line.

    Attributes:
        workers: how many processes; `None`: one for each GPU or core.
        listen: HOST:PORT for workers on other machines.
        join: HOST:PORT of a sweep on another machine.
        data_dirs: where to look for the images.
    """

    workers: int | None = None
    listen: str | None = None
    join: str | None = None
    data_dirs: tuple[Path | None, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What is to be done, on what, where and by whom."""

    experiment: Experiment
    splits: Splits
    folder: LogFolder
    crew: Crew


def run_trials(waiting: list[Trial], done: Done, plan: Plan) -> dict[str, str]:
    """Trains and measures what is missing. TensorFlow is first imported here.

    Args:
        waiting: the trials that are not complete.
        done: those that are trained, with their records.
        plan: how.

    Returns:
        The trials that failed, with an error of one line each.

    Raises:
        RequestError: the network is built otherwise than those of the records, a batch size does not fit the
            replicas, or workers cannot start.
    """
    experiment, folder, crew = plan.experiment, plan.folder, plan.crew
    for doubt in doubts(experiment):
        warn(doubt)
    folder.empty_scratch()
    folder.write_plan(experiment)
    send_native_logs_to(folder.tuner_path / "tensorflow.log")
    from tfsgd.sweeping import workers
    from tfsgd.sweeping.tensorboard import write_hparams_config
    from tfsgd.sweeping.trial import Job, structure_of
    from tfsgd.sweeping.tuner import search
    from tfsgd.training.devices import check_replicas, configure_tensorflow, mirrored_strategy

    configure_tensorflow()
    experiment.architecture.check(experiment.data.image_shape, experiment.data.classes)
    refuse_other_structure(done, structure_of(experiment), folder)
    size = crew.workers or workers.default_size(len(waiting))
    _refuse_unfit(experiment, size)
    write_hparams_config(experiment, grid(experiment), folder.path)
    with Display(waiting, experiment, folder, console()) as display:
        if size == 1 and not crew.listen:
            replicas = mirrored_strategy().num_replicas_in_sync
            check_replicas(experiment.batch_sizes, len(plan.splits.train), replicas)
            return search(waiting, Job(experiment, plan.splits, folder, display))
        address = (
            workers.Address.parse(crew.listen, "--listen")
            if crew.listen
            else workers.Address.free_on_loopback()
        )
        return workers.Crew(
            waiting, folder, display,
            size=size, data_dirs=crew.data_dirs, address=address, joins=False,
        ).run()  # fmt: skip


def _refuse_unfit(experiment: Experiment, workers: int) -> None:
    """Refuses curvature measures that cannot be taken on the network, or not in the memory there is."""
    measures = {
        "hessian": experiment.hessian,
        **{f"curvature.{k}": m for k, m in experiment.curvature.items()},
    }
    in_training = [label for label, measure in measures.items() if measure.mode == "training"]
    if not experiment.curvature and not in_training:
        return
    from tfsgd.measures.training_mode import TrainingMode

    network = experiment.build()
    refuse_unfit(experiment, sum(math.prod(v.shape) for v in network.trainable_variables), workers)
    for label in in_training:
        try:
            TrainingMode(network)
        except RequestError as error:
            raise RequestError(f"{label}.{error}") from None
