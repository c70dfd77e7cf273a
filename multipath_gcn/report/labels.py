"""Puts a name beside each point of a plot so that no name covers a point or another name."""

import itertools
import math
from collections.abc import Sequence

from matplotlib.axes import Axes

Box = tuple[float, float, float, float]  # left, low, right, high, in pixels

_ANGLES = [0, 180, 90, 270, 35, 145, 215, 325]
_DISTANCES = [8, 14, 22, 32, 44, 58, 74]
_LEADER = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 5}


def place_labels(ax: Axes, points: Sequence[tuple[float, float, float, float]], texts: Sequence[str]) -> None:
    """Labels the points (x, y, half length of the error bar, shift to the right in points).

    Call it last: layout and limits must be final, since places are searched in pixels.
    """
    renderer, pixel = ax.figure.canvas.get_renderer(), ax.figure.dpi / 72
    centres, bars, sizes = [], [], []
    for (x, y, half, shift), text in zip(points, texts, strict=True):
        (column, low), (_, high) = ax.transData.transform([(x, y - half), (x, y + half)])
        column, margin = column + shift * pixel, 5 * pixel
        centres.append((column, (low + high) / 2))
        bars.append((column - margin, low - margin, column + margin, high + margin))
        probe = ax.text(0, 0, text, fontsize=8)
        extent = probe.get_window_extent(renderer)
        probe.remove()
        sizes.append((extent.width, extent.height))
    frame = tuple(ax.get_window_extent(renderer).extents)

    # Greedy placement depends on the order, so a few orders compete.
    count = range(len(points))
    by_column = sorted(count, key=lambda i: centres[i])
    orders = [list(count), list(count)[::-1], by_column, by_column[::-1]]
    _, chosen = min((_greedy(order, centres, bars, sizes, frame, pixel) for order in orders), key=lambda c: c[0])
    for index, (dx, dy, distance) in chosen.items():
        artist = {"xy": centres[index], "xytext": (dx / pixel, dy / pixel), "xycoords": "figure pixels"}
        artist |= {"textcoords": "offset points", "annotation_clip": False}
        ax.annotate(texts[index], fontsize=8, ha="center", va="center", **artist)
        if distance > _DISTANCES[1]:
            # From the edge of the text that is nearest to the point, so that the line never runs under a name.
            width, height = (size / 2 for size in sizes[index])
            edge = (dx - min(max(dx, -width), width), dy - min(max(dy, -height), height))
            artist["xytext"] = (edge[0] / pixel, edge[1] / pixel)
            ax.annotate("", arrowprops=_LEADER, zorder=0, **artist)


def _greedy(order, centres, bars, sizes, frame: Box, pixel: float) -> tuple[float, dict]:
    taken, chosen, total = list(bars), {}, 0.0
    for index in order:
        options = []
        for distance, angle in itertools.product(_DISTANCES, _ANGLES):
            dx, dy = _offset(distance * pixel, angle, *sizes[index])
            if angle in (90, 270):  # beyond the end of the error bar
                dy += math.copysign((bars[index][3] - bars[index][1]) / 2 - 5 * pixel, dy)
            box = _box(centres[index][0] + dx, centres[index][1] + dy, *sizes[index])
            covered = sum(_overlap(box, other) for other in taken) + _overlap(box, box) - _overlap(box, frame)
            options.append((100 * covered + distance, dx, dy, distance, box))
        cost, dx, dy, distance, box = min(options, key=lambda option: option[0])
        chosen[index] = (dx, dy, distance)
        taken.append(box)
        total += cost
    return total, chosen


def _offset(distance: float, angle: float, width: float, height: float) -> tuple[float, float]:
    # The distance is to the near edge of the text, so its half extent in that direction comes on top.
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    sideways = 0 if abs(cosine) < 0.1 else math.copysign(width / 2, cosine)
    upwards = 0 if abs(sine) < 0.1 else math.copysign(height / 2, sine)
    return distance * cosine + sideways, distance * sine + upwards


def _box(x: float, y: float, width: float, height: float) -> Box:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0
