"""Encoded images decoded once into memory-mapped arrays of the cache: a folder for each split, whole or absent.

``pixels.npy`` uint8 [N, H, W, C], ``labels.npy`` int64 [N], ``moments.npy`` int64 [N, 2, C], and ``meta.json`` with the
number of images and of those left out.
"""

import io
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multipath_gcn.data.cache import build, verify
from multipath_gcn.data.image_source import Columns, Source
from multipath_gcn.data.moments import image_moments

log = logging.getLogger(__name__)

VERSION = 1  # of what is written: a change must not meet old files
ON_ERROR = ("stop", "skip")
MODES = {1: "L", 3: "RGB"}
_CONVERTIBLE = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}  # 8 bits; 16 would be cut off
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # not all that Pillow opens: EPS runs a program
_BATCH_BYTES = 1 << 20  # of pixels decoded at a time
_HASHED = 1 << 30  # bytes; larger files are not hashed at every start
_NAMED = 5


@dataclass(frozen=True)
class Rules:
    """What an image must be, and what may be done to make it so; see :func:`multipath_gcn.data.load_images`."""

    size: tuple[int, int]
    channels: int
    resize: bool
    convert: bool
    on_error: str


@dataclass(frozen=True)
class Decoded:
    """A split in memory-mapped arrays."""

    pixels: np.ndarray
    labels: np.ndarray
    moments: np.ndarray


class BadImage(ValueError):
    """Bytes that are no image, or only part of one."""


def write_decoded(folder: Path, sources: Sequence[Source], columns: Columns, rules: Rules) -> None:
    """Decode all rows of ``sources`` into ``folder``, which appears when all of it is there.

    Raises:
        ValueError: naming source, row and rule, for a row that breaks one, or when no image is left.
    """
    begin, shape = time.perf_counter(), (*rules.size, rules.channels)
    count = max(1, min(256, _BATCH_BYTES // int(np.prod(shape))))
    skipped: list[str] = []
    with build(folder) as target, tempfile.TemporaryDirectory(dir=target) as scratch:
        with ExitStack() as files:
            write_pixels = files.enter_context(_growing(target / "pixels.npy", shape, np.uint8))
            write_labels = files.enter_context(_growing(target / "labels.npy", (), np.int64))
            write_moments = files.enter_context(_growing(target / "moments.npy", (2, rules.channels), np.int64))
            kept = 0
            for source in sources:
                for first, images, labels in source.rows(columns, count, Path(scratch)):
                    decoded, good = _decode_rows(
                        images, f"{source.where}, column {columns.image!r}", first, rules, skipped
                    )
                    if not good:
                        continue
                    pixels = np.stack(decoded)
                    write_pixels(pixels)
                    write_labels(np.array(labels)[good])
                    write_moments(image_moments(pixels))
                    kept += len(good)
        if not kept:
            places = ", ".join(source.where for source in sources)
            raise ValueError(f"a split must not be empty, got 0 readable images and {len(skipped)} others in {places}")
        meta = {"images": kept, "skipped": len(skipped), "first skipped": skipped[:_NAMED]}
        (target / "meta.json").write_text(json.dumps(meta, indent=1))
    log.info("%s: %d images decoded in %.1f s, once", folder.name, kept, time.perf_counter() - begin)


def read_decoded(folder: Path) -> Decoded:
    """Map what :func:`write_decoded` wrote.

    Every byte is hashed, but of files above 1 GiB, where that would take longer than it is worth: these must have the
    length that their header asks for.

    Raises:
        CorruptCache: for a changed file, after its folder was set aside.
    """
    verify(folder, largest=_HASHED)
    meta = json.loads((folder / "meta.json").read_text())
    if meta["skipped"]:
        named = "; ".join(meta["first skipped"]) + ("; ..." if meta["skipped"] > _NAMED else "")
        log.warning("%s: %d unreadable images were left out: %s", folder.name, meta["skipped"], named)
    return Decoded(
        np.load(folder / "pixels.npy", mmap_mode="r"), np.load(folder / "labels.npy"), np.load(folder / "moments.npy")
    )


def decode_image(content: bytes | None, rules: Rules) -> np.ndarray:
    """uint8 [H, W, C].

    Raises:
        BadImage: where it cannot be decoded.
        ValueError: for another size or another number of channels than the rules allow.
    """
    from PIL import Image

    if content is None:
        raise BadImage("there are no bytes")
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            image.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever their parsing stumbles over
        raise BadImage(f"it cannot be decoded: {type(error).__name__}: {error}") from error
    mode, (height, width) = MODES[rules.channels], rules.size
    if image.mode != mode:
        if not rules.convert or image.mode not in _CONVERTIBLE:
            known = rules.convert and f"one of {', '.join(sorted(_CONVERTIBLE))}"
            raise ValueError(
                f"wrong channel count: its mode must be {known or f'{mode}, unless convert=true'}, got {image.mode}"
            )
        image = image.convert(mode)
    if image.size != (width, height):
        if not rules.resize:
            got = f"{image.height} x {image.width}"
            raise ValueError(f"wrong image size: it must be {height} x {width}, unless resize=true, got {got}")
        image = _cropped(image, height, width)
    return np.asarray(image).reshape(height, width, rules.channels)


def _cropped(image: Any, height: int, width: int) -> Any:
    """The largest centred part of the right shape, resized with antialiasing."""
    from PIL import Image

    scale = min(image.width / width, image.height / height)
    left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
    box = (left, top, min(left + scale * width, image.width), min(top + scale * height, image.height))
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


def _decode_rows(
    images: list[dict[str, Any]], where: str, first: int, rules: Rules, skipped: list[str]
) -> tuple[list[np.ndarray], list[int]]:
    decoded, good = [], []
    for place, image in enumerate(images):
        content, inside = (image or {}).get("bytes"), (image or {}).get("path")
        name = f"{where}, row {first + place}" + (f" ({inside})" if inside else "")
        try:
            decoded.append(decode_image(content, rules))
        except BadImage as error:
            if rules.on_error == "stop":
                raise ValueError(f"{name}: {error}; on_error=skip leaves such images out") from error
            skipped.append(f"{name}: {error}")
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        else:
            good.append(place)
    return decoded, good


@contextmanager
def _growing(path: Path, shape: tuple[int, ...], dtype: type) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends rows to a .npy file: NumPy pads its header so that any number of rows fits in."""
    rows = 0
    with path.open("wb") as file:

        def write_header() -> int:
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (rows, *shape)}
            file.seek(0)
            np.lib.format.write_array_header_1_0(file, header)
            return file.tell()

        def append(values: np.ndarray) -> None:
            nonlocal rows
            rows += len(values)
            file.write(np.ascontiguousarray(values, dtype).data)

        length = write_header()
        yield append
        if write_header() != length:
            raise RuntimeError(f"the header of {path} grew with its {rows} rows, which NumPy should prevent")
