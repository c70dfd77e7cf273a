"""Everything that a report leaves in its folder."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from . import leaderboard, plots, text
from .page import page
from .runs import Problem, Run
from .trade_off import plot_pruning, pruning_markdown, pruning_table

FIGURES = {"curves": "Validation score", "parameters": "Score and size", "seconds": "Score and time"}


def write(table: pd.DataFrame, runs: Sequence[Run], problems: Sequence[Problem], out: Path) -> None:
    """report.csv, report.md and its pictures, report.html with all of them in it, leaderboard.csv, .md and .tex."""
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "report.csv", index=False)
    board = leaderboard.leaderboard(table, runs)
    board.to_csv(out / "leaderboard.csv", index=False)
    compared = leaderboard.against_published(board)
    ranked = {"Leaderboard": leaderboard.cells(board)}
    if not compared.empty:
        compared.to_csv(out / "against_published.csv", index=False)
        ranked["Against published results (Welch's test)"] = leaderboard.comparison_cells(compared)
    (out / "leaderboard.md").write_text("# Leaderboard\n\n" + text.grid(ranked["Leaderboard"]), encoding="utf-8")
    (out / "leaderboard.tex").write_text(leaderboard.latex(board), encoding="utf-8")
    content = text.markdown(table, problems, [f"{name}.png" for name in FIGURES])
    pruned = pruning_table(runs)
    pictures: list[str] = []
    if not pruned.empty:
        pruned.to_csv(out / "pruning.csv", index=False)
        pictures = plot_pruning(pruned, out)
        content += f"\n{pruning_markdown(pruned)}\n" + "".join(f"![pruning]({name})\n" for name in pictures)
    with TemporaryDirectory() as folder:
        shown = {title: Path(folder) / f"{name}.svg" for name, title in FIGURES.items()}
        plots.curves(table, runs, out / "curves.png", shown[FIGURES["curves"]])
        plots.parameters(table, out / "parameters.png", shown[FIGURES["parameters"]])
        plots.seconds(table, out / "seconds.png", shown[FIGURES["seconds"]])
        shown |= {name.removesuffix(".png"): out / name for name in pictures}
        shown |= figures(runs)
        tables = {"Comparison": text.cells(table)} | ranked
        document = page(tables, text.notes(table), shown, runs, problems, out)
    (out / "report.md").write_text(content, encoding="utf-8", errors="backslashreplace")
    (out / "report.html").write_text(document, encoding="utf-8", errors="backslashreplace")


def figures(runs: Sequence[Run]) -> dict[str, Path]:
    """By title, the ``figure.png`` that a task has drawn: of each data set and model, of the first run with one."""
    found: dict[tuple[str, str], tuple[str, Path]] = {}
    for run in sorted(runs, key=lambda run: (run.data, run.model, run.label, run.seed)):
        if (run.data, run.model) not in found and (run.path / "figure.png").is_file():
            name = " ".join(filter(None, (run.data, run.model, run.label)))
            found[run.data, run.model] = f"{name}, seed {run.seed}", run.path / "figure.png"
    return dict(found.values())
