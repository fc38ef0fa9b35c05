"""Our average and worst-case sharpness beside the code of Andriushchenko et al. 2023: the same weights, images and draws.

Not part of `make bench`, since it needs their code, which is not part of tfsgd, and takes a quarter of an hour of one core:

    git clone https://github.com/tml-epfl/sharpness-vs-generalization /tmp/theirs
    .venv-bench/bin/python -m bench.sharpness /tmp/theirs --out FILE [--examples 300] [--page docs/measures.md]

Their functions run as they are, on a processor in place of a GPU. For the average they are given our draws in place of
their own. The worst case starts from the network itself, as in their scripts. What is in FILE already is not computed again.
"""

import contextlib
import importlib
import io
import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import numpy as np
import typer

from bench.autoattack import RESULTS
from bench.tables import write_rows

NETWORKS = (
    ("fashion_mnist", "fmnist_stdcnn-seeds/trials/lr/b0064-m0.9-s0"),
    ("fashion_mnist", "fmnist_stdcnn-seeds/trials/lr/b1024-m0.0-s0"),
)
BATCH, DRAWS, STEPS, MANY_STEPS = 100, 20, 20, 100
# What is measured, with its radius: plain, and adaptive.
KINDS = {"average": (0.01, 0.1), "L2": (0.1, 0.5), "Linf": (0.001, 0.01)}
COLUMNS = (
    "network", "sharpness", "adaptive", "logits", "σ or ρ", "ours", "theirs", "theirs / ours", "ours, 100 steps",
    "theirs, 100 steps", "theirs / ours, 100", "weights at 0",
)  # fmt: skip
Row = dict[str, Any]


class Sides:
    """One network on both sides, and its images.

    Args:
        checkout: the folder of their code.
        dataset: whose training images.
        name: of the network below `RESULTS`.
        examples: the first so many training images.
    """

    def __init__(self, checkout: Path, dataset: str, name: str, examples: int) -> None:
        import torch

        from bench.peer import load_weights, stdcnn
        from tfsgd.data.dataset import to_unit
        from tfsgd.data.load import load_splits
        from tfsgd.networks.load_network import load_network

        data = os.environ.get("TFSGD_DATA")
        train = load_splits(dataset, (Path(data),) if data else ()).train.first(examples)
        self.images, self.labels = to_unit(train.images), train.labels
        self.model = load_network(RESULTS / name / "model.keras")
        self.network = stdcnn()
        load_weights(self.network, [np.asarray(w) for w in self.model.get_weights()])
        self.network.eval()
        pixels = torch.from_numpy(self.images.transpose(0, 3, 1, 2).copy())
        parts = zip(pixels.split(BATCH), torch.from_numpy(self.labels).split(BATCH), strict=True)
        self.batches = [(images, None, labels, None, None) for images, labels in parts]
        with mock.patch.object(sys, "path", [str(checkout), *sys.path]):
            self.code, self.models = (importlib.import_module(name) for name in ("sharpness", "models"))

    def ours(self, kind: str, radius: float, adaptive: bool, normalized: bool, steps: int) -> float:
        """By `tfsgd.curvature`."""
        import tfsgd

        if kind == "average":
            how: Row = {"sigma": radius, "draws": DRAWS}
        else:
            how = {"norm": kind, "rho": radius, "batch_size": BATCH, "steps": steps}
        measure = "average_sharpness" if kind == "average" else "worst_sharpness"
        more = {"adaptive": adaptive, "normalized": normalized}
        return tfsgd.curvature(self.model, self.images, self.labels, measure, **how, **more).value

    def theirs(self, kind: str, radius: float, adaptive: bool, normalized: bool, steps: int) -> float:
        """By their functions."""
        from torch.nn.functional import cross_entropy

        wrapped = self.models.LogitNormalizationWrapper(self.network, normalize_logits=normalized)
        how: Row = {"rho": radius, "adaptive": adaptive, "norm": "linf" if kind == "Linf" else "l2"}
        with self._on_a_processor():
            if kind == "average":
                found = self.code.eval_average_sharpness(
                    wrapped, self.batches, cross_entropy, n_iters=DRAWS, **how
                )
            else:
                found = self.code.eval_APGD_sharpness(
                    wrapped, self.batches, cross_entropy, 0.0, 0.0, n_iters=steps, rand_init=False, **how
                )
        return float(found[0])

    @contextlib.contextmanager
    def _on_a_processor(self) -> Iterator[None]:
        """Their tensors stay where they are, their normal draws are those of `WeightNoise`, and they print nothing."""
        import torch

        drawn = self._draws()
        with (
            mock.patch.object(torch.Tensor, "cuda", lambda tensor: tensor),
            mock.patch.object(torch, "randn_like", side_effect=lambda _: next(drawn).clone()),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            yield

    def _draws(self) -> Iterator[Any]:
        """For each of their batches the same directions, parameter by parameter."""
        from bench.peer import as_parameters

        count = sum(p.numel() for p in self.network.parameters())
        for draw in itertools.cycle(range(DRAWS)):
            flat = np.random.default_rng((0, draw)).standard_normal(count)
            yield from as_parameters(self.network, flat.astype(np.float32))


def rows(name: str, examples: int) -> list[Row]:
    """All that is compared on a network."""
    found = []
    for kind, (plain, share) in KINDS.items():
        for radius, adaptive, normalized in (
            (plain, False, False),
            (share, True, False),
            (share, True, True),
        ):
            how = {"kind": kind, "radius": radius, "adaptive": adaptive, "normalized": normalized}
            found.append({"network": name, "examples": examples, **how})
    return found


def cells(row: Row) -> tuple[str, ...]:
    """A row's text."""
    short, many = row["found"], row.get("found_by_many")
    numbers = [f"{value:.5g}" for value in short] + [f"{short[1] / short[0]:.4g}"]
    numbers += [f"{value:.5g}" for value in many] + [f"{many[1] / many[0]:.4g}"] if many else [""] * 3
    return (
        row["network"].replace("/trials", ""),
        "average" if row["kind"] == "average" else f"worst, {row['kind'].replace('inf', '∞')}",
        "yes" if row["adaptive"] else "no", "normalized" if row["normalized"] else "", f"{row['radius']:g}", *numbers,
        str(row["zeros"]),
    )  # fmt: skip


def compare(sides: Any, row: Row) -> Row:
    """What both sides find, ours first."""
    how = row["kind"], row["radius"], row["adaptive"], row["normalized"]
    found: Row = {"zeros": sum(int((w == 0).sum()) for w in map(np.asarray, sides.model.trainable_variables))}
    found["found"] = [side(*how, STEPS) for side in (sides.ours, sides.theirs)]
    if row["kind"] != "average" and row["network"] == NETWORKS[0][1]:  # the others in a fifth of the time
        found["found_by_many"] = [side(*how, MANY_STEPS) for side in (sides.ours, sides.theirs)]
    return found


def main(
    checkout: Annotated[Path, typer.Argument(help="Folder with their code.")],
    out: Annotated[Path, typer.Option(help="JSON file; what is in it already is kept.")],
    examples: Annotated[
        int, typer.Option(help="Training images, from the first on, a multiple of 100.")
    ] = 300,
    page: Annotated[Path | None, typer.Option(help="Also write the table into this page.")] = None,
) -> None:
    """Compares, and prints a row for each network and measure."""
    import torch

    from bench.machine import processor, versions
    from tfsgd.training.devices import configure_tensorflow

    configure_tensorflow(1)
    torch.set_num_threads(1)
    done: list[Row] = json.loads(out.read_text()) if out.exists() else []
    for dataset, name in NETWORKS:
        waiting = [row for row in rows(name, examples) if not any(row.items() <= old.items() for old in done)]
        sides = Sides(checkout, dataset, name, examples) if waiting else None
        for row in waiting:
            done.append(row | compare(sides, row))
            out.write_text(json.dumps(done, indent=1) + "\n")
            print(*cells(done[-1]), sep="  ", flush=True)
    if page:
        head = f"{examples:,} training images in batches of {BATCH}; {processor()}; {versions()}."
        write_rows(page, "sharpness", COLUMNS, [cells(row) for row in done], head)


if __name__ == "__main__":
    typer.run(main)
