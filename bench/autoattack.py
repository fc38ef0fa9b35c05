"""`robust` beside AutoAttack: published StdCNNs in PyTorch, the same images, L-infinity and L2.

Not part of `make bench`, since it takes the better part of an hour:

    .venv-bench/bin/python -m bench.autoattack [--examples 500] [--out FILE]

AutoAttack is torchattacks's, in its standard version; its cross-entropy and the targeted DLR are computed in float32 as PyTorch
has them. Of each network and norm epsilon is the median smallest epsilon that `minimal` finds on these images, so that about half
of them are left.
"""

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

RESULTS = Path("docs/results")
NETWORKS = (
    ("fashion_mnist", "fmnist_stdcnn-seeds/trials/lr/b0064-m0.9-s0"),
    ("fashion_mnist", "fmnist_stdcnn-seeds/trials/lr/b1024-m0.0-s0"),
    ("fashion_mnist", "fmnist_stdcnn-seeds/trials/lr-bs/b0256-m0.5-s0"),
    ("fashion_mnist", "fmnist_stdcnn-seeds/trials/benchmark/b0064-m0.9-s0"),
    ("mnist", "mnist_stdcnn/trials/lr/b0064-m0.0-s0"),
    ("mnist", "mnist_stdcnn/trials/lr/b1024-m0.0-s0"),
)
BOUND = {"Linf": 0.5, "L2": 10.0}
ROW = "{:<52} {:<5} {:>9} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9}"


def compared(dataset: str, name: str, norm: str, examples: int) -> dict[str, Any]:
    """Accuracies of both sides on one network in one norm."""
    import torch
    import torchattacks

    from bench.peer import load_weights, stdcnn
    from tfsgd.data.dataset import to_unit
    from tfsgd.data.load import load_splits
    from tfsgd.measures.attack import run_checked
    from tfsgd.networks.compiled_victim import CompiledVictim
    from tfsgd.networks.load_network import load_network
    from tfsgd.plan.specs import attack

    data = os.environ.get("TFSGD_DATA")
    test = load_splits(dataset, (Path(data),) if data else ()).test.first(examples)
    images, labels = to_unit(test.images), test.labels
    model = load_network(RESULTS / name / "model.keras")
    victim = CompiledVictim.of(model)
    theirs = stdcnn()
    load_weights(theirs, [np.asarray(w) for w in model.get_weights()])
    theirs.eval()
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        logits = theirs(pixels).numpy()
    difference = float(np.abs(logits - victim.logits(images)).max() / np.abs(logits).max())
    assert difference < 1e-4, f"{name}: the two sides do not compute the same: {difference:.1e}"

    def ours(kind: str, epsilon: float, **settings: Any) -> Any:
        spec = attack(kind, {"epsilon": [epsilon], "norm": norm, **settings}, None)
        return run_checked(spec, victim, images, labels, epsilon, 0)

    found = ours("minimal", BOUND[norm]).values["median"]
    epsilon = float(f"{found:.2g}")
    said: dict[str, Any] = {"network": name, "norm": norm, "epsilon": epsilon, "logits": difference}
    said |= {kind: float(ours(kind, epsilon).correct.mean()) for kind in ("pgd", "apgd")}
    for version in ("light", "standard"):
        began = time.process_time()
        outcome = ours("robust", epsilon, version=version)
        said[version] = float(outcome.correct.mean())
        said[f"{version}_seconds"] = time.process_time() - began
        said[f"{version}_members"] = outcome.values
    began = time.process_time()
    attacker = torchattacks.AutoAttack(
        theirs, norm=norm, eps=epsilon, version="standard", n_classes=10, seed=0
    )
    moved = attacker(pixels, torch.from_numpy(labels))
    with torch.no_grad():
        said["autoattack"] = float((theirs(moved).argmax(1).numpy() == labels).mean())
    said["autoattack_seconds"] = time.process_time() - began
    return said


def main(
    examples: Annotated[int, typer.Option(help="Test images, from the first on.")] = 500,
    out: Annotated[Path | None, typer.Option(help="JSON file; what is in it already is kept.")] = None,
) -> None:
    """Compares `robust` with AutoAttack, and prints a row for each network and norm."""
    done = json.loads(out.read_text()) if out and out.exists() else []
    print(ROW.format("network", "norm", "epsilon", "pgd", "apgd", "light", "full", "theirs", "seconds"))
    for dataset, name in NETWORKS:
        for norm in ("Linf", "L2"):
            row = next((r for r in done if (r["network"], r["norm"]) == (name, norm)), None)
            if row is None:
                row = compared(dataset, name, norm, examples)
                done.append(row)
                if out:
                    out.write_text(json.dumps(done, indent=1) + "\n")
            shares = [f"{row[key]:.3f}" for key in ("pgd", "apgd", "light", "standard", "autoattack")]
            print(ROW.format(name, norm, row["epsilon"], *shares, f"{row['light_seconds']:.1f}"), flush=True)


if __name__ == "__main__":
    typer.run(main)
