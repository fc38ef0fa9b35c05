"""What the paper says and what was fixed beforehand to judge it: epsilons, titles, margins."""

from __future__ import annotations

import math

ALPHA = 0.05


MIN_SEEDS = 3


MIN_BATCH_SIZES = 3


MIN_CELLS = 8  # for a rank correlation


ACCURACY_MARGIN = 0.02  # "almost constant" and "on the floor"


EIGENVALUE_MARGIN = math.log2(1.5)


LARGE_BATCH_SIZE = 512


RESIDUAL_LIMIT = 0.1  # an eigenvalue that is known worse than this decides nothing


BAD = ("diverged", "collapsed")


DOUBTFUL = ("with λ1 not converged", "with λ1 <= 0")


ZERO = 1e-9  # below any real accuracy or log2 eigenvalue difference


REGIMES = ("LR", "LR/BS", "Benchmark")


BASE_MOMENTUM = {"LR": 0.0, "LR/BS": 0.0, "Benchmark": 0.9}


PAPER_EPSILON = {"mnist": 0.3, "fashion_mnist": 0.3, "cifar10": 0.02}


PAPER_EPOCHS = 100


DATASET_NAMES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}


MODEL_NAMES = {"stdcnn": "StdCNN", "m1": "M1", "c1": "C1", "resnet18": "ResNet18"}


UNDERTRAINED_MARGIN = 0.02  # train accuracy this far below the study's best cell
