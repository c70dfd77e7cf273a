"""Sequences beside what was forecast of them, each frame from those before it."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

NAMES = ("frames", "forecast", "difference")
MOST_FRAMES = {1: 64, 2: 12}  # by spatial dimensions
GREY = colormaps["gray_r"].with_extremes(bad="0.9")  # of the first frame there is no forecast
SIGNED = colormaps["RdBu_r"].with_extremes(bad="0.9")


def plot_forecasts(frames: np.ndarray, forecasts: np.ndarray, lengths: np.ndarray, path: Path) -> None:
    """Frames, forecasts and forecasts minus frames (red: too much, blue: too little) of each sequence.

    Frames of height 1 become the rows of an image, time downwards; others a film, time from left to right.

    Args:
        frames: (N, T, C, H, W) in [0, 1]; the channels are averaged.
        forecasts: (N, T - 1, C, H, W), of the frames from the second on.
        lengths: (N), how many frames of each sequence there are.
        path: of the picture.

    Raises:
        ValueError: for shapes that do not fit.
    """
    if frames.ndim != 5 or forecasts.shape != (frames.shape[0], frames.shape[1] - 1, *frames.shape[2:]):
        wanted = "(N, T, C, H, W) and (N, T - 1, C, H, W)"
        raise ValueError(f"frames and forecasts must be {wanted}, got {list(frames.shape)} and {list(forecasts.shape)}")
    flat = frames.shape[3] == 1
    most = min(int(max(lengths)), MOST_FRAMES[1 if flat else 2])
    known, guessed = frames.mean(2), np.full(frames[:, :, 0].shape, np.nan)
    guessed[:, 1:] = forecasts.mean(2)
    pictures = [_picture(k[:n], g[:n], most, flat) for k, g, n in zip(known, guessed, lengths, strict=True)]
    figure, panels, columns = _panels(len(pictures), *pictures[0].shape[:2])
    for number, (ax, picture) in enumerate(zip(panels, pictures, strict=False)):
        ax.imshow(picture, interpolation="nearest")
        ax.tick_params(length=0, labelsize=7, pad=1)
        leftmost = number % columns == 0
        if flat:
            ax.xaxis.tick_top()
            ax.set_xticks(_middles(3, frames.shape[4]), NAMES)
            ax.set_ylabel("time →" if leftmost else "", rotation=270, fontsize=7, labelpad=8)
        else:
            ax.set_xticks(_middles(most, frames.shape[4]), range(1, most + 1))
            ax.set_yticks(_middles(3, frames.shape[3]), NAMES if leftmost else [""] * 3)
    figure.savefig(path)


def _panels(count: int, height: int, width: int) -> tuple[Figure, np.ndarray, int]:
    """Empty panels of that shape in one or two columns, laid out by hand: the automatic way takes much longer."""
    columns = min(2, count)
    rows = -(-count // columns)
    wide, tall, space = 4.0, 4.0 * height / width, 0.25  # inches of a panel, and around it
    size = columns * (wide + space) + 0.6, rows * (tall + space) + 0.05
    figure = Figure(figsize=size, dpi=110)
    edges = {"left": 0.6 / size[0], "right": 1 - space / size[0], "bottom": space / size[1], "top": 1 - space / size[1]}
    figure.subplots_adjust(**edges, wspace=space / wide, hspace=space / tall)
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in panels:
        ax.spines[:].set_visible(False)
        ax.set(xticks=[], yticks=[])
    return figure, panels, columns


def _picture(known: np.ndarray, guessed: np.ndarray, most: int, flat: bool) -> np.ndarray:
    """RGBA of all tiles of one sequence (T, H, W), as large as for ``most`` frames."""
    strips = GREY(known), GREY(guessed), SIGNED((guessed - known + 1) / 2)
    room = [(0, max(0, most - len(known)))] + [(0, 0)] * 3  # white, of no opacity
    strips = [np.pad(strip, room)[:most] for strip in strips]
    tiles = [[strip[:, 0] for strip in strips]] if flat else strips
    return np.concatenate([np.concatenate([_framed(tile) for tile in row], axis=1) for row in tiles])[:-1, :-1]


def _framed(tile: np.ndarray) -> np.ndarray:
    line = np.array([0.85, 0.85, 0.85, 1.0])
    framed = np.broadcast_to(line, (tile.shape[0] + 1, tile.shape[1] + 1, 4)).copy()
    framed[:-1, :-1] = tile
    return framed


def _middles(count: int, size: int) -> np.ndarray:
    return np.arange(count) * (size + 1) + (size - 1) / 2
