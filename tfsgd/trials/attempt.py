"""One trial, whatever becomes of it: its record, or its failure beside it."""

import traceback

from tfsgd.plan.requests import natural
from tfsgd.plan.trials import Trial
from tfsgd.training.devices import custom_gradients_forgotten
from tfsgd.trials.outcome import TrialOutcome, in_a_line, only_own_failures
from tfsgd.trials.trial import SweepContext, run_trial, summary


def attempt(trial: Trial, context: SweepContext) -> TrialOutcome:
    """Runs a trial, from wherever an earlier try has left it.

    Whatever it raises is its failure, and kept beside the trial, so that the others go on.

    Raises:
        Superseded: another worker has it now.
    """
    try:
        if context.lease:
            context.lease.take(trial)
        with custom_gradients_forgotten(), only_own_failures():
            record = run_trial(trial, context)
    except Exception as error:  # code of one's own may exit, too
        return TrialOutcome.failed(trial, in_a_line(error), traceback.format_exc(), context.logs)
    [validation] = natural({"validation": context.experiment.examples("validation")})
    found = record.find(validation)
    return TrialOutcome((found.accuracy if found else None) or 0.0, summary(record, context.experiment))
