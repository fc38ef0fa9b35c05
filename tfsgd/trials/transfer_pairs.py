"""The networks of a sweep against each other's perturbations: every source on every victim, each pair once."""

from collections.abc import Callable, Sequence

from tfsgd.data.dataset import Splits
from tfsgd.errors import RequestError
from tfsgd.measures.attacks.transfer import Transfer
from tfsgd.measures.spec import Request
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.networks.surrogate import Sources
from tfsgd.plan.config import Experiment
from tfsgd.plan.presets import usual_epsilons
from tfsgd.plan.requests import attacks
from tfsgd.plan.trials import Trial
from tfsgd.records.folder import LogFolder, stored_network
from tfsgd.records.outcomes import keep_outcomes
from tfsgd.records.resume import Done
from tfsgd.training.provenance import provenance
from tfsgd.trials.stored_network import load_stored

MOST = 64  # networks: the pairs are their square
EXAMPLES = 1_000  # test images, at most
LABEL = "transfer"


def one_of_each_cell(done: Done) -> Done:
    """The trial of the smallest seed for each setting of SGD, among those whose network has learnt something.

    Raises:
        RequestError: there are fewer than two, or too many.
    """
    chosen = {}
    for trial, record in sorted(done, key=lambda pair: -pair[0].seed):
        if record.status == "completed":
            chosen[trial.settings] = (trial, record)
    found = [pair for pair in done if pair in chosen.values()]
    if not 2 <= len(found) <= MOST:
        raise RequestError(
            f"--transfer: expected 2 to {MOST} cells with a network that neither diverged nor collapsed, "
            f"found {len(found)}"
        )
    return found


def transfer_requests(experiment: Experiment, sources: Sequence[Trial], seed: int) -> list[Request]:
    """Each source at each epsilon of the config's `pgd`, or the usual ones, on a victim of a seed."""
    pgd = experiment.attacks.get("pgd")
    epsilon = tuple(pgd.epsilon) if pgd else tuple(usual_epsilons(experiment.dataset))
    examples = min(EXAMPLES, experiment.examples("test"))
    specs = [Transfer(attack=LABEL, epsilon=epsilon, examples=examples, source=t.name) for t in sources]
    return [request for spec in specs for request in attacks({LABEL: spec}, examples, seed)]


def measure_transfer(
    done: Done, experiment: Experiment, splits: Splits, logs: LogFolder, say: Callable[[str], None]
) -> Done:
    """Measures the pairs that are missing, victim by victim; each record is written as soon as it has a new number.

    Args:
        done: the trials, each a source and a victim, with their records.
        experiment: of the sweep.
        splits: its images, cut to those that are used.
        logs: where the networks and the records are.
        say: told which victim is measured.

    Returns:
        The trials with their new records.

    Raises:
        RequestError: a network is gone, or is not the one that was trained; before any is measured.
    """
    trials = [trial for trial, _ in done]
    for trial in trials:
        stored_network(logs.trial_path(trial))
    sources, here, found = Sources(logs.network), provenance(), []
    for number, (trial, known) in enumerate(done, 1):
        record = known
        missing = record.missing(transfer_requests(experiment, trials, trial.seed))
        if missing:
            say(f"[{number} of {len(done)}] {trial.name}: {len(missing)} perturbations to try")
            subject = MeasuredNetwork(
                load_stored(record, experiment, logs.trial_path(trial)),
                splits,
                trial.settings.batch_size,
                sources,
            )
            for request in missing:
                one = request.measure_on(subject)
                keep_outcomes(logs.trial_path(trial), subject.new_outcomes(), record)
                elsewhere = None if here == record.provenance else here
                record = record.with_measurements(one.model_copy(update={"provenance": elsewhere}))
                logs.write_record(record)
        found.append((trial, record))
    return found
