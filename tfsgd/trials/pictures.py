"""What the attacks look like: clean and perturbed images side by side, with what the network says of them."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from tfsgd.measures.attack import run_checked
from tfsgd.measures.attack_path import AttackPath
from tfsgd.measures.landscape_slice import Slice
from tfsgd.measures.norms import NAMES
from tfsgd.measures.spec import Measurement
from tfsgd.measures.victim import Images, Labels
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.plan.config import Experiment

COLUMNS = 8
# Inches
CELL = (1.2, 1.5)  # of an image with what is said of it
SIDE, GAP = 1.1, 0.06  # of the image, and between things
TOP = 0.5  # of the title
PANEL = 3.1  # of curves, without the legend
PLAIN = matplotlib.rc_context(matplotlib.rcParamsDefault)  # nothing of a user's matplotlibrc


@dataclass(frozen=True)
class PictureRow:
    """Images in a row, and the class that each is taken for (`None`: no network was asked)."""

    title: str
    images: Images  # (COLUMNS, height, width, channels) in [0, 1]
    predicted: NDArray[np.int64] | None


def attacks_picture(subject: MeasuredNetwork, experiment: Experiment, seed: int) -> bytes | None:
    """The first test images: clean, then under each attack at its middle epsilon, and 10 x the change; a PNG.

    `None`: there are no attacks, or images of so many channels have no colours.
    """
    attacks = {label: spec for label, spec in experiment.attacks.items() if not spec.is_recorded}
    if not attacks or experiment.data.image_shape[2] not in (1, 3, 4):
        return None
    images, labels = subject.images("test", COLUMNS)
    victim = subject.victim
    rows = [PictureRow("clean", images, victim.predict(images))]
    for label, spec in attacks.items():
        epsilon = sorted(spec.epsilon)[len(spec.epsilon) // 2]
        moved = run_checked(spec, victim, images, labels, epsilon, seed).images
        rows.append(
            PictureRow(
                f"{label}\n{'' if spec.norm == 'Linf' else spec.norm + ' '}ε = {epsilon:g}",
                moved,
                victim.predict(moved),
            )
        )
        rows.append(PictureRow("change\n× 10", np.clip(0.5 + 10 * (moved - images), 0, 1), None))
    names = experiment.data.class_names or tuple(map(str, range(experiment.data.classes)))
    return _rows_picture(rows, labels, names)


@PLAIN
def _rows_picture(rows: list[PictureRow], labels: Labels, names: Sequence[str]) -> bytes:
    """The rows as a PNG; a predicted class is green where it is the true one, else red with the true one below.

    Args:
        rows: images that belong together in each column.
        labels: true class of each column.
        names: of the classes.
    """
    left = 0.2 + 0.09 * max(len(line) for row in rows for line in row.title.splitlines())
    width, height = left + CELL[0] * COLUMNS, TOP + CELL[1] * len(rows) + GAP
    figure = Figure((width, height))
    axes = figure.add_axes((0, 0, 1, 1))  # one for all, in inches: one for each image takes a second
    axes.set_axis_off()
    axes.text(
        width / 2, 0.1,
        "Over each image the class that the network takes it for: green is right, red is wrong.\n"
        "Change: perturbed minus clean, grey where there is none.",
        fontsize=10, ha="center", va="top",
    )  # fmt: skip
    for j, row in enumerate(rows):
        bottom = TOP + CELL[1] * (j + 1) - GAP
        axes.text(left - GAP, bottom - SIDE / 2, row.title, fontsize=10, ha="right", va="center")
        for i, image in enumerate(row.images):
            high, wide = (SIDE * n / max(image.shape[:2]) for n in image.shape[:2])
            middle = left + CELL[0] * (i + 0.5)
            place = (middle - wide / 2, middle + wide / 2, bottom, bottom - high)
            axes.imshow(
                image[..., 0] if image.shape[2] == 1 else image,
                cmap="gray",
                vmin=0,
                vmax=1,
                extent=place,
                aspect="auto",
            )
            if row.predicted is not None:
                right = row.predicted[i] == labels[i]
                said = names[row.predicted[i]] + ("" if right else f"\nnot {names[labels[i]]}")
                colour = "#1a7f37" if right else "#c62828"
                corner = (middle - wide / 2, bottom - high)  # the frame is seen where the words are too small
                axes.add_patch(Rectangle(corner, wide, high, fill=False, edgecolor=colour, linewidth=3))
                axes.text(
                    middle, bottom - high - GAP / 2, said, fontsize=9, color=colour, ha="center", va="bottom"
                )
    axes.set(xlim=(0, width), ylim=(height, 0))
    return _png(figure, dpi=100)


@PLAIN
def epsilon_picture(found: Mapping[str, Sequence[Measurement]], title: str) -> bytes:
    """Accuracy against epsilon, one curve a network and attack; a PNG, legible in a column of a page.

    Colours tell networks apart, dashes and markers attacks. Curves of networks that do the same lie on each
    other, the first ones broader.

    Args:
        found: what was measured, by the network's name.
        title: over the picture.
    """
    norms = sorted({_norm(m) for ms in found.values() for m in ms if m.kind == "attack"}, reverse=True)
    figure = Figure(layout="constrained")
    panels = figure.subplots(1, len(norms) or 1, squeeze=False)[0]
    for norm, axes in zip(norms or ["Linf"], panels, strict=True):
        _draw_curves(axes, found, norm)
        axes.set_xlabel(f"ε ({NAMES[norm]}, pixels in [0, 1])")
        axes.set_ylim(0, 100)
        axes.set_xlim(left=0)
        axes.grid(color="#dde1e6")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    panels[0].set_ylabel("accuracy (%)")
    figure.suptitle(title, fontsize=11)
    longest = max((len(t) for axes in panels for t in axes.get_legend_handles_labels()[1]), default=0)
    columns = 2 if longest < 25 else 1
    legend = figure.legend(
        loc="outside lower center", ncols=columns, frameon=False, fontsize=9, handlelength=3
    )
    told = legend.get_window_extent()
    figure.set_size_inches(
        max(4.6 * len(panels), told.width / figure.dpi + GAP), PANEL + told.height / figure.dpi
    )
    return _png(figure, dpi=200)


@PLAIN
def slice_picture(found: Slice | AttackPath, title: str) -> bytes:
    """The loss of a line or path with its accuracy below, or the contours of a plane's; a PNG.

    Args:
        found: the line, path or plane.
        title: over the picture.
    """
    if isinstance(found, Slice) and found.losses.ndim == 2:
        figure = Figure((4.6, 4.0), layout="constrained")
        axes = figure.subplots()
        # The first direction is in rows, and goes to the right.
        contours = axes.contourf(found.coordinates, found.coordinates, found.losses.T, 20, cmap="viridis")
        figure.colorbar(contours, label="loss (nats)")
        axes.set(xlabel="along the first direction", ylabel="along the second", aspect="equal")
    else:
        places: NDArray[Any] = found.steps if isinstance(found, AttackPath) else found.coordinates
        figure = Figure((4.6, 4.6), layout="constrained")
        for axes, values, said in zip(
            figure.subplots(2, 1, sharex=True), (found.losses, 100 * found.accuracies), ("loss (nats)", "accuracy (%)"), strict=True
        ):  # fmt: skip
            axes.plot(places, values, marker="o", markersize=4)
            axes.set_ylabel(said)
            axes.grid(color="#dde1e6")
        axes.set_xlabel(
            "step of the attack" if isinstance(found, AttackPath) else "along the line of weights"
        )
    figure.suptitle(title, fontsize=10)
    return _png(figure, dpi=200)


def _norm(m: Measurement) -> str:
    return str(m.settings.get("norm", "Linf"))


def _draw_curves(axes: Axes, found: Mapping[str, Sequence[Measurement]], norm: str) -> None:
    """The curves of the attacks in one norm."""
    for i, (name, measurements) in enumerate(found.items()):
        attacks = [
            m for m in measurements if m.kind == "attack" and m.accuracy is not None and _norm(m) == norm
        ]
        broader = min(len(found) - 1 - i, 3)
        for j, label in enumerate(dict.fromkeys(m.label for m in attacks)):
            points = {m.epsilon: m for m in attacks if m.label == label}
            clean = next(iter(points.values())).values["clean_accuracy"]
            curve = {0.0: clean} | {e: points[e].accuracy for e in sorted(e for e in points if e is not None)}
            axes.plot(
                list(curve), [100 * (value or 0) for value in curve.values()],
                color=f"C{i}", marker="os^Dv"[j % 5], linestyle=("-", "--", ":", "-.")[j % 4],
                linewidth=1.5 + 1.5 * broader, markersize=5 + 2 * broader, clip_on=False,
                label=label if len(found) == 1 else f"{name}: {label}",
            )  # fmt: skip


def _png(figure: Figure, dpi: int) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return file.getvalue()
