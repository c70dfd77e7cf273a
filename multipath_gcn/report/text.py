"""The table and the problems as people read them: formatted cells, Markdown, and the terminal."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .runs import Problem
from .table import names

WORDS = {"data", "model", "label", "config", "metric", "hardware", "method", "source"}
PAPER = "paper protocol: "
# Wider than any table: rich shrinks a table to its content, and must not shrink it to a guessed terminal.
UNLIMITED = 10_000
KINDS = {
    "failed": "Failed runs, not in the table",
    "incomplete": "Incomplete runs, not in the table",
    "corrupt": "Corrupt runs, not in the table",
    "duplicate": "Duplicate runs, counted once",
    "no curve": "Runs in the table without a learning curve",
    "versions": "Rows whose seeds come from different versions",
}


def cells(table: pd.DataFrame, plus_minus: str = "±") -> dict[str, list[str]]:
    """Heading to formatted cells. A single seed has no deviation, and an all-empty label no column."""

    def spread(score: str) -> list[str]:
        pairs = zip(table[f"{score}_mean"], table[f"{score}_std"], strict=True)
        return [f"{mean:.2f}" + ("" if pd.isna(std) else f" {plus_minus} {std:.2f}") for mean, std in pairs]

    def differences(score: str, heading: str) -> dict[str, list[str]]:
        start, end = f"{score}_minus_", "_low"
        baselines = [name[len(start) : -len(end)] for name in table if name.startswith(start) and name.endswith(end)]
        return {f"{heading} - {name} %": _differences(table, start + name) for name in baselines}

    columns = {
        "data": table["data"].tolist(),
        "model": table["model"].tolist(),
        "label": table["label"].tolist(),
        "config": table["config"].tolist(),
        "metric": table["metric"].tolist(),
        "seeds": [str(count) for count in table["seeds"]],
        "test %": spread("test"),
        **differences("test", "test"),
        "valid %": spread("valid"),
        "best epoch": [f"{epoch:g}" for epoch in table["best_epoch"]],
        "parameters": [f"{count:,}" for count in table["parameters"]],
        "s/epoch": [f"{s:.0f}" if s >= 100 else f"{s:#.3g}" for s in table["seconds_per_epoch"]],
        "peak MiB": [f"{mib:,.0f}" for mib in table["peak_mib"]],
    }
    if "paper_test_mean" in table:
        columns[PAPER + "best test %"] = spread("paper_test")
        columns |= differences("paper_test", PAPER + "best test")
        columns[PAPER + "epoch"] = [f"{epoch:g}" for epoch in table["paper_epoch"]]
    columns["hardware"] = table["hardware"].tolist()
    if not any(columns["label"]):
        del columns["label"]
    return columns


def _differences(table: pd.DataFrame, name: str) -> list[str]:
    parts = [table[f"{name}_{part}"] for part in ("mean", "low", "high", "seeds")]
    out = []
    for mean, low, high, seeds, all_seeds in zip(*parts, table["seeds"], strict=True):
        interval = "" if pd.isna(low) else f" [{low:+.2f}, {high:+.2f}]"
        fewer = f" ({seeds:.0f} of {all_seeds} seeds)" if seeds < all_seeds else ""
        out.append("baseline" if pd.isna(mean) else f"{mean:+.2f}{interval}{fewer}")
    return out


def notes(table: pd.DataFrame) -> list[str]:
    """What a reader must know to read the numbers."""
    lines = ["Scores in percent at the best validation epoch (OGB protocol): mean ± unbiased deviation over seeds."]
    lines.append("Best epoch and seconds per epoch are medians over seeds, peak memory is the maximum.")
    if "paper_test_mean" in table:
        lines.append("Paper protocol: the epoch is chosen on the test set itself; only to compare with such tables.")
    if any(name.endswith("_low") for name in table):
        lines.append("Differences are paired over common seeds, with a 95 % Student t interval.")
    return lines


def markdown(table: pd.DataFrame, problems: Sequence[Problem], plots: Sequence[str]) -> str:
    """The whole report: table, notes, plots, problems."""
    parts = ["# Report", grid(cells(table))]
    parts += [" ".join(notes(table)), *(f"![{name.removesuffix('.png')}]({name})" for name in plots)]
    for title, listed in _by_kind(problems):
        parts += [f"## {title}", "\n".join(f"- `{p.path}`: {escape(p.reason)}" for p in listed)]
    return "\n\n".join(parts) + "\n"


def grid(columns: dict[str, list[str]]) -> str:
    """A Markdown table."""
    rule = ["---" if name in WORDS else "---:" for name in columns]
    rows = [list(columns), rule, *zip(*columns.values(), strict=True)]
    return "\n".join("| " + " | ".join(map(escape, row)) + " |" for row in rows)


def escape(cell: str) -> str:
    """A cell of a Markdown table."""
    return " ".join(cell.split()).replace("|", "\\|")


def _by_kind(problems: Sequence[Problem]) -> list[tuple[str, list[Problem]]]:
    count = Counter(problem.kind for problem in problems)
    return [(f"{KINDS[k]} ({count[k]})", [p for p in problems if p.kind == k]) for k in KINDS if count[k]]


def show_table(console: Console, table: pd.DataFrame) -> None:
    """One table, in which nothing is ever cut: a narrow terminal gets fewer columns, a narrower one long lines."""
    unicode = console.encoding.lower().startswith("utf")
    columns = cells(table, "±" if unicode else "+/-")
    below = _take_constant(columns, ["hardware"])
    grid = _grid(columns, unicode)
    free = console.options.update(width=UNLIMITED)  # a measure is otherwise clamped to the console
    if console.measure(grid, options=free).maximum > console.width:
        rows = {"run": [f"{data} {name}" for data, name in zip(columns["data"], names(table), strict=True)]}
        rows |= {heading: column for heading, column in columns.items() if heading not in WORDS - {"metric"}}
        more = _take_constant(rows, ["metric", "seeds", "peak MiB"])
        narrow = _grid(rows, unicode, narrow=True)
        if console.measure(narrow, options=free).minimum <= console.width:
            grid, below = narrow, more + below
        else:
            console.width = console.measure(grid, options=free).maximum
    console.print(grid)
    for line in [*below, *notes(table)]:
        console.print(Text(line if unicode else line.replace("±", "+/-")), style="dim", soft_wrap=True)


def _take_constant(columns: dict[str, list[str]], headings: Sequence[str]) -> list[str]:
    constant = [heading for heading in headings if heading in columns and len(set(columns[heading])) == 1]
    return [f"{heading}: {columns.pop(heading)[0]} in every row" for heading in constant]


def _grid(columns: dict[str, list[str]], unicode: bool, narrow: bool = False) -> Table:
    grid = Table(box=box.SIMPLE_HEAD if unicode else box.ASCII, pad_edge=False, padding=(0, 0 if narrow else 1))
    for heading, column in columns.items():
        text = heading in WORDS | {"run"}
        title = heading.replace(" ", "\n") if narrow else heading
        # Only words may fold: a number in two pieces is another number.
        width = None if text else max(map(len, [*title.split("\n"), *column]))
        side = "left" if text else "right"
        grid.add_column(Text(title), justify=side, overflow="fold", no_wrap=not text, min_width=width)
    rows, groups = list(zip(*columns.values(), strict=True)), next(iter(columns.values()))
    for index, row in enumerate(rows):
        ends = index + 1 < len(rows) and groups[index].split()[0] != groups[index + 1].split()[0]
        grid.add_row(*map(Text, row), end_section=ends)
    return grid


def show_problems(console: Console, problems: Sequence[Problem]) -> None:
    """Every problem on a line of its own, grouped by kind."""
    for title, listed in _by_kind(problems):
        console.print(Text(f"\n{title}"), style="bold yellow", soft_wrap=True)
        for problem in listed:
            console.print(Text(f"  {problem.path}: {' '.join(problem.reason.split())}"), soft_wrap=True)
