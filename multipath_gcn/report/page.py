"""The report as one HTML file that needs no other: tables, plots as SVG inside, every run with a link to its folder."""

import base64
import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .runs import Problem, Run
from .text import KINDS

STYLE = """
:root { color-scheme: light dark; --line: #8884; --plot: #fff; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th { position: sticky; top: 0; background: Canvas; }
td.number, th.number { text-align: right; }
.wide { overflow-x: auto; }
figure { margin: 1.5rem 0; } figcaption { font-weight: 600; }
figure svg, figure img { width: 100%; height: auto; background: var(--plot); border-radius: 6px; }
details summary { cursor: pointer; font-weight: 600; margin: 1rem 0 .5rem; }
"""
# An icon of its own, or a browser asks for one.
DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<title>Report</title><style>{style}</style>
</head>
<body>
<h1>Report</h1>
{body}
</body>
</html>
"""


def page(
    tables: Mapping[str, Mapping[str, Sequence[str]]],
    notes: Sequence[str],
    plots: Mapping[str, Path],
    runs: Sequence[Run],
    problems: Sequence[Problem],
    folder: Path,
) -> str:
    """The whole document.

    Args:
        tables: by title, columns of formatted cells.
        notes: what a reader must know to read them.
        plots: by title, files, SVG or PNG.
        runs: all that count, for the last table.
        problems: all that do not.
        folder: where the page will lie; links to runs are relative to it.
    """
    parts = [f"<h2>{_text(title)}</h2>{_table(columns)}" for title, columns in tables.items()]
    parts += [f"<p>{_text(line)}</p>" for line in notes]
    for title, plot in plots.items():
        parts.append(f"<figure><figcaption>{_text(title)}</figcaption>{_picture(plot)}</figure>")
    parts.append(f"<details><summary>All {len(runs)} runs</summary>{_runs(runs, folder)}</details>")
    for kind, title in KINDS.items():
        found = [problem for problem in problems if problem.kind == kind]
        if found:
            lines = "".join(f"<li>{_link(p.path, folder, str(p.path))}: {_text(p.reason)}</li>" for p in found)
            parts.append(f"<h2>{_text(title)} ({len(found)})</h2><ul>{lines}</ul>")
    return DOCUMENT.format(style=STYLE, body="\n".join(parts))


def _runs(runs: Sequence[Run], folder: Path) -> str:
    columns = {
        "run": [_link(run.path, folder, f"{run.data} {run.model} {run.label}".strip()) for run in runs],
        "configuration": [_link(run.path / "config.yaml", folder, run.config) for run in runs],
        "seed": [str(run.seed) for run in runs],
        "test %": [f"{100 * run.test:.2f}" for run in runs],
        "validation %": [f"{100 * run.valid:.2f}" for run in runs],
        "best epoch": [str(run.best_epoch) for run in runs],
        "parameters": [f"{run.parameters:,}" for run in runs],
        "s/epoch": [f"{run.seconds_per_epoch:.3g}" for run in runs],
        "peak MiB": [f"{run.peak_mib:,.0f}" for run in runs],
    }
    return _table(columns, escaped=("run", "configuration"))


def _table(columns: Mapping[str, Sequence[str]], escaped: Sequence[str] = ()) -> str:
    numbers = {name for name, cells in columns.items() if name not in escaped and all(map(_is_number, cells))}
    kind = {name: ' class="number"' if name in numbers else "" for name in columns}
    head = "".join(f"<th{kind[name]}>{_text(name)}</th>" for name in columns)
    written = {name: cells if name in escaped else [_text(cell) for cell in cells] for name, cells in columns.items()}
    rows = (
        "".join(f"<td{kind[name]}>{cell}</td>" for name, cell in zip(columns, row, strict=True))
        for row in zip(*written.values(), strict=True)
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _is_number(cell: str) -> bool:
    return not cell or cell[0].isdigit() or cell[0] in "+-"


def _picture(path: Path) -> str:
    if path.suffix == ".svg":
        document = path.read_text(encoding="utf-8")
        return document[document.index("<svg") :]
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(path.stem)}" src="data:image/png;base64,{content}">'


def _link(path: Path, folder: Path, words: str) -> str:
    target = os.path.relpath(path, folder).replace(os.sep, "/")
    return f'<a href="{html.escape(target, quote=True)}">{_text(words)}</a>'


def _text(words: str) -> str:
    return html.escape(" ".join(words.split()))
