"""Batches for training: every epoch a permutation that is a pure function of (seed, epoch)."""

import copy
from typing import Any

import tensorflow as tf
from typing_extensions import Self

from tfsgd.data.dataset import Split
from tfsgd.plan.length import steps_per_epoch

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
        self.steps = steps_per_epoch(len(split), batch_size)
        with tf.device("CPU:0"):  # tf.data runs there, also where the network does not
            self._images = tf.constant(split.images)
            self._labels = tf.constant(split.labels)
        self._batch_size = batch_size
        self._seed = seed
        self._augment = augment

    def of_size(self, batch_size: int) -> Self:
        """The same images in batches of another size."""
        other = copy.copy(self)
        other.steps, other._batch_size = steps_per_epoch(len(self._labels), batch_size), batch_size
        return other

    def distributed(
        self, strategy: tf.distribute.Strategy, first_epoch: int = 0, first_batch: int = 0
    ) -> Any:
        """The dataset of every replica, for `fit`, beginning with a batch of an epoch.

        Replicas read their parts on the CPU. TensorFlow's iterator that fetches to devices costs a
        function call and a change of threads at each step, and ends as late as its tuning thread: up
        to a minute after the training, idle.
        """
        options = tf.distribute.InputOptions(
            experimental_fetch_to_device=False,
            experimental_replication_mode=tf.distribute.InputReplicationMode.PER_REPLICA,
        )
        return strategy.distribute_datasets_from_function(
            lambda context: self.dataset(
                first_epoch, context.input_pipeline_id, context.num_input_pipelines, first_batch
            ),
            options,
        )

    def dataset(
        self, first_epoch: int = 0, replica: int = 0, replicas: int = 1, first_batch: int = 0
    ) -> tf.data.Dataset:
        """Elements `(images, labels, weights)`: float32 in [0, 1], int64, float32 `1 / batch size`.

        They do not end: one iterator serves all epochs of a `fit`, which would make two of them anew
        for every epoch of a dataset that ends. With the weights, the sum of the weighted losses is
        the mean over the whole batch, however it is dealt out to replicas.

        Args:
            first_epoch: with which they begin.
            replica: whose part of each batch it is.
            replicas: among which the batches are dealt out.
            first_batch: of the first epoch, with which they begin.
        """
        options = tf.data.Options()
        options.autotune.enabled = False  # nothing to tune; its thread ends late, see `distributed`
        epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
        batches = epochs.flat_map(lambda epoch: self._epoch(epoch, replica, replicas))
        return batches.skip(first_batch).prefetch(2).with_options(options)

    def _epoch(self, epoch: tf.Tensor, replica: int, replicas: int) -> tf.data.Dataset:
        key = tf.stack([tf.constant(self._seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(len(self._labels)), key)
        begins = tf.data.Dataset.range(0, len(self._labels), self._batch_size)

        def part(begin: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return self._part(epoch, order[begin : begin + self._batch_size], replica, replicas)

        return begins.map(part)

    def _part(
        self, epoch: tf.Tensor, batch: tf.Tensor, replica: int, replicas: int
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        size = tf.shape(batch)[0]
        mine = slice(replica * size // replicas, (replica + 1) * size // replicas)
        index = batch[mine]
        images = tf.cast(tf.gather(self._images, index), tf.float32) / 255.0
        if self._augment:
            # The first image's number tells the batches of an epoch apart.
            key = tf.stack([self._seed * 1_000_003 + epoch, tf.cast(batch[0], tf.int64)])
            images = crop_and_flip(images, draw_crops(size, key)[:, mine])
        weights = tf.fill(tf.shape(index), 1.0 / tf.cast(size, tf.float32))
        return images, tf.gather(self._labels, index), weights


def draw_crops(count: Any, key: Any) -> tf.Tensor:
    """For so many images: first row and column of a crop, and 1 for a flip; `(3, count)`, int32.

    Args:
        count: of images.
        key: two int64 that determine all draws.
    """
    corners = tf.random.stateless_uniform([3, count], key, maxval=2 * PAD + 1, dtype=tf.int32)[:2]
    flips = tf.random.stateless_uniform([1, count], key + 1, maxval=2, dtype=tf.int32)
    return tf.concat([corners, flips], 0)


def crop_and_flip(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Each image padded by 4 zeros, cropped to its size, and flipped or not.

    Args:
        images: `(N, height, width, channels)`.
        draws: `(3, N)`, see `draw_crops`.
    """
    height, width = images.shape[1], images.shape[2]
    padded = tf.pad(images, [[0, 0], [PAD, PAD], [PAD, PAD], [0, 0]])
    rows = draws[0][:, None] + tf.range(height)
    columns = draws[1][:, None] + tf.range(width)
    columns = tf.where(draws[2][:, None] == 1, columns[:, ::-1], columns)
    cropped = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(cropped, columns, axis=2, batch_dims=1)
