"""`robust` beside AutoAttack: published StdCNNs in PyTorch, the same images, L-infinity and L2.

Not part of `make bench`, since it takes more than an hour of one core:

    .venv-bench/bin/python -m bench.autoattack --out FILE [--examples 500] [--norm L2] [--page docs/measures.md]

AutoAttack is put together from torchattacks's attacks, as its standard version is in the paper; its cross-entropy and the targeted DLR are computed in float32 as PyTorch
has them. Of each network and norm epsilon is the median smallest epsilon that `minimal` finds on these images, so that about half
of them are left. What is in FILE already is not computed again, so the same command goes on after an interruption.
"""

import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench.tables import write_rows

RESULTS = Path("docs/results")
NETWORKS = (
    ("fashion_mnist", "fmnist_stdcnn-seeds/trials/lr/b0064-m0.9-s0"),
    ("mnist", "mnist_stdcnn/trials/lr/b0064-m0.0-s0"),
    ("fashion_mnist", "fmnist_stdcnn-seeds/trials/lr/b1024-m0.0-s0"),
    ("mnist", "mnist_stdcnn/trials/lr/b1024-m0.0-s0"),
    ("fashion_mnist", "fmnist_stdcnn-seeds/trials/lr-bs/b0256-m0.5-s0"),
    ("fashion_mnist", "fmnist_stdcnn-seeds/trials/benchmark/b0064-m0.9-s0"),
)
BOUND = {"Linf": 0.5, "L2": 10.0}
SURE = 17.0  # the margin of the logits from which on float32's softmax gives the true class 1
MEMBERS: dict[str, tuple[str, dict[str, Any]]] = {  # each by itself, with the steps of `version: standard`
    "pgd": ("pgd", {}),
    "apgd": ("apgd", {}),
    "apgd_targeted": ("apgd", {"loss": "dlr", "target": "all"}),
    "minimal": ("minimal", {}),
    "square": ("square", {}),
    "minimal_targeted": ("minimal", {"target": "all"}),
}
COMPARED = {"light", "standard", "autoattack"}  # of every row first, then each member of ours by itself
COLUMNS = (
    "network", "norm", "ε", "images", "PGD-40", "APGD", "APGD-T", "FMN", "Square", "FMN-T", "light", "standard", "AutoAttack",
    "standard less AutoAttack", "light less AutoAttack", "only standard breaks (sure)", "only AutoAttack breaks",
)  # fmt: skip
Row = dict[str, Any]


@dataclass
class Pair:
    """A network on both sides, and its images."""

    victim: Any
    theirs: Any
    images: Any
    labels: Any

    @property
    def pixels(self) -> Any:
        """The images as PyTorch has them."""
        import torch

        return torch.from_numpy(self.images.transpose(0, 3, 1, 2).copy())

    def left(self, kind: str, norm: str, epsilon: float, **settings: Any) -> Any:
        """The outcome of an attack of ours."""
        from tfsgd.measures.attack import run_checked
        from tfsgd.plan.specs import attack

        spec = attack(kind, {"epsilon": [epsilon], "norm": norm, **settings}, None)
        return run_checked(spec, self.victim, self.images, self.labels, epsilon, 0)


def pair(dataset: str, name: str, examples: int) -> Pair:
    """Loads a network into both sides, which must compute the same logits."""
    import torch

    from bench.peer import load_weights, stdcnn
    from tfsgd.data.dataset import to_unit
    from tfsgd.data.load import load_splits
    from tfsgd.networks.compiled_victim import CompiledVictim
    from tfsgd.networks.load_network import load_network

    data = os.environ.get("TFSGD_DATA")
    test = load_splits(dataset, (Path(data),) if data else ()).test.first(examples)
    model = load_network(RESULTS / name / "model.keras")
    theirs = stdcnn()
    load_weights(theirs, [np.asarray(w) for w in model.get_weights()])
    both = Pair(CompiledVictim.of(model), theirs.eval(), to_unit(test.images), test.labels)
    with torch.no_grad():
        logits = theirs(both.pixels).numpy()
    ours = both.victim.logits(both.images)
    difference = float(np.abs(logits - ours).max() / np.abs(logits).max())
    assert difference < 1e-4, f"{name}: the two sides do not compute the same: {difference:.1e}"
    return both


def parts(both: Pair, row: Row, members: bool) -> Iterator[Row]:
    """What a row lacks, one part after the other; `members`: each of ours by itself, too."""
    norm = row["norm"]
    if "epsilon" not in row:
        found = both.left("minimal", norm, BOUND[norm]).values["median"]
        logits = both.victim.logits(both.images)
        true = np.take_along_axis(logits, both.labels[:, None], 1)[:, 0]
        np.put_along_axis(logits, both.labels[:, None], -np.inf, 1)
        yield {"epsilon": float(f"{found:.2g}"), "sure": bits(true - logits.max(1) > SURE)}
    for version in ("light", "standard"):
        if version not in row:
            began = time.process_time()
            outcome = both.left("robust", norm, row["epsilon"], version=version)
            yield {
                version: bits(outcome.correct), f"{version}_seconds": time.process_time() - began,
                f"{version}_members": outcome.values,
            }  # fmt: skip
    if "autoattack" not in row:
        yield autoattack(both, norm, row["epsilon"])
    for name, (kind, settings) in MEMBERS.items() if members else ():
        if name not in row:
            yield {name: bits(both.left(kind, norm, row["epsilon"], **settings).correct)}


def autoattack(both: Pair, norm: str, epsilon: float) -> Row:
    """The other side."""
    import torch

    began = time.process_time()
    attacker = standard(both.theirs, norm, epsilon)
    moved = attacker(both.pixels, torch.from_numpy(both.labels)).detach()
    with torch.no_grad():
        correct = both.theirs(moved).argmax(1).numpy() == both.labels
    change = (moved - both.pixels).flatten(1).numpy()
    longest = np.abs(change).max() if norm == "Linf" else np.linalg.norm(change, axis=1).max()
    assert longest < epsilon * (1 + 1e-4), f"AutoAttack moved an image by {longest}, beyond {epsilon}"
    return {"autoattack": bits(correct), "autoattack_seconds": time.process_time() - began}


def standard(network: Any, norm: str, epsilon: float, steps: int = 100, queries: int = 5_000) -> Any:
    """AutoAttack's standard version of torchattacks's parts: its own class has them take 10 steps, where the paper has 100."""
    import torchattacks

    how: dict[str, Any] = {"norm": norm, "eps": epsilon, "seed": 0, "n_restarts": 1}
    parts = (
        torchattacks.APGD(network, steps=steps, loss="ce", **how),
        torchattacks.APGDT(network, steps=steps, n_classes=10, **how),
        torchattacks.FAB(network, steps=steps, multi_targeted=True, n_classes=10, **how),
        torchattacks.Square(network, n_queries=queries, **how),
    )
    return torchattacks.MultiAttack([*parts])


def bits(mask: Any) -> str:
    """A mask as a line of 0 and 1, an image each."""
    return "".join("01"[int(one)] for one in mask)


def cells(row: Row) -> tuple[str, ...]:
    """A row's text: shares in per cent, differences in points, and on how many images the two differ."""
    kinds = (*MEMBERS, "light", "standard", "autoattack", "sure")
    left = {key: np.array([*row[key]]) == "1" for key in kinds if key in row}
    share = {key: 100 * float(mask.mean()) for key, mask in left.items()}
    ours = left["autoattack"] & ~left["standard"]
    return (
        row["network"].replace("/trials", ""), row["norm"].replace("inf", "∞"), f"{row['epsilon']:g}", str(len(ours)),
        *(f"{share[key]:.1f}" if key in share else "" for key in (*MEMBERS, "light", "standard", "autoattack")),
        *(f"{share[key] - share['autoattack']:+.1f}" for key in ("standard", "light")),
        f"{ours.sum()} ({(ours & left['sure']).sum()})", str((left["standard"] & ~left["autoattack"]).sum()),
    )  # fmt: skip


def main(
    out: Annotated[Path, typer.Option(help="JSON file; what is in it already is kept.")],
    examples: Annotated[int, typer.Option(help="Test images, from the first on.")] = 500,
    norm: Annotated[str, typer.Option(help="Linf, L2, or both with a comma between.")] = "Linf,L2",
    page: Annotated[Path | None, typer.Option(help="Also write the table into this page.")] = None,
) -> None:
    """Compares `robust` with AutoAttack, and prints a row for each network and norm."""
    import torch

    from bench.machine import processor, versions
    from tfsgd.training.devices import configure_tensorflow

    configure_tensorflow(1)
    torch.set_num_threads(1)
    done: list[Row] = json.loads(out.read_text()) if out.exists() else []
    for members, (dataset, name), one in itertools.product((False, True), NETWORKS, norm.split(",")):
        row = next((r for r in done if (r["network"], r["norm"]) == (name, one)), None)
        if row is None:
            done.append(row := {"network": name, "norm": one, "images": examples})
        whole = row.keys() >= (COMPARED | MEMBERS.keys() if members else COMPARED)
        for found in () if whole else parts(pair(dataset, name, row["images"]), row, members):
            row |= found
            out.write_text(json.dumps(done, indent=1) + "\n")
        print(*cells(row), sep="  ", flush=True)
    if page:
        rows = [cells(row) for row in done if row.keys() >= COMPARED]
        write_rows(page, "autoattack", COLUMNS, rows, f"{processor()}; {versions()}.")


if __name__ == "__main__":
    typer.run(main)
