"""What a step of each training rule costs beside one of plain SGD: StdCNN on Fashion-MNIST, batch size 128, one thread.

Not part of `make bench`, since it has no peer; some five minutes of one core:

    python -m bench.rules [--rounds 5] [--page docs/performance.md]

Every rule trains a network of its own through Keras's `fit`, as a trial does, 100 steps a turn. The rules take turns; a row
is the median over turns of the quotient with plain SGD's CPU seconds of the same turn. What is traced and compiled is so
before anything is timed. StdCNN has no BatchNorm, which ghost batches are about: theirs has one after each convolution,
and so has the plain one beside it.
"""

import os
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from bench.tables import seconds, write_rows

BATCH_SIZE, STEPS, GHOST = 128, 100, 32
PLAIN, NORMALIZED = "plain SGD", "plain SGD, with BatchNorm"
RULES: dict[str, dict[str, Any]] = {
    PLAIN: {"momentum": [0.0]},
    "momentum 0.9": {"momentum": [0.9]},
    "Nesterov": {"momentum": [0.9], "nesterov": True},
    "weight decay": {"momentum": [0.9], "weight_decay": 5e-4},
    "label smoothing": {"momentum": [0.9], "label_smoothing": 0.1},
    "squared error (mse)": {"momentum": [0.9], "loss": "mse"},
    "cosine": {"momentum": [0.9], "schedule": "cosine"},
    "SAM": {"momentum": [0.9], "sam": 0.05},
    "ASAM": {"momentum": [0.9], "sam": 0.5, "adaptive": True},
    "AdamW": {"optimizer": {"name": "adamw", "weight_decay": 0.01}},
    "Lion": {"optimizer": "lion"},
    "Muon": {"optimizer": {"name": "muon", "weight_decay": 0.01}},
    "bfloat16": {"momentum": [0.9], "precision": "bfloat16"},
    NORMALIZED: {"momentum": [0.0]},
    f"ghost batches of {GHOST}": {"momentum": [0.0], "ghost_batch": GHOST},
}
COLUMNS = ("rule", "CPU s, 100 steps", "times plain SGD", "least .. greatest", "beside")


def beside(rule: str) -> str:
    """The plain SGD that a rule is compared with."""
    return NORMALIZED if "ghost" in rule else PLAIN


def rows_of(times: dict[str, list[float]]) -> list[tuple[str, ...]]:
    """The table, from the seconds of each rule in each turn."""
    rows: list[tuple[str, ...]] = []
    for rule, found in times.items():
        ratios = [one / plain for one, plain in zip(found, times[beside(rule)], strict=True)]
        spread = f"{min(ratios):.2f} .. {max(ratios):.2f}"
        rows.append((rule, seconds(median(found)), f"{median(ratios):.2f}", spread, beside(rule)))
    return rows


def normalized(image: Any, layers: Any, classes: int) -> Any:
    """StdCNN with BatchNorm after each convolution."""
    for filters in (10, 20):
        image = layers.Conv2D(filters, 3)(image)
        image = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 3)(image)))
        image = layers.MaxPooling2D()(image)
    return layers.Dense(classes)(layers.Flatten()(image))


def job_of(rule: str, splits: Any) -> Callable[[], Any]:
    """So many steps by a rule, which were made once before."""
    from tfsgd.models.paper import MODELS, Architecture
    from tfsgd.plan.reading import load_experiment
    from tfsgd.plan.regimes import Regime
    from tfsgd.training.batches import EpochBatches
    from tfsgd.training.devices import mirrored_strategy
    from tfsgd.training.model import compiled_model

    MODELS["normalized"] = Architecture(normalized, (28, 28, 1))
    model = "normalized" if "BatchNorm" in rule or "ghost" in rule else "stdcnn"
    regime = Regime.model_validate({"learning_rate": 0.001, **RULES[rule]})
    [settings] = regime.settings(BATCH_SIZE)
    images = splits.train.first(BATCH_SIZE * STEPS)
    strategy = mirrored_strategy()
    plan = load_experiment(
        Path("configs/fmnist_stdcnn.yaml"), (f"model={model}", f"train_examples={len(images)}")
    )
    network = compiled_model(plan, settings, strategy, len(images))
    batches = EpochBatches(images, BATCH_SIZE, seed=0, augment=False).distributed(strategy)

    def run() -> None:
        network.fit(batches, steps_per_epoch=STEPS, verbose=0, shuffle=False)

    run()
    return run


def measured(jobs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each, in turns."""
    times: dict[str, list[float]] = {rule: [] for rule in jobs}
    for _ in range(rounds):
        for rule, run in jobs.items():
            began = time.process_time()
            run()
            times[rule].append(time.process_time() - began)
    return times


def main(
    rounds: Annotated[int, typer.Option(help="Turns of each rule.")] = 5,
    page: Annotated[Path | None, typer.Option(help="Also write the table into this page.")] = None,
) -> None:
    """Measures, and prints a row a rule."""
    import keras

    from bench.machine import other_load, processor
    from tfsgd.data.load import load_splits
    from tfsgd.training.devices import configure_tensorflow

    head = f"{processor()}; tensorflow {version('tensorflow')}, keras {version('keras')}. {other_load()}"
    configure_tensorflow(1)
    keras.utils.set_random_seed(0)
    data = os.environ.get("TFSGD_DATA")
    splits = load_splits("fashion_mnist", (Path(data),) if data else ())
    rows: Sequence[tuple[str, ...]] = rows_of(
        measured({rule: job_of(rule, splits) for rule in RULES}, rounds)
    )
    for row in rows:
        print(*row, sep="  ", flush=True)
    if page:
        write_rows(page, "rules", COLUMNS, rows, head)


if __name__ == "__main__":
    typer.run(main)
