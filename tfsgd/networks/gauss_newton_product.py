"""The product of the Hessian's Gauss-Newton part with vectors."""

import tensorflow as tf

from tfsgd.networks.hessian import Product, Tensors, dot, watch


class GaussNewtonProduct(Product):
    """v -> Gv, G = JᵀH_L J: J the Jacobian of the logits, H_L the loss's Hessian with respect to them.

    Jv by differentiating uᵀJ, which is linear in u, with respect to u; then H_L, then Jᵀ, each for a chunk of
    images. G is the Hessian without the second derivatives of the network itself (Schraudolph 2002), and
    positive semidefinite where the loss is convex in the logits, as the cross-entropy is. Arguments and
    attributes are those of `Product`.
    """

    title = "the Gauss-Newton part"

    def chunk_product(
        self, at: Tensors, directions: Tensors, images: tf.Tensor, labels: tf.Tensor
    ) -> Tensors:
        """As `Product.chunk_product`."""
        with tf.GradientTape() as outer:
            with tf.GradientTape(persistent=True) as inner:
                watch(inner, at)
                logits = self.logits(images)
            probe = tf.zeros_like(logits)
            outer.watch(probe)
            pulled = inner.gradient(logits, at, probe, unconnected_gradients="zero")
            slope = dot(pulled, directions)
        pushed = outer.gradient(slope, probe)  # Jv
        curved = self._of_loss(tf.stop_gradient(logits), labels, tf.cast(pushed, logits.dtype))
        return inner.gradient(logits, at, curved, unconnected_gradients="zero")

    def chunk_slope(self, at: Tensors, images: tf.Tensor, labels: tf.Tensor) -> Tensors:
        """The logits, whose change is Jv."""
        return [self.logits(images)]

    def chunk_pulled(self, at: Tensors, change: Tensors, images: tf.Tensor, labels: tf.Tensor) -> Tensors:
        """JᵀH_L times the change of the logits."""
        with tf.GradientTape() as tape:
            watch(tape, at)
            logits = self.logits(images)
        curved = self._of_loss(tf.stop_gradient(logits), labels, change[0])
        return tape.gradient(logits, at, curved, unconnected_gradients="zero")

    def _of_loss(self, logits: tf.Tensor, labels: tf.Tensor, direction: tf.Tensor) -> tf.Tensor:
        """H_L times a direction, both of shape `(images, classes)`."""
        with tf.GradientTape() as outer:
            outer.watch(logits)
            with tf.GradientTape() as inner:
                inner.watch(logits)
                loss = tf.reduce_sum(self._loss(labels, logits))
            slope = tf.reduce_sum(inner.gradient(loss, logits) * direction)
        return outer.gradient(slope, logits, unconnected_gradients="zero")
