"""Sequences: scikit-learn's digits row by row or stroke by stroke, and JSB chorales where the user has the file."""

import io
import json
import pickle
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multipath_gcn.data.node_dataset import PARTS
from multipath_gcn.data.roots import cache_root, data_root, missing
from multipath_gcn.data.sequence_dataset import SequenceDataset

FORMS = ("rows", "strokes")
STEPS = 8  # frames of a digit
FOLDERS = ("jsb_chorales", "JSB Chorales", "JSB-Chorales-dataset")
FILES = ("JSB Chorales.pickle", "jsb-chorales-quarter.json", "jsb-chorales-quarter.pkl")
KEYS = (21, 108)  # of a piano, as MIDI numbers


def load_digit_sequences(form: str = "rows", valid: int = 300, test: int = 360, split_seed: int = 0) -> SequenceDataset:
    r"""scikit-learn's 1,797 digits of 8 x 8 pixels as 8 frames, in a random split; equal arguments give equal data.

    - ``rows``: frame t is row t of the image, from top to bottom: [N, 8, 1, 1, 8].
    - ``strokes``: frame t is the image as far as it has been drawn, and the last one all of it: [N, 8, 1, 8, 8]. Where
      the pen went is not known. The order is ours: a breadth-first walk along the ink (pixels above 0, eight
      neighbours) from the topmost pixel, of these the leftmost; ink that it does not reach follows in the same way. Of
      n pixels, frame t shows those of rank below :math:`(t + 1) n / 8`.

    Args:
        form: one of these.
        valid: number of sequences to validate.
        test: number of sequences to test; the rest is to train on.
        split_seed: of the split.

    Raises:
        ValueError: for an argument out of its range.
    """
    import sklearn.datasets

    if form not in FORMS:
        raise ValueError(f"form must be one of {list(FORMS)}, got {form!r}")
    images = (sklearn.datasets.load_digits().data / 16).astype(np.float32).reshape(-1, 8, 8)
    if valid < 1 or test < 1 or valid + test >= len(images):
        rule = f"be at least 1 each and leave some of {len(images)} images"
        raise ValueError(f"valid and test must {rule}, got {valid} and {test}")
    frames = images[:, :, None, None] if form == "rows" else np.stack([drawn(image) for image in images])[:, :, None]
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(split_seed))
    sizes = {"test": test, "valid": valid, "train": len(images) - test - valid}
    parts = zip(sizes, order.split(list(sizes.values())), strict=True)
    splits = {part: torch.from_numpy(frames)[rows.sort().values] for part, rows in parts}
    return SequenceDataset(f"digit_{form}", splits)


def drawn(image: np.ndarray) -> np.ndarray:
    """The image [H, W] at each of 8 equal parts of a walk along its ink: [8, H, W]."""
    walk = _walk(image)
    frames = np.zeros((STEPS, *image.shape), image.dtype)
    for rank, (row, column) in enumerate(walk):
        frames[(rank * STEPS) // len(walk) :, row, column] = image[row, column]
    return frames


def _walk(image: np.ndarray) -> list[tuple[int, int]]:
    ink = [(int(row), int(column)) for row, column in np.argwhere(image > 0)]  # from the top, then from the left
    left, order = set(ink), []
    for start in ink:
        waiting = deque([start] if start in left else [])
        left.discard(start)
        while waiting:
            row, column = waiting.popleft()
            order.append((row, column))
            for near in ((row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
                if near in left:
                    left.discard(near)
                    waiting.append(near)
    return order


def load_jsb_chorales(file: str | None = None) -> SequenceDataset:
    r"""Chorales of J. S. Bach as frames of 88 piano keys, 1 where a key sounds: [N, T, 1, 1, 88], MIDI notes 21 to 108.

    The split and form of `Boulanger-Lewandowski et al. 2012 <https://arxiv.org/abs/1206.6392>`_: ``train``, ``valid``
    and ``test``, each a list of chorales, each a list of chords, each a list of MIDI notes; as their pickle or as JSON.
    A pickle that holds anything but containers, texts and numbers is refused, and nothing in it is run.

    Args:
        file: a path, or the name of a file in ``jsb_chorales`` of the data root or of the cache. ``None``: the first
            there of ``JSB Chorales.pickle``, ``jsb-chorales-quarter.json`` and ``jsb-chorales-quarter.pkl``.

    Raises:
        MissingData: without such a file; it tells where to put it.
        ValueError: naming the file, for content of another form.
    """
    path = _find(FILES if file is None else (file,))
    chorales = _read(path)
    if not isinstance(chorales, dict) or set(chorales) != set(PARTS):
        found = sorted(map(str, chorales)) if isinstance(chorales, dict) else type(chorales).__name__
        raise ValueError(f"{path} must be a dictionary with the keys {', '.join(PARTS)}, got {found}")
    for part in PARTS:
        if not isinstance(chorales[part], (list, tuple)) or not chorales[part]:
            raise ValueError(f"{path} must hold a list of chorales as {part}, got {chorales[part]!r:.80}")
    rolls = {part: [_roll(path, f"{part}[{i}]", c) for i, c in enumerate(chorales[part])] for part in PARTS}
    lengths = {part: torch.tensor([len(roll) for roll in rolls[part]]) for part in PARTS}
    padded = {part: torch.nn.utils.rnn.pad_sequence(rolls[part], batch_first=True) for part in PARTS}
    return SequenceDataset("jsb_chorales", {part: roll[:, :, None, None] for part, roll in padded.items()}, lengths)


def _find(files: tuple[str, ...]) -> Path:
    if len(files) == 1 and Path(files[0]).expanduser().is_file():
        return Path(files[0]).expanduser()
    for root in filter(None, (data_root(), cache_root())):
        for folder in FOLDERS:
            for file in files:
                if (root / folder / file).is_file():
                    return root / folder / file
    reason = "it is not downloaded: put one of these files there, or name another by data.file=PATH"
    raise missing("jsb_chorales", FOLDERS, files, reason)


class _Plain(pickle.Unpickler):
    """Reads containers, texts and numbers; to build anything else, a pickle must ask for it here."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _read(path: Path) -> Any:
    content = path.read_bytes()
    try:
        return json.loads(content) if path.suffix == ".json" else _Plain(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # of a damaged pickle, nearly any
        rule = "be JSON" if path.suffix == ".json" else "be a pickle of containers, texts and numbers alone"
        raise ValueError(f"{path} must {rule}, got {type(error).__name__}: {error}") from error


def _roll(path: Path, place: str, chords: Any) -> torch.Tensor:
    """[T, 88]"""
    if not isinstance(chords, (list, tuple)) or len(chords) < 2:
        raise ValueError(f"{path}: {place} must be a list of at least 2 chords, got {chords!r:.80}")
    roll = torch.zeros(len(chords), KEYS[1] - KEYS[0] + 1)
    for t, chord in enumerate(chords):
        notes = chord if isinstance(chord, (list, tuple)) else [None]
        if not all(isinstance(n, int) and KEYS[0] <= n <= KEYS[1] for n in notes):
            rule = f"be a list of MIDI notes, integers from {KEYS[0]} to {KEYS[1]}"
            raise ValueError(f"{path}: {place}[{t}] must {rule}, got {chord!r:.80}")
        roll[t, [note - KEYS[0] for note in notes]] = 1
    return roll
