"""Order and augmentation as pure functions of seed and epoch."""

import numpy as np
import tensorflow as tf

from tfsgd.data.dataset import Split
from tfsgd.training.batches import PAD, EpochBatches, crop_and_flip, draw_crops

Element = tuple[np.ndarray, np.ndarray, np.ndarray]


def split(count: int = 50, channels: int = 1) -> Split:
    """Images that tell their own number by their pixels."""
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return Split(np.broadcast_to(pixels, (count, 8, 8, channels)).copy(), np.arange(count) % 10)


def order(batches: EpochBatches, epoch: int) -> list[int]:
    """The images of one epoch, as their numbers."""
    return numbers(elements(batches, epoch))


def numbers(batches: list[Element]) -> list[int]:
    return [round(float(image[0, 0, 0]) * 255) for images, _, _ in batches for image in images]


def elements(batches: EpochBatches, epoch: int, epochs: int = 1, **part: int) -> list[Element]:
    dataset = batches.dataset(first_epoch=epoch, **part)
    return list(dataset.take(epochs * batches.steps).as_numpy_iterator())


def test_every_epoch_is_another_permutation_and_repeats_for_the_same_seed() -> None:
    first, again, other = (EpochBatches(split(), 16, seed, augment=False) for seed in (3, 3, 4))
    epochs = [order(first, epoch) for epoch in range(4)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert order(again, 2) == epochs[2]
    assert order(other, 2) != epochs[2]


def test_epochs_follow_each_other_as_if_each_were_the_first() -> None:
    batches = EpochBatches(split(), 16, 3, augment=False)
    assert numbers(elements(batches, 5, epochs=3)) == order(batches, 5) + order(batches, 6) + order(
        batches, 7
    )


def test_batches_are_whole_but_for_the_rest_and_weigh_as_a_mean() -> None:
    batches = EpochBatches(split(), 16, 0, augment=False)
    found = elements(batches, 0)
    assert [len(images) for images, _, _ in found] == [16, 16, 16, 2]
    for images, labels, weights in found:
        assert images.dtype == np.float32
        np.testing.assert_array_equal(np.round(images[:, 0, 0, 0] * 255) % 10, labels)
        np.testing.assert_allclose(weights, 1 / len(images))


def test_crops_are_shifted_windows_and_half_are_flipped() -> None:
    rng = np.random.default_rng(0)
    images = (1 + rng.random((400, 8, 8, 3))).astype(np.float32)
    cropped = crop_and_flip(tf.constant(images), draw_crops(400, tf.constant([1, 2], tf.int64))).numpy()
    assert cropped.shape == images.shape
    padded = np.pad(images, [(0, 0), (PAD, PAD), (PAD, PAD), (0, 0)])
    seen = set()
    for i in range(400):
        windows = {
            (y, x, flip): np.flip(w, 1) if flip else w
            for y in range(2 * PAD + 1)
            for x in range(2 * PAD + 1)
            for flip in (False, True)
            for w in [padded[i, y : y + 8, x : x + 8]]
        }
        matches = [key for key, window in windows.items() if np.array_equal(window, cropped[i])]
        assert matches
        seen.add(matches[0])
    rows, columns, flips = (np.array([s[j] for s in seen]) for j in range(3))
    assert set(rows) == set(columns) == set(range(2 * PAD + 1))
    assert 0.35 < flips.mean() < 0.65


def test_augmentation_differs_between_epochs_and_repeats_for_the_same_seed() -> None:
    rng = np.random.default_rng(0)
    images = Split(rng.integers(0, 256, (40, 8, 8, 3), np.uint8), np.zeros(40, np.int64))

    def epoch_images(seed: int, epoch: int) -> np.ndarray:
        batches = EpochBatches(images, 10, seed, augment=True)
        return np.concatenate([x for x, _, _ in elements(batches, epoch)])

    np.testing.assert_array_equal(epoch_images(1, 3), epoch_images(1, 3))
    assert not np.array_equal(np.sort(epoch_images(1, 3), 0), np.sort(epoch_images(1, 4), 0))
    plain = EpochBatches(images, 10, 1, augment=False)
    unaugmented = np.concatenate([x for x, _, _ in elements(plain, 3)])
    assert not np.array_equal(epoch_images(1, 3), unaugmented)


def test_replicas_get_the_parts_of_one_batch() -> None:
    """As many images as the others, or one less; and the weights are the whole batch's."""
    rng = np.random.default_rng(0)
    images = Split(rng.integers(0, 256, (28, 8, 8, 3), np.uint8), np.arange(28) % 10)
    batches = EpochBatches(images, 12, 2, augment=True)
    parts = [elements(batches, 1, replica=replica, replicas=3) for replica in range(3)]
    assert [[len(labels) for _, labels, _ in part] for part in parts] == [[4, 4, 1], [4, 4, 1], [4, 4, 2]]
    for whole, *shares in zip(elements(batches, 1), *parts, strict=True):
        for column, arrays in zip(whole, zip(*shares, strict=True), strict=True):
            np.testing.assert_array_equal(np.concatenate(arrays), column)


def test_a_training_does_not_wait_for_a_tuning_thread() -> None:
    """With tf.data's autotuning, an iterator may take a minute to end."""
    assert EpochBatches(split(), 16, 0, augment=False).dataset().options().autotune.enabled is False
