"""The losses of `tfsgd.networks.losses` for PyTorch networks: labels `(N,)` int64, logits `(N, classes)` -> `(N,)`."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def log_odds(labels: Tensor, logits: Tensor) -> Tensor:
    """s = log Σ_{j != y} exp z_j - z_y; its gradient never vanishes with confidence."""
    return torch.logsumexp(_others(labels, logits), 1) - _of(labels, logits)


def cross_entropy(labels: Tensor, logits: Tensor) -> Tensor:
    """Nats: softplus(s), with derivatives that are right for images of which the network is sure, as `log_odds`."""
    return functional.softplus(log_odds(labels, logits))


def softmax_cross_entropy(labels: Tensor, logits: Tensor) -> Tensor:
    """The cross-entropy as PyTorch has it: gradient p - y in float32."""
    return functional.cross_entropy(logits, labels, reduction="none")


def squared_error(labels: Tensor, logits: Tensor) -> Tensor:
    """Half the squared distance of the logits from the one-hot label."""
    return (logits - functional.one_hot(labels, logits.shape[1])).square().sum(1) / 2


def margin(labels: Tensor, logits: Tensor) -> Tensor:
    """The largest other logit minus the true one."""
    return _others(labels, logits).amax(1) - _of(labels, logits)


def dlr(labels: Tensor, logits: Tensor) -> Tensor:
    """Difference of logits ratio (Croce and Hein 2020, equation 6); of two classes the margin alone."""
    largest = logits.topk(min(3, logits.shape[1])).values
    return margin(labels, logits) / _positive(largest[:, 0] - largest[:, -1], logits)


def _lead(labels: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """The target's logit minus the true one."""
    return _of(targets, logits) - _of(labels, logits)


def _targeted_dlr(labels: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """-(z_y - z_t) / (z_1 - (z_3 + z_4) / 2) (Croce and Hein 2020, equation 7); of fewer than 4 classes the last."""
    classes = logits.shape[1]
    largest = logits.topk(min(4, classes)).values
    spread = largest[:, 0] - (largest[:, min(2, classes - 1)] + largest[:, -1]) / 2
    return _lead(labels, logits, targets) / _positive(spread, logits)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "softmax_cross_entropy": softmax_cross_entropy,
    "margin": margin,
    "dlr": dlr,
}
DESCENDED: dict[str, Loss] = {"cross_entropy": cross_entropy, "mse": squared_error}  # by SGD
UPHILL: dict[str, Loss] = LOSSES | {"cross_entropy": log_odds}  # whose gradient leads up each loss

# What rises towards targets `(N,)`: labels, logits, targets -> (N,).
TARGETED: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "cross_entropy": lambda labels, logits, targets: -log_odds(targets, logits),
    "softmax_cross_entropy": lambda labels, logits, targets: -softmax_cross_entropy(targets, logits),
    "margin": _lead,
    "dlr": _targeted_dlr,
}


def _of(classes: Tensor, logits: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def _others(labels: Tensor, logits: Tensor) -> Tensor:
    """The logits, with the label's at the least number there is."""
    true = functional.one_hot(labels, logits.shape[1]).bool()
    return logits.masked_fill(true, torch.finfo(logits.dtype).min)


def _positive(spread: Tensor, logits: Tensor) -> Tensor:
    """The spread of the logits; 1 where they are equal, and of two classes."""
    return torch.where((spread > 0) & (logits.shape[1] > 2), spread, torch.ones_like(spread))
