"""What robustness costs a sweep: CPU seconds of its attacks beside those of a training, on published StdCNNs.

Not part of `make bench`, since it measures stored networks; some ten minutes of one core:

    python -m bench.robustness [--rounds 2] [--page docs/performance.md]

Trainings and attacks take turns in one process of one thread. A training is Keras's `fit` on 12,800 images, scaled to 100
epochs of 55,000. What is traced and compiled is so before anything is timed.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from bench.tables import seconds, write_rows

NETWORKS = Path("docs/results/fmnist_stdcnn-seeds/trials")
TRIALS = {64: "lr/b0064-m0.0-s0", 1024: "lr/b1024-m0.0-s0", 256: "lr-bs/b0256-m0.0-s0"}
JOBS: dict[str, tuple[str, dict[str, Any]]] = {
    "minimal": ("minimal", {"epsilon": [0.5]}),
    "minimal, L2": ("minimal", {"epsilon": [5.0], "norm": "L2"}),
    "robust at 0.05": ("robust", {"epsilon": [0.05]}),
    "robust at 0.1": ("robust", {"epsilon": [0.1]}),
    "PGD-40 at 0.05": ("pgd", {"epsilon": [0.05]}),
}
SWEEP = ("minimal", "minimal, L2", "robust at 0.05", "robust at 0.1")
IMAGES, TRAINED_ON, WHOLE = 1_000, 12_800, 100 * 55_000


def cpu(job: Callable[[], Any]) -> float:
    """Seconds of this process."""
    began = time.process_time()
    job()
    return time.process_time() - began


def jobs_of(batch_size: int, splits: Any) -> dict[str, Callable[[], Any]]:
    """The training, and the attacks on a stored network, each run once on a few images."""
    import keras

    from tfsgd.data.dataset import to_unit
    from tfsgd.models.paper import build_model
    from tfsgd.networks.compiled_victim import CompiledVictim
    from tfsgd.networks.load_network import load_network
    from tfsgd.plan.specs import attack

    test, train = splits.test.first(IMAGES), splits.train.first(TRAINED_ON)
    images, labels = to_unit(test.images), test.labels
    model = build_model("stdcnn")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss)
    inputs, targets = to_unit(train.images), train.labels
    model.fit(inputs[: 2 * batch_size], targets[: 2 * batch_size], batch_size=batch_size, verbose=0)
    victim = CompiledVictim.of(load_network(NETWORKS / TRIALS[batch_size] / "model.keras"))

    def attacking(kind: str, block: dict[str, Any]) -> Callable[[], Any]:
        spec = attack(kind, block, None)
        spec.run(victim, images[:40], labels[:40], spec.epsilon[0], 0)
        return lambda: spec.run(victim, images, labels, spec.epsilon[0], 0)

    found = {name: attacking(*job) for name, job in JOBS.items()}
    return {
        "training": lambda: model.fit(inputs, targets, batch_size=batch_size, verbose=0)
    } | found  # fmt: skip


def cells(name: str, found: dict[str, float]) -> tuple[str, ...]:
    """A row's text."""
    training = found["training"] * WHOLE / TRAINED_ON
    share = 100 * sum(found[job] for job in SWEEP) / training
    return name, *(seconds(found[job]) for job in JOBS), seconds(training), f"{share:.1f}"


def main(
    rounds: Annotated[int, typer.Option(help="Turns of each job; their median counts.")] = 1,
    page: Annotated[Path | None, typer.Option(help="Also write the table into this page.")] = None,
) -> None:
    """Measures, and prints a row a network."""
    import keras

    from bench.machine import other_load, processor, versions
    from tfsgd.data.load import load_splits
    from tfsgd.training.devices import configure_tensorflow

    head = f"{processor()}; {versions()}. {other_load()}"
    configure_tensorflow(1)
    keras.utils.set_random_seed(0)
    data = os.environ.get("TFSGD_DATA")
    splits = load_splits("fashion_mnist", (Path(data),) if data else ())
    jobs = {name: jobs_of(size, splits) for size, name in TRIALS.items()}
    times: dict[str, dict[str, list[float]]] = {name: {job: [] for job in of} for name, of in jobs.items()}
    for _ in range(rounds):
        for name, of in jobs.items():
            for job, run in of.items():
                times[name][job].append(cpu(run))
                print(name, job, seconds(times[name][job][-1]), flush=True)
    rows = [cells(name, {job: median(each) for job, each in of.items()}) for name, of in times.items()]
    for row in rows:
        print(*row, sep="  ")
    if page:
        columns = ("network", *JOBS, "training, 100 epochs", "the first four, % of it")
        write_rows(page, "robustness", columns, rows, head)


if __name__ == "__main__":
    typer.run(main)
