"""What is measured on every network without an attack: accuracy, confidence, and the loss's slope at the images."""

from typing import ClassVar

from tfsgd.measures.spec import Kind, Spec

MISDIRECTED = 0.02  # share of the images above which FGSM by float32's softmax says how sure a network is


class NaturalAccuracy(Spec):
    """Loss and accuracy on unperturbed images."""

    kind: ClassVar[Kind] = "accuracy"


class Confidence(Spec):
    """How sure the network is of its answers on unperturbed images, right or wrong.

    Its values are `confidence`, the mean of the largest softmax output; `margin`, the mean of the true class's
    logit minus the largest other one; and `calibration_error`, the expected calibration error over 15 bins of
    equal width: the mean, weighted by images, of |accuracy - confidence| in each bin (Guo et al. 2017, equation 3).
    """

    kind: ClassVar[Kind] = "confidence"


class ZeroGradients(Spec):
    """What the loss's input gradient is good for, in float32, image by image.

    Its values, as shares of the images: `fraction`, whose gradient is exactly zero, so that no attack can move them;
    `saturated`, of which the network is so sure that the true class's term of the gradient that TensorFlow's softmax
    has is exactly zero; and `misdirected`, where that gradient points elsewhere: its cosine with the exact one is below
    0.9. An attack by `loss: softmax_cross_entropy` measures those images' confidence, not their robustness.

    Cost: two gradients, two steps of PGD on all images.
    """

    kind: ClassVar[Kind] = "gradient"
    revision: ClassVar[int] = 2  # the first counted zeros of the softmax's gradient


class InputGradient(Spec):
    """How steep the network is at unperturbed images, to first order.

    Its values are `value`, the mean over the images of |grad_x loss|_1 (cross-entropy, nats per pixel unit): times
    epsilon what FGSM adds to the loss; and `radius`, the median over the images of max(margin, 0) / |grad_x margin|_1
    (pixel units), margin the true logit minus the largest other one: the epsilon at which a linear network would
    break (Hein and Andriushchenko 2017, theorem 2.1, with the slope at the image alone). An image that is
    misclassified has 0; `None` where the median image has a margin without a slope.

    Cost: two gradients, two steps of PGD on all images.
    """

    kind: ClassVar[Kind] = "gradient"
    revision: ClassVar[int] = 2  # the first lost images of which the network is sure
