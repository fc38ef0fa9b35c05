"""Our side's jobs: each prepares what a user's run has prepared, and returns the work to time."""

import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from bench.worker import Run, cpu_seconds
from tfsgd.data.dataset import Split, Splits, to_unit
from tfsgd.data.load import DATASETS, load_splits
from tfsgd.measures.attacks.fgsm import FGSM
from tfsgd.measures.attacks.pgd import PGD
from tfsgd.measures.eigen import top_eigenvalue
from tfsgd.measures.victim import Victim
from tfsgd.models.paper import MODELS, build_model
from tfsgd.networks.compiled_victim import CompiledVictim
from tfsgd.networks.hessian import HessianVectorProduct
from tfsgd.networks.losses import cross_entropy
from tfsgd.plan.config import Experiment
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.folder import LogFolder
from tfsgd.training import model as training
from tfsgd.training.batches import EpochBatches
from tfsgd.training.devices import configure_tensorflow, mirrored_strategy
from tfsgd.trials.trial import SweepContext, run_trial

CONFIGS = {"stdcnn": "fmnist_stdcnn", "m1": "fmnist_m1", "c1": "cifar10_c1", "resnet18": "cifar10_resnet18"}
LEARNING_RATE, MOMENTUM = 0.01, 0.9
# How a trace names what a kernel did: node:Kernel, oneDNN's with a prefix.
KERNEL = re.compile(r"[^:]:(?:_Mkl(?:Native)?)?(\w+)$")
TRAINED_EPOCHS = 4  # of the StdCNN that is attacked


def start(threads: int) -> None:
    """Before anything is computed."""
    configure_tensorflow(threads)
    keras.utils.set_random_seed(0)


def experiment(model: str, *overrides: str) -> Experiment:
    """The shipped config of a model, with overrides as on the command line."""
    return load_experiment(Path("configs") / f"{CONFIGS[model]}.yaml", overrides)


def write_inputs(folder: Path) -> Run:
    """The images, and the weights that both sides start from, StdCNN's also trained."""

    def run() -> dict[str, Any]:
        splits = load_splits("fashion_mnist")
        noise = np.random.default_rng(0).integers(0, 256, (10_000, 32, 32, 3), np.uint8)
        np.savez(
            folder / "images.npz",
            train=splits.train.images, train_labels=splits.train.labels,
            validation=splits.validation.images, validation_labels=splits.validation.labels,
            test=splits.test.images, test_labels=splits.test.labels,
            noise=noise, noise_labels=np.arange(len(noise), dtype=np.int64) % 10,
        )  # fmt: skip
        for model in CONFIGS:
            keras.utils.set_random_seed(0)
            _save_weights(build_model(model), folder / f"{model}.npz")
        trained, batches = _fit_parts("stdcnn", SGDSettings(64, MOMENTUM, LEARNING_RATE), splits.train)
        _fit(trained, batches, TRAINED_EPOCHS)
        _save_weights(trained, folder / "stdcnn-trained.npz")
        return {}

    return run


def logits(folder: Path, model: str, weights: str) -> Run:
    """Logits of some images, for the comparison of the two sides."""
    network = load_network(folder, model, weights)
    images = to_unit(load_split(folder, images_of(model), 256).images)

    def run() -> dict[str, Any]:
        return {"logits": np.asarray(network(images, training=False)).tolist()}

    return run


def matrix_product(folder: Path, size: int = 2048) -> Run:
    """GFLOP of float32 matrix products for each second of CPU time."""
    left, right = (tf.random.normal([size, size]) for _ in range(2))

    def run() -> dict[str, Any]:
        cpu = cpu_seconds()
        for _ in range(8):
            tf.linalg.matmul(left, right)
        return {"gflops": 8 * 2 * size**3 / (cpu_seconds() - cpu) / 1e9}

    return run


def train(folder: Path, model: str, batch_size: int, examples: int) -> Run:
    """One epoch through Keras's `fit` under MirroredStrategy, as in a trial."""
    split = load_split(folder, images_of(model), examples)
    network, batches = _fit_parts(model, SGDSettings(batch_size, MOMENTUM, LEARNING_RATE), split)
    network.set_weights(load_network(folder, model, model).get_weights())

    def run() -> dict[str, Any]:
        return {"loss": _fit(network, batches, 1)}

    return run


def bare_loop(folder: Path, model: str, batch_size: int, examples: int) -> Run:
    """The same epoch as one TensorFlow graph: no Keras optimizer, no metrics, no tf.data."""
    split = load_split(folder, images_of(model), examples)
    network = load_network(folder, model, model)
    images, labels = tf.constant(split.images), tf.constant(split.labels)
    variables = network.trainable_variables
    velocities = [tf.Variable(tf.zeros_like(v)) for v in variables]

    @tf.function
    def epoch(key: tf.Tensor) -> tf.Tensor:
        order = tf.random.experimental.stateless_shuffle(tf.range(examples), key)
        total = 0.0
        for begin in tf.range(0, examples, batch_size):
            index = order[begin : begin + batch_size]
            batch = tf.cast(tf.gather(images, index), tf.float32) / 255.0
            with tf.GradientTape() as tape:
                outputs = network(batch, training=True)
                loss = tf.reduce_mean(cross_entropy(tf.gather(labels, index), outputs))
            for v, m, g in zip(variables, velocities, tape.gradient(loss, variables), strict=True):
                m.assign(MOMENTUM * m - LEARNING_RATE * g)
                v.assign_add(m)
            total += loss * tf.cast(tf.size(index), tf.float32)
        return total / examples

    count = 0

    def run() -> dict[str, Any]:
        nonlocal count
        count += 1
        return {"loss": float(epoch(tf.constant([0, count])))}

    return run


def fgsm(folder: Path, examples: int, epsilon: float) -> Run:
    """FGSM on the trained StdCNN, and the accuracy that it leaves."""
    victim, split = _attacked(folder, examples)
    images, spec = to_unit(split.images), FGSM(epsilon=(epsilon,))

    def run() -> dict[str, Any]:
        return {"accuracy": float(spec.run(victim, images, split.labels, epsilon, 0).correct.mean())}

    return run


def pgd(folder: Path, examples: int, epsilon: float, steps: int, early_stop: bool) -> Run:
    """PGD on the trained StdCNN, and the accuracy that it leaves."""
    victim, split = _attacked(folder, examples)
    images = to_unit(split.images)
    spec = PGD(epsilon=(epsilon,), steps=steps, relative_step_size=1 / 30, early_stop=early_stop)

    def run() -> dict[str, Any]:
        return {"accuracy": float(spec.run(victim, images, split.labels, epsilon, 0).correct.mean())}

    return run


def hessian_product(folder: Path, examples: int) -> Run:
    """One Hessian-vector product of the trained StdCNN."""
    product = _hessian(folder, examples)
    vector = start_vector(product.dimension)

    def run() -> dict[str, Any]:
        return {"curvature": float(vector @ product(vector))}

    return run


def eigenvalue(folder: Path, examples: int, tolerance: float) -> Run:
    """The top eigenvalue of the trained StdCNN to a residual."""
    product = _hessian(folder, examples)

    def run() -> dict[str, Any]:
        found = top_eigenvalue(product, product.dimension, max_iterations=200, tolerance=tolerance)
        return {"eigenvalue": found.value, "residual": found.error, "iterations": found.products}

    return run


def trial(folder: Path, overrides: list[str], model: str = "stdcnn") -> Run:
    """Whole trials: training with validation, figures on all splits, attacks, curvature, export, record."""
    plan = experiment(model, *overrides)
    trials = grid(plan)
    splits = cut_splits(folder, plan)

    def run() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as logs:
            for point in trials:
                record = run_trial(point, SweepContext(plan, splits, LogFolder(Path(logs)), _Silence()))
        seconds = dict(record.seconds)
        for found in record.measurements:
            seconds[found.kind] = seconds.get(found.kind, 0.0) + (found.seconds or 0.0)
        assert record.top_eigenvalue is not None
        [accuracy] = [m.accuracy for m in record.measurements if m.label == "test"]
        return {
            "accuracy": accuracy,
            "seconds": seconds,
            "eigenvalue": record.top_eigenvalue.values["value"],
        }

    return run


def kernels(folder: Path, model: str, batch_size: int, examples: int) -> Run:
    """Seconds that the kernels of each kind take of the CPU in one epoch through `fit`, and the epoch."""
    epoch = train(folder, model, batch_size, examples)

    def run() -> dict[str, Any]:
        epoch()  # traced and allocated
        with tempfile.TemporaryDirectory() as logs:
            with tf.profiler.experimental.Profile(logs):
                cpu = cpu_seconds()
                epoch()
                cpu = cpu_seconds() - cpu
            (path,) = Path(logs).rglob("*.xplane.pb")
            trace = xplane_pb2.XSpace.FromString(path.read_bytes())
        seconds: Counter[str] = Counter()
        for plane in trace.planes:
            for event in (event for line in plane.lines for event in line.events):
                if kernel := KERNEL.search(plane.event_metadata[event.metadata_id].name):
                    seconds[kernel[1]] += event.duration_ps / 1e12
        return {"kernels": dict(seconds), "cpu": cpu}

    return run


JOBS = {
    "kernels": kernels,
    "write_inputs": write_inputs,
    "logits": logits,
    "matrix_product": matrix_product,
    "train": train,
    "bare_loop": bare_loop,
    "fgsm": fgsm,
    "pgd": pgd,
    "hessian_product": hessian_product,
    "eigenvalue": eigenvalue,
    "trial": trial,
}


class _Silence:
    def progress(self, trial: Trial, epochs_done: int, doing: str) -> None:
        pass

    def ended(self, trial: Trial, outcome: str) -> None:
        pass


def images_of(model: str) -> str:
    """Which images train a model: C1's are noise, as their content changes no speed."""
    return "noise" if MODELS[model].image_shape[2] == 3 else "train"


def load_split(folder: Path, name: str, examples: int) -> Split:
    """The first images that `write_inputs` has written."""
    with np.load(folder / "images.npz") as arrays:
        return Split(arrays[name], arrays[f"{name}_labels"]).first(examples)


def cut_splits(folder: Path, plan: Experiment) -> Splits:
    """The images of an experiment; noise, where training is on noise."""
    splits = {
        name: load_split(
            folder, name if images_of(plan.model) == "train" else images_of(plan.model), plan.examples(name)
        )
        for name in ("train", "validation", "test")
    }
    return Splits(**splits, sha256="0" * 64, source="")


def start_vector(dimension: int) -> NDArray[np.float64]:
    """The vector that `tfsgd.hessian.top_eigenvalue` starts from."""
    vector = np.random.default_rng(0).standard_normal(dimension)
    return np.asarray(vector / np.linalg.norm(vector))


def load_network(folder: Path, model: str, weights: str) -> Any:
    """A Keras model with saved weights."""
    network = build_model(model)
    with np.load(folder / f"{weights}.npz") as arrays:
        network.set_weights([arrays[name] for name in arrays.files])
    return network


def _save_weights(model: Any, path: Path) -> None:
    np.savez(path, *model.get_weights())


def _fit_parts(model: str, settings: SGDSettings, split: Split) -> tuple[Any, EpochBatches]:
    plan = experiment(model)
    batches = EpochBatches(split, settings.batch_size, seed=0, augment=DATASETS[plan.dataset].augment)
    compiled = training.compiled_model(plan, settings, mirrored_strategy(), len(split))
    return compiled, batches


def _fit(model: Any, batches: EpochBatches, epochs: int) -> float:
    data = batches.distributed(model.distribute_strategy)
    history = model.fit(data, steps_per_epoch=batches.steps, epochs=epochs, verbose=0, shuffle=False)
    return float(history.history["loss"][-1])


def _attacked(folder: Path, examples: int) -> tuple[Victim, Split]:
    victim = CompiledVictim.of(load_network(folder, "stdcnn", "stdcnn-trained"))
    return victim, load_split(folder, "test", examples)


def _hessian(folder: Path, examples: int) -> HessianVectorProduct:
    split = load_split(folder, "train", examples)
    network = load_network(folder, "stdcnn", "stdcnn-trained")
    return HessianVectorProduct(network, to_unit(split.images), split.labels)
