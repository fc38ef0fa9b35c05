"""Trains on so many logical CPU devices and saves the weights: REPLICAS FILE."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

import tfsgd  # noqa: F401 - sets TensorFlow's environment

import keras  # isort: skip
import tensorflow as tf  # isort: skip

replicas, file = int(sys.argv[1]), Path(sys.argv[2])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)

from tfsgd.data.dataset import Split, Splits  # noqa: E402
from tfsgd.models.paper import MODELS, Architecture  # noqa: E402
from tfsgd.plan.config import Experiment  # noqa: E402
from tfsgd.plan.regimes import SGDSettings  # noqa: E402
from tfsgd.training import model as train_module  # noqa: E402
from tfsgd.training.devices import configure_tensorflow, mirrored_strategy  # noqa: E402
from tfsgd.training.seeds import seeded  # noqa: E402
from tfsgd.training.train import train  # noqa: E402

configure_tensorflow(threads=1)


def plain(image: Any, layers: Any, classes: int) -> Any:
    x = layers.Conv2D(4, 5, strides=2, activation="tanh")(image)
    return layers.Dense(classes)(layers.Flatten()(x))


def norm(image: Any, layers: Any, classes: int) -> Any:
    x = layers.Conv2D(4, 5, strides=2)(image)
    x = layers.BatchNormalization(momentum=0.9, synchronized=True)(x)
    return layers.Dense(classes)(layers.Flatten()(layers.Activation("tanh")(x)))


rng = np.random.default_rng(0)
labels = rng.integers(0, 10, 97)
images = (rng.random((97, 28, 28, 1)) * 40 + 20 * labels[:, None, None, None]).astype(np.uint8)
part = Split(images, labels)
found = {}
rules: dict[str, Any] = {
    "weight_decay": 0.1,
    "nesterov": True,
    "label_smoothing": 0.2,
    "schedule": "cosine",
    "warmup_epochs": 1,
}
for name, body in (("plain", plain), ("norm", norm), ("parts", plain), ("rules", plain)):
    MODELS[name] = Architecture(body, (28, 28, 1))
    train_module.PART_SIZE = 10 if name == "parts" else 1_024
    experiment = Experiment.model_validate(
        {"name": "x", "dataset": "fashion_mnist", "model": name, "epochs": 3, "batch_sizes": [64], "seeds": [0],
         "regimes": {"LR": {"learning_rate": 0.05, "momentum": [0.9]}}, "attacks": {}, "train_examples": 97,
         "hessian": {"examples": 20, "max_iterations": 2}}
    )  # fmt: skip
    for epochs, key in ((3, name), (1, "start"))[: 1 + (name == "plain")]:
        settings = SGDSettings(64, 0.9, 0.05 if key == name else 1e-12, **(rules if name == "rules" else {}))
        trained = train(
            settings,
            0,
            experiment.model_copy(update={"epochs": epochs}),
            Splits(part, part, part, "", ""),
            file.parent,
        )
        found[key] = np.concatenate([w.ravel() for w in trained.network.get_weights()])
        found[key + "_loss"] = np.array(trained.history["loss"])
strategy = mirrored_strategy()
with seeded(0), strategy.scope():
    dropout = keras.layers.Dropout(0.5)
    masks = [
        strategy.run(tf.function(lambda: dropout(tf.ones((1, 64)), training=True))) for _step in range(2)
    ]
# (steps, replicas, 1, 64)
found["masks"] = np.array([[m.numpy() for m in strategy.experimental_local_results(step)] for step in masks])
found["replicas"] = np.array(strategy.num_replicas_in_sync)
np.savez(file, allow_pickle=False, **found)
