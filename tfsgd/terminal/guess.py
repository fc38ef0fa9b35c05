"""What a grid may cost before its first record: a guess, from what other sweeps have measured.

Seconds are medians of the records below `docs/results` (StdCNN 123 trials, C1 3), on one core of an AMD EPYC; those of an Intel
Xeon there were 1.15 times as long (33 trials). M1's are those of its training step in `docs/performance.md`.
"""

from collections.abc import Sequence

from tfsgd.measures.spec import Request
from tfsgd.plan.config import Experiment
from tfsgd.plan.requests import along_requests, requests_of
from tfsgd.plan.stages import moments_of, stages_of
from tfsgd.plan.trials import Trial
from tfsgd.terminal.progress import duration
from tfsgd.text import counted

PROCESSOR = "one core of an AMD EPYC"
TRAINING = {"stdcnn": 1.6, "m1": 8.0, "c1": 31.7}  # seconds for 10,000 images of one epoch, b = 16 to 4,096
MEASURING = {  # of StdCNN, for 10,000 images
    "natural": 0.4, "confidence": 0.5, "fgsm": 1.9, "transfer": 1.5, "input_gradient": 2.6, "zero_gradients": 3.2,
    "gradient_noise": 4.2, "noise": 5.4, "batch_sharpness": 10.4, "input_eigenvalue": 13.9, "jacobian": 21.6, "pgd": 28.5,
    "apgd": 39.8, "robust": 54.8, "square": 100.0, "top_eigenvalue": 119.0, "trace": 120.0, "extremes": 144.0,
    "minimal": 202.0, "spectrum": 1_682.0, "directional_sharpness": 6.0,
}  # fmt: skip
SLOWER = {"stdcnn": 1.0, "m1": 5.0, "c1": 10.7}  # C1's measures: the median ratio; M1's: that of its training
WEIGHTS = {"stdcnn": 23_010, "m1": 4_016_050, "c1": 1_756_938}
RECORD, EXPORTED = 300_000, 8  # bytes of a trial without its network; of each weight: `.keras` and SavedModel


def guessed(trials: Sequence[Trial], experiment: Experiment) -> str:
    """Hours and disk of so many trials in a line that says that it is a guess; of other models that there is none."""
    model = experiment.model
    if model not in TRAINING:
        return f"no guess of what they take: {model} has no measured seconds; --stop-after 1 or --quick measures some"
    trained = sum(experiment.epochs_of(t.settings) * experiment.examples("train") for t in trials)
    seconds = TRAINING[model] * trained / 10_000
    measuring = _measuring(requests_of(experiment, 0))
    networks = 1 + (len(experiment.snapshots.train_loss) if experiment.snapshots else 0)
    seconds += SLOWER[model] * measuring * len(trials) * networks
    size = RECORD + networks * experiment.export * EXPORTED * WEIGHTS[model]
    return (
        f"a guess: they take one worker about {duration(seconds)}, measured on {PROCESSOR}, and "
        f"{len(trials) * size / 1e6:,.0f} MB of disk; the first records say it better"
    )


def said_of_along(trials: Sequence[Trial], experiment: Experiment) -> str:
    """What is measured on the way of these trainings costs, in images, products, and if it can be guessed seconds; empty: nothing is."""
    along, requests = experiment.along, along_requests(experiment, 0)
    if along is None or not trials:
        return ""
    stages = (stages_of(t.settings, experiment.length, experiment.examples("train")) for t in trials)
    moments = sum(moments_of(along, of) for of in stages)
    products = sum(getattr(r.spec, "max_iterations", 0) for r in requests)
    each = ", ".join(f"{r.title} ({counted(r.examples, 'image')})" for r in requests)
    line = f"along: {counted(moments, 'moment')} in {counted(len(trials), 'training')}, each {each}"
    line += f"; λ1 by at most {products * moments:,} products" if products else ""
    if experiment.model not in SLOWER:
        return line
    seconds = SLOWER[experiment.model] * _measuring(requests) * moments
    return f"{line}; a guess: about {duration(seconds)} of {PROCESSOR}"


def _measuring(requests: Sequence[Request]) -> float:
    """Seconds of StdCNN."""
    return sum(MEASURING.get(r.name, MEASURING["pgd"]) * r.examples for r in requests) / 10_000
