"""`multipath-gcn-report`: folders of runs in, one comparison table and its files out."""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from . import text
from .compare import add_differences
from .runs import read_runs
from .table import summarise
from .watch import watch
from .write import write


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 with at least one complete run, 2 with a one-line error."""
    args = _parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold what the terminal cannot show
    console = Console(highlight=False, width=None if sys.stdout.isatty() else text.UNLIMITED)
    try:
        return _report(args, console)
    except (ValueError, OSError) as error:
        print(f"multipath-gcn-report: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="multipath-gcn-report",
        description="Compare runs: one row per data, model, label and configuration, mean and deviation over seeds.",
    )
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="folder with runs, at any depth")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where the files go (default: report in the first DIR)")
    parser.add_argument(
        "--protocol",
        choices=("ogb", "both"),
        default="ogb",
        help="ogb: score at the best validation epoch (default); both: the papers' best test epoch beside it",
    )
    parser.add_argument(
        "--baseline",
        metavar="MODEL",
        action="append",
        default=[],
        help="add paired differences to this model, on the same data and label; may be repeated",
    )
    parser.add_argument("--watch", action="store_true", help="show what the runs are doing, until none is at work")
    return parser


def _report(args: argparse.Namespace, console: Console) -> int:
    for folder in args.folders:
        if not folder.is_dir():
            raise ValueError(f"DIR ({folder}) must be an existing folder")
    if args.watch:
        watch(args.folders, console)
    runs, problems = read_runs(args.folders)
    if not runs:
        text.show_problems(console, problems)
        given = ", ".join(map(str, args.folders))
        raise ValueError(f"DIR ({given}) must hold at least one complete run, got 0 and {len(problems)} problems")
    table = summarise(runs, args.protocol)
    for baseline in dict.fromkeys(args.baseline):
        table = add_differences(table, runs, baseline)

    out = args.out or args.folders[0] / "report"
    try:
        write(table, runs, problems, out)
    except OSError as error:
        raise ValueError(f"--out ({out}) must be a writable folder: {error.strerror or error}") from error
    text.show_table(console, table)
    text.show_problems(console, problems)
    console.print(f"\nReport: {out / 'report.md'}", markup=False, soft_wrap=True)
    return 0
