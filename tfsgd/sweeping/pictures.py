"""What the attacks look like: clean and perturbed images side by side, with what the network says of them."""

import io
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tfsgd.measures.attacks import Attacker, Images, Labels
from tfsgd.records.record import AttackResult

COLUMNS = 8


@dataclass(frozen=True)
class Row:
    """Images in a row, and the class that each is taken for (`None`: no network was asked)."""

    title: str
    images: Images  # (COLUMNS, height, width, channels) in [0, 1]
    predicted: NDArray[np.int64] | None


def attack_rows(
    attacker: Attacker, planned: list[AttackResult], images: Images, labels: Labels, seed: int
) -> list[Row]:
    """The first images: clean, then for each kind of attack at its middle epsilon attacked, and 10 x the change."""
    images, labels = images[:COLUMNS], labels[:COLUMNS]
    rows = [Row("clean", images, attacker.predict(images))]
    for name in dict.fromkeys(attack.name for attack in planned):
        of_kind = sorted((a for a in planned if a.name == name), key=lambda a: a.epsilon)
        attack = of_kind[len(of_kind) // 2]
        moved = attacker.run(attack, images, labels, seed).images
        rows.append(Row(f"{name} {attack.epsilon:g}", moved, attacker.predict(moved)))
        change = np.clip(0.5 + 10 * (moved - images), 0, 1)
        rows.append(Row("change x 10", change, None))
    return rows


def as_png(rows: list[Row], labels: Labels) -> bytes:
    """The rows as a PNG; a predicted class is green where it is the true one, else red."""
    figure = Figure((1.1 * COLUMNS, 1.35 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), COLUMNS, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for i, axis in enumerate(line):
            axis.set_xticks([])
            axis.set_yticks([])
            if i >= len(row.images):
                axis.set_axis_off()
                continue
            axis.imshow(row.images[i].squeeze(), cmap="gray", vmin=0, vmax=1)
            if row.predicted is not None:
                right = row.predicted[i] == labels[i]
                axis.set_title(
                    str(row.predicted[i]), fontsize=9, color="#1a7f37" if right else "#c62828", pad=2
                )
        line[0].set_ylabel(row.title, fontsize=9)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    return file.getvalue()
