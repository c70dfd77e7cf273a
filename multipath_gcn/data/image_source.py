"""Where the raw images of a set are: parquet files below a root, else the Hugging Face hub, streamed by ``datasets``.

A row holds encoded bytes in a struct, as ``datasets`` stores its ``Image`` feature, and a whole number as its label.
Neither way keeps a copy of the rows. Files are read by Arrow's plain reader: the one inside ``datasets`` holds whole
row groups (54 MB for CIFAR-10, here 2), and a process that ends before it has read them all is aborted
(github.com/apache/arrow/issues/34314).
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multipath_gcn.data.cache import cache_root
from multipath_gcn.data.roots import data_root, missing

Rows = tuple[int, list[dict[str, Any]], list[int]]  # number of the first one, encoded images, labels

_READ_AHEAD = 1 << 16  # bytes of a parquet file held at once; otherwise a whole column of a row group is


@dataclass(frozen=True)
class Columns:
    """Names of the columns, and the number of classes that bounds the labels."""

    image: str
    label: str
    num_classes: int

    def check_names(self, names: Iterable[str], where: str) -> None:
        for column in (self.image, self.label):
            if column not in names:
                raise ValueError(f"{where}: the column {column!r} must be there, got {', '.join(names)}")

    def check_labels(self, labels: Iterable[int | None], where: str, first: int = 0) -> None:
        for row, label in enumerate(labels, first):
            if not isinstance(label, int) or not 0 <= label < self.num_classes:
                rule = f"a whole number in [0, {self.num_classes})"
                raise ValueError(f"{where}, column {self.label!r}: a label must be {rule}, got {label!r} in row {row}")


@dataclass(frozen=True)
class ParquetFile:
    """One file, whose schema and labels can be checked before an image is decoded."""

    path: Path

    @property
    def where(self) -> str:
        return str(self.path)

    def facts(self) -> list[str | int]:
        """What it is in a fingerprint: no other file, and not this one after a change, has the same."""
        stat = self.path.stat()
        return [str(self.path), stat.st_size, stat.st_mtime_ns]

    def check(self, columns: Columns) -> int:
        """The number of rows of a readable file with the columns wanted and labels in range."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with _readable(self.where), pq.ParquetFile(self.path) as file:
            schema, labels = file.schema_arrow, None
            if columns.label in schema.names and pa.types.is_integer(schema.field(columns.label).type):
                labels = file.read([columns.label])[columns.label].to_pylist()
        columns.check_names(schema.names, self.where)
        image, label = (schema.field(column).type for column in (columns.image, columns.label))
        if not pa.types.is_struct(image) or not any(_is_binary(field) for field in image if field.name == "bytes"):
            rule = "must be a struct with the binary field bytes"
            raise ValueError(f"{self.where}: the column {columns.image!r} {rule}, got {image}")
        if labels is None:
            raise ValueError(f"{self.where}: the column {columns.label!r} must hold whole numbers, got {label}")
        columns.check_labels(labels, self.where)
        return len(labels)

    def rows(self, columns: Columns, count: int, scratch: Path) -> Iterator[Rows]:
        """All rows, ``count`` at a time; no scratch folder is needed."""
        import pyarrow.parquet as pq

        first = 0
        with _readable(self.where), pq.ParquetFile(self.path, buffer_size=_READ_AHEAD) as file:
            for batch in file.iter_batches(count, columns=[columns.image, columns.label]):
                images, labels = (batch[column].to_pylist() for column in (columns.image, columns.label))
                columns.check_labels(labels, self.where, first)
                yield first, images, labels
                first += len(labels)


@dataclass(frozen=True)
class HubSplit:
    """One split of a data set on the hub, whose rows can only be checked as they arrive."""

    name: str  # of the data set, for messages
    path: str
    split: str
    folder: str  # where its files would be looked for below a root

    @property
    def where(self) -> str:
        return f"{self.path} on the hub, split {self.split}"

    def facts(self) -> list[str]:
        """What it is in a fingerprint; a change on the hub is not looked for, so that later runs need no network."""
        return ["hub", self.path, self.split]

    def check(self, columns: Columns) -> None:
        """Nothing can be said without reading it."""

    def rows(self, columns: Columns, count: int, scratch: Path) -> Iterator[Rows]:
        """All rows, ``count`` at a time; lock files of ``datasets`` go to the folder ``scratch``.

        Raises:
            MissingData: without a network, a permission or such a data set.
        """
        import datasets

        first = 0
        try:
            stream = datasets.load_dataset(self.path, split=self.split, streaming=True, cache_dir=str(scratch))
        except OSError as error:
            reason = f"{self.where} could not be opened ({error})"
            raise missing(self.name, [self.folder], [f"{self.split}-*.parquet"], reason) from error
        columns.check_names(stream.column_names or next(iter(stream.take(1)), {}), self.where)
        # Undecoded: `datasets` would open a path where bytes are missing, and decode images one by one anyway.
        stream = stream.select_columns([columns.image, columns.label])
        stream = stream.cast_column(columns.image, datasets.Image(decode=False))
        with _readable(self.where):
            for batch in stream.iter(batch_size=count):
                images, labels = batch[columns.image], batch[columns.label]
                columns.check_labels(labels, self.where, first)
                yield first, images, labels
                first += len(labels)


Source = ParquetFile | HubSplit


def find_sources(name: str, path: str, folder: str, splits: Mapping[str, str]) -> dict[str, list[Source]]:
    """Where the rows of each part are, in order: all of them in one place.

    Args:
        name: for messages.
        path: of the data set on the hub.
        folder: below a root, with files ``<split>-*.parquet``.
        splits: part to split.

    Raises:
        MissingData: where the folder holds some of the splits only.
        ValueError: where numbered files of a split are not all there.
    """
    for root in filter(None, (data_root(), cache_root())):
        found = {part: sorted((root / folder).absolute().glob(f"{split}-*.parquet")) for part, split in splits.items()}
        absent = [f"{splits[part]}-*.parquet" for part in splits if not found[part]]
        if len(absent) == len(splits):
            continue
        if absent:
            raise missing(name, [folder], absent, f"{root / folder} holds other splits of it")
        for files in found.values():
            _check_numbers(files)
        return {part: [ParquetFile(file) for file in files] for part, files in found.items()}
    return {part: [HubSplit(name, path, split, folder)] for part, split in splits.items()}


def _check_numbers(files: list[Path]) -> None:
    """``train-00000-of-00002.parquet`` says that there must be another file."""
    numbers = [re.search(r"-(\d+)-of-(\d+)", file.name) for file in files]
    if not all(numbers):
        return
    got, totals = {int(found[1]) for found in numbers}, {int(found[2]) for found in numbers}
    if len(totals) > 1 or got != set(range(max(totals))) or len(files) != len(got):
        rule = f"must be numbered 0 to {max(totals) - 1}, each once"
        raise ValueError(f"the files of a split in {files[0].parent} {rule}, got {', '.join(f.name for f in files)}")


def _is_binary(field: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)


@contextlib.contextmanager
def _readable(where: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's own complaint
        raise ValueError(f"{where} cannot be read: {type(error).__name__}: {error}") from error
