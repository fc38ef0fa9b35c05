"""Batches for training: every epoch a permutation that is a pure function of (seed, epoch)."""

from typing import Any

import tensorflow as tf

from tfsgd.data import Split

PAD = 4  # pixels, He et al. 2016, Section 4.2


class EpochBatches:
    """The batches of one epoch after the other, each epoch in an order of its own.

    Neither the order nor the augmentation has a state: a run that is resumed at an epoch sees the
    batches that an uninterrupted one would have seen. (`fit`'s own shuffling of arrays repeats
    the same permutation in every epoch once a seed is set.)

    Args:
        split: the training images.
        batch_size: the mathematical batch; the last batch of an epoch is the smaller rest.
        seed: of order and augmentation.
        augment: random crop from the image padded by 4, and horizontal flip.

    Attributes:
        steps: batches of an epoch.
    """

    def __init__(self, split: Split, batch_size: int, seed: int, augment: bool) -> None:
        self.steps = -(-len(split) // batch_size)
        with tf.device("CPU:0"):  # tf.data runs there, also where the network does not
            self._images = tf.constant(split.images)
            self._labels = tf.constant(split.labels)
        self._batch_size = batch_size
        self._seed = seed
        self._augment = augment

    def dataset(self, first_epoch: int = 0) -> tf.data.Dataset:
        """Elements `(images, labels, weights)`: float32 in [0, 1], int64, float32 `1 / batch size`.

        They do not end: one iterator serves all epochs of a `fit`, which would make two of them anew
        for every epoch of a dataset that ends. With the weights, the sum of the weighted losses is
        the mean over the whole batch, however it is dealt out to replicas.
        """
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
        return epochs.flat_map(self._epoch).prefetch(2).with_options(options)

    def _epoch(self, epoch: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.constant(self._seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(len(self._labels)), key)
        begins = tf.data.Dataset.range(0, len(self._labels), self._batch_size)
        return begins.map(lambda begin: self._batch(epoch, order[begin : begin + self._batch_size]))

    def _batch(self, epoch: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        images = tf.cast(tf.gather(self._images, index), tf.float32) / 255.0
        if self._augment:
            # The first image's number tells the batches of an epoch apart.
            key = tf.stack([self._seed * 1_000_003 + epoch, tf.cast(index[0], tf.int64)])
            images = crop_and_flip(images, key)
        size = tf.shape(index)[0]
        return images, tf.gather(self._labels, index), tf.fill([size], 1.0 / tf.cast(size, tf.float32))


def crop_and_flip(images: tf.Tensor, key: Any) -> tf.Tensor:
    """Each image padded by 4 zeros, cropped at random to its size, and flipped with probability 1/2.

    Args:
        images: `(N, height, width, channels)`.
        key: two int64 that determine all draws.
    """
    count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    draws = tf.random.stateless_uniform([3, count], key, maxval=2 * PAD + 1, dtype=tf.int32)
    flips = tf.random.stateless_uniform([count], key + 1, maxval=2, dtype=tf.int32)
    padded = tf.pad(images, [[0, 0], [PAD, PAD], [PAD, PAD], [0, 0]])
    rows = draws[0][:, None] + tf.range(height)
    columns = draws[1][:, None] + tf.range(width)
    columns = tf.where(flips[:, None] == 1, columns[:, ::-1], columns)
    cropped = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(cropped, columns, axis=2, batch_dims=1)
