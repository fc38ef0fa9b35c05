"""The published networks, below `docs/results` of the checkout."""

from pathlib import Path

RESULTS = Path(__file__).parents[2] / "docs/results"


def published_network(name: Path | str) -> Path | None:
    """The file of a network by its name in `tfsgd.zoo()`, `STUDY/REGIME/TRIAL`; `None`: there is none."""
    parts = Path(name).parts
    if len(parts) != 3 or ".." in parts:
        return None
    file = RESULTS / parts[0] / "trials" / parts[1] / parts[2] / "model.keras"
    return file if file.is_file() else None


def published_networks() -> list[str]:
    """All names."""
    files = sorted(RESULTS.glob("*/trials/*/*/model.keras"))
    return [f"{file.parents[3].name}/{file.parents[1].name}/{file.parent.name}" for file in files]
