"""What a config asks to be measured on each network of its grid."""

from collections.abc import Mapping
from dataclasses import replace

from tfsgd.measures.attack import AttackSpec
from tfsgd.measures.attacks.minimal import Minimal
from tfsgd.measures.confidence import Confidence
from tfsgd.measures.curvature.gradient_norm import GradientNorm
from tfsgd.measures.curvature_spec import CurvatureSpec
from tfsgd.measures.directional_sharpness import DirectionalSharpness
from tfsgd.measures.distance import Distance
from tfsgd.measures.feature_rank import FeatureRank
from tfsgd.measures.input_gradient import InputGradient
from tfsgd.measures.jacobian import MOST_IMAGES, Jacobian
from tfsgd.measures.natural_accuracy import NaturalAccuracy
from tfsgd.measures.spec import Request, Split
from tfsgd.measures.temperature import Temperature
from tfsgd.measures.weights import Weights
from tfsgd.measures.zero_gradients import ZeroGradients
from tfsgd.plan.config import WHILE_TRAINED, Experiment, Measuring

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
HESSIAN = "hessian"  # the label of λ1
TOP_EIGENVALUE = "top_eigenvalue"
GRADIENT_NORM = "gradient_norm"
CORRUPTIONS = "corruptions"


def titled(label: str) -> str:
    """A measurement's label as a person is shown it: λ1's is a config's key, and says little."""
    return "λ1 (hessian)" if label == HESSIAN else label


def requests_of(experiment: Measuring, seed: int) -> list[Request]:
    """Everything that is to be measured on one network, in the order in which it is measured; derived once a seed.

    Args:
        experiment: what it asks for.
        seed: of the trial; random starts derive from it.
    """
    known: dict[int, list[Request]] = experiment.requests
    if seed not in known:
        known[seed] = _derived(experiment, seed)
    return known[seed]


def _derived(experiment: Measuring, seed: int) -> list[Request]:
    sizes = {split: experiment.examples(split) for split in SPLITS}
    return [
        *natural(sizes),
        Request("confidence", "confidence", Confidence(), "test", sizes["test"], free=True),
        Request("input_gradient", "input_gradient", InputGradient(), "test", sizes["test"], free=True),
        Request("jacobian", "jacobian", Jacobian(), "test", min(MOST_IMAGES, sizes["test"]), free=True),
        Request("weights", "weights", Weights(), "train", 1, free=True),
        *_covariates(experiment, sizes),
        top_eigenvalue(experiment),
        *attacks(experiment.attacks, sizes["test"], seed),
        Request("zero_gradients", "zero_gradients", ZeroGradients(), "test", sizes["test"]),
        *curvature(experiment.curvature),
        *_corruptions(experiment, sizes["test"]),
    ]


def _corruptions(experiment: Measuring, test_examples: int) -> list[Request]:
    """Of every network on the same images, whatever its seed."""
    spec = experiment.corruptions
    return [Request(CORRUPTIONS, CORRUPTIONS, spec, "test", spec.examples or test_examples)] if spec else []


def _covariates(experiment: Measuring, sizes: Mapping[Split, int]) -> list[Request]:
    """What else costs next to nothing beside a training. Of a network without its training the beginning is not known."""
    looked_at, on = min(MOST_IMAGES, sizes["test"]), experiment.hessian
    gradient = GradientNorm(measure=GRADIENT_NORM, examples=on.examples, split=on.split)
    return [
        *(
            [Request("distance", "distance", Distance(), "train", 1, free=True)]
            if isinstance(experiment, Experiment)
            else []
        ),
        Request(GRADIENT_NORM, GRADIENT_NORM, gradient, on.split, on.examples, free=True),
        Request("feature_rank", "feature_rank", FeatureRank(), "test", looked_at, free=True),
        Request("temperature", "temperature", Temperature(), "validation", sizes["validation"], free=True),
    ]


def along_requests(experiment: Experiment, seed: int) -> list[Request]:
    """What is measured on the way, on few images; nothing where the config has no `along`."""
    if experiment.along is None:
        return []
    labels, most = experiment.along.measures, experiment.along.examples
    asked = [r for r in requests_of(experiment, seed) if r.label in labels and not r.spec.is_recorded]
    if WHILE_TRAINED in labels and WHILE_TRAINED not in experiment.curvature:
        on = experiment.hessian
        spec = DirectionalSharpness(
            measure=WHILE_TRAINED, examples=on.examples, split=on.split, mode=on.mode, loss=on.loss
        )
        asked.append(Request(WHILE_TRAINED, WHILE_TRAINED, spec, on.split, on.examples))
    return [
        replace(r, examples=min(r.examples, most)) for r in sorted(asked, key=lambda r: labels.index(r.label))
    ]


def doubts(experiment: Measuring) -> list[str]:
    """What makes the attacks weaker than they look, a line for each of them that is."""
    found = ((label, spec.doubt()) for label, spec in experiment.attacks.items())
    return [f"attacks.{label}: {doubt}" for label, doubt in found if doubt]


def natural(sizes: Mapping[Split, int]) -> list[Request]:
    """Natural accuracy on so many images of each split."""
    return [
        Request("natural", split, NaturalAccuracy(), split, sizes[split])
        for split in SPLITS
        if split in sizes
    ]


def top_eigenvalue(experiment: Measuring) -> Request:
    """λ1, as the config's `hessian` block says."""
    spec = experiment.hessian
    return Request(TOP_EIGENVALUE, HESSIAN, spec, spec.split, spec.examples)


def attacks(specs: Mapping[str, AttackSpec], test_examples: int, seed: int) -> list[Request]:
    """Each attack at each epsilon."""
    return [
        Request(
            spec.attack,
            label,
            spec,
            "test",
            spec.examples or test_examples,
            seed,
            epsilon,
            more=spec.at(epsilon),
        )
        for label, spec in specs.items()
        for epsilon in spec.epsilon
    ]


def is_primary(request: Request) -> bool:
    """Whether it searches the smallest epsilon of each image in L-infinity, for the primary measure of robustness."""
    return isinstance(request.spec, Minimal) and request.spec.norm == "Linf"


def curvature(specs: Mapping[str, CurvatureSpec]) -> list[Request]:
    """The curvature measures beside λ1, each at the images as they are, or at those of its attack at each epsilon."""
    return [
        Request(spec.measure, label + end, spec, spec.split, spec.examples)
        for label, each in specs.items()
        for end, spec in each.at_each_epsilon().items()
    ]
