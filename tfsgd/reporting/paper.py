"""What the paper says and what was fixed beforehand to judge it: its settings, names, and our margins.

Every number of these stands here once. The prose of the claims and of the page is made from them.
"""

from tfsgd.plan.length import Length

# The paper's settings

LEARNING_RATE = 0.01  # of LR, and of Benchmark before it is halved
RATIO = 0.00015625  # of the learning rate to the batch size, under LR/BS
HALVE_EVERY_EPOCHS = 5  # Benchmark
PAPER_LENGTH = Length("epochs", 100)
SHARED_BATCH_SIZE = round(LEARNING_RATE / RATIO)  # where LR and LR/BS are one and the same

REGIMES = ("LR", "LR/BS", "Benchmark")
BASE_MOMENTUM = {"LR": 0.0, "LR/BS": 0.0, "Benchmark": 0.9}
PAPER_VALUE = {"LR": LEARNING_RATE, "LR/BS": RATIO, "Benchmark": LEARNING_RATE}

# Names

ACRONYMS = {"fgsm": "FGSM", "pgd": "PGD", "bim": "BIM", "apgd": "APGD"}

PAPER_ATTACKS = ("fgsm", "pgd")  # its claims are about these
REGIME_FIGURES = {"fgsm": "Figs. 1-6", "pgd": "Figs. 15-22"}
MOMENTUM_FIGURES = {
    "LR": {"fgsm": "Figs. 7-10", "pgd": "Figs. 15-22"},
    "LR/BS": {"fgsm": "Figs. 11-14", "pgd": "Figs. 15-22"},
}

COUNTER_EXAMPLE = ("fashion_mnist", "stdcnn")  # Section 3.2

# Margins

ALPHA = 0.05
MIN_SEEDS = 3
MIN_BATCH_SIZES = 3
ACCURACY_MARGIN = 0.02  # "almost constant" and "on the floor"
EIGENVALUE_FACTOR = 1.5  # "almost constant"
EPSILON_FACTOR = 1.25  # "almost constant", of the median smallest epsilon
RESIDUAL_LIMIT = 0.1  # an eigenvalue that is known worse than this decides nothing
UNDERTRAINED_MARGIN = 0.02  # train accuracy this far below the study's best cell
COMMON = 2 / 3  # of the networks: a mark that more of them carry tells none apart
ZERO = 1e-9  # below any real accuracy or log2 eigenvalue difference

BAD = ("diverged", "collapsed")
DOUBTFUL = ("with λ1 not converged", "with λ1 <= 0")


def attack_name(label: str) -> str:
    """An attack's label for readers: known acronyms in capitals, others as they are."""
    return ACRONYMS.get(label, label)


def percent(share: float) -> str:
    """An accuracy in words: 0.9 is `90.0 %`."""
    return f"{100 * share:.1f} %"


def points(share: float) -> str:
    """A difference of accuracies in words: 0.02 is `2 points`."""
    return f"{100 * share:g} points"


FLOOR = f"within {points(ACCURACY_MARGIN)} of 0 or of guessing"
ENOUGH = f"{MIN_SEEDS} seeds and {MIN_BATCH_SIZES} batch sizes"

FACTS = {  # for prose: the page's, and that of the claims' tests
    "alpha": ALPHA,
    "shared_batch_size": SHARED_BATCH_SIZE,
    "benchmark_momentum": BASE_MOMENTUM["Benchmark"],
    "few": f"{MIN_SEEDS} seeds or {MIN_BATCH_SIZES} batch sizes",
    "least_sizes": f"{MIN_BATCH_SIZES} batch sizes",
    "floor": FLOOR,
    "constant": points(ACCURACY_MARGIN),
    "constant_factor": f"{EIGENVALUE_FACTOR:g}",
    "epsilon_factor": f"{EPSILON_FACTOR:g}",
    "undertrained": points(UNDERTRAINED_MARGIN),
}
