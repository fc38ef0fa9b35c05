"""The network of a trial, as it was trained, from its file."""

from pathlib import Path
from typing import Any

from tfsgd.errors import RequestError
from tfsgd.models.structure import structure_sha256
from tfsgd.networks.load_network import load_network
from tfsgd.plan.config import Experiment
from tfsgd.plan.user_model import UserModel
from tfsgd.records.folder import stored_network
from tfsgd.records.record import Record


def load_stored(record: Record, experiment: Experiment, folder: Path, name: str = "model.keras") -> Any:
    """Loads a network that was trained, with the code of one's own that it needs.

    Args:
        record: of the trial.
        experiment: that trained it.
        folder: of the trial.
        name: of the file below it.

    Raises:
        RequestError: it is gone, is another one, or its code is not what it was; one line.
    """
    path, architecture = stored_network(folder, name), experiment.architecture
    if isinstance(architecture, UserModel):
        architecture.import_if_there()
    network = load_network(path)
    if structure_sha256(network) != record.model_sha256:
        raise RequestError(
            f"{path}: loaded, it is not the network that was trained: the code of its layers has changed since; put "
            "it back, or remove the trial's folder to train it again"
        )
    return network
