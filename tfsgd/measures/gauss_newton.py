"""The product of the Hessian's Gauss-Newton part with vectors."""

import tensorflow as tf

from tfsgd.measures.hessian import Product


class GaussNewtonProduct(Product):
    """v -> Gv, G = JᵀH_L J: J the Jacobian of the logits, H_L the loss's Hessian with respect to them.

    Jv by differentiating uᵀJ, which is linear in u, with respect to u; then H_L, then Jᵀ, each for a chunk of
    images. G is the Hessian without the second derivatives of the network itself (Schraudolph 2002), and
    positive semidefinite where the loss is convex in the logits, as the cross-entropy is. Arguments and
    attributes are those of `Product`.
    """

    def _chunk_product(self, directions: list[tf.Tensor], images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as outer:
            with tf.GradientTape(persistent=True) as inner:
                logits = self._model(images, training=False)
            probe = tf.zeros_like(logits)
            outer.watch(probe)
            pulled = inner.gradient(logits, self._variables, probe, unconnected_gradients="zero")
            slope = tf.add_n([tf.reduce_sum(p * d) for p, d in zip(pulled, directions, strict=True)])
        pushed = outer.gradient(slope, probe)  # Jv
        curved = self._of_loss(tf.stop_gradient(logits), labels, pushed)
        products = inner.gradient(logits, self._variables, curved, unconnected_gradients="zero")
        return tf.concat([tf.reshape(p, [-1]) for p in products], 0)

    def _of_loss(self, logits: tf.Tensor, labels: tf.Tensor, direction: tf.Tensor) -> tf.Tensor:
        """H_L times a direction, both of shape `(images, classes)`."""
        with tf.GradientTape() as outer:
            outer.watch(logits)
            with tf.GradientTape() as inner:
                inner.watch(logits)
                loss = tf.reduce_sum(self._loss(labels, logits))
            slope = tf.reduce_sum(inner.gradient(loss, logits) * direction)
        return outer.gradient(slope, logits, unconnected_gradients="zero")
