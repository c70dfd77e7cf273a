"""A study: many trainings, of which a folder keeps rows and networks, so that it may be cut off and goes on."""

import argparse
import csv
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import torch
from torch import nn


class Rows:
    """rows.csv of a folder; the columns in ``key`` say what has been done."""

    def __init__(self, folder: Path, fields: Iterable[str], key: Iterable[str]):
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.fields, self.key = folder / "rows.csv", list(fields), list(key)
        self.done: set[tuple[str, ...]] = set()
        if self.path.is_file():
            with open(self.path, newline="") as file:
                self.done = {tuple(row[name] for name in self.key) for row in csv.DictReader(file)}

    def __contains__(self, key: tuple) -> bool:
        return tuple(map(str, key)) in self.done

    def add(self, *rows: dict) -> None:
        """Rows that belong together, such as those of one network, all at once."""
        with open(self.path, "a", newline="") as file:
            table = csv.DictWriter(file, self.fields)
            if file.tell() == 0:
                table.writeheader()
            table.writerows(rows)
        for row in rows:
            self.done.add(tuple(str(row[name]) for name in self.key))
            print(*(f"{value:.4g}" if isinstance(value, float) else value for value in row.values()), flush=True)

    def read(self) -> pd.DataFrame:
        return pd.read_csv(self.path)


def kept(path: Path, fresh: nn.Module, train: Callable[[nn.Module], object]) -> nn.Module:
    """``fresh`` trained, from its file if it is there; in evaluation mode."""
    if not path.is_file():
        train(fresh)
        part = path.with_suffix(".part")
        torch.save(fresh.state_dict(), part)
        part.replace(path)
    fresh.load_state_dict(torch.load(path, weights_only=True))
    return fresh.eval()


def parser(doc: str, epochs: int | None = None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("folder", type=Path)
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--quick", action="store_true", help="few images, to see that it runs; writes to FOLDER")
    if epochs is not None:
        made.add_argument("--epochs", type=int, default=epochs)
    return made


def folder_of(options: argparse.Namespace) -> Path:
    """Of rows and networks that belong together: not of other epochs, not of quick ones."""
    if "epochs" in options:
        return options.folder / f"{'quick' if options.quick else 'epochs'}{options.epochs}"
    return options.folder / ("quick" if options.quick else "full")


def publish(text: str, folder: Path, out: Path, files: Iterable[str] = ("rows.csv",)) -> None:
    """The report and what it shows, from the folder of a study to that of results; ``out`` may be the folder itself."""
    out.mkdir(parents=True, exist_ok=True)
    for name in files:
        if out != folder:
            (out / name).write_bytes((folder / name).read_bytes())
    (out / "cpu.md").write_text(text)
    print(text)
