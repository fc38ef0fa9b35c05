"""The command: `python -m tfsgd.export LOGS/NAME` writes what was recorded as files for other tools.

Example:
    python -m tfsgd.export logs/fmnist_stdcnn --out trials.parquet
"""

from pathlib import Path
from typing import Annotated

import typer

from tfsgd import command
from tfsgd.errors import RequestError
from tfsgd.records.preflight import refuse_among_records, refuse_unwritable
from tfsgd.terminal.progress import warn
from tfsgd.text import counted


def export(
    folders: Annotated[
        list[Path], typer.Argument(metavar="LOGS/NAME...", help="Log folders that a sweep wrote.")
    ],
    out: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="One row a trial, .csv or .parquet; may be given several times."),
    ] = None,
    robustbench: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A JSON for each network, as in RobustBench's folder model_info/."),
    ] = None,
    epsilon: Annotated[
        str | None,
        typer.Option(
            metavar="EPSILON",
            help="At which accuracies are reported to RobustBench.",
            show_default="8/255, and 0.5 in L2",
        ),
    ] = None,
) -> None:
    """Write the records of sweeps as one table, and as the entries that RobustBench's forms ask for."""
    if not out and robustbench is None:
        raise RequestError(
            "--out, --robustbench: expected one of them: --out FILE.csv, --out FILE.parquet, or --robustbench DIR"
        )
    from tfsgd.reporting.page.output_files import refuse_unfit_file, write_trials
    from tfsgd.reporting.page.robustbench import EPSILONS, LEADERBOARDS, dataset_of, epsilon_of, write_entries
    from tfsgd.reporting.table.studies import read_studies

    for path in out or ():
        refuse_unfit_file(path)
    if epsilon is not None:
        epsilon_of(epsilon)
    if robustbench is not None:
        refuse_among_records(robustbench, "--robustbench")
        refuse_unwritable(robustbench, "--robustbench")
    studies = read_studies(folders)
    for path in out or ():
        table = write_trials(studies, path)
        print(f"table: {path} ({counted(len(table), 'trial')}, {counted(len(table.columns), 'column')})")
    if robustbench is None:
        return
    count, unknown = write_entries(studies, robustbench, epsilon)
    print(f"RobustBench: {robustbench} ({counted(count, 'file')})")
    if unknown:
        print(f"to be filled in, null now: {', '.join(unknown)}")
    if "reported" in unknown:
        warn(
            f"reported: not every network was attacked at epsilon {epsilon or ' or '.join(EPSILONS.values())}; measure "
            "there, or choose another one with --epsilon"
        )
    for name in sorted({dataset_of(study) for study in studies} - {*LEADERBOARDS}):
        warn(f"RobustBench has no leaderboard for {name}, only for {', '.join(LEADERBOARDS)}")


def main() -> None:
    """Runs the command; every refusal is one line on standard error."""
    command.run(export, "export")


if __name__ == "__main__":
    main()
