"""One file that holds a run between two epochs: what has a state, every random generator, and the loop's own record."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from multipath_gcn.files import set_aside, write_atomically

T = TypeVar("T")


class CorruptCheckpoint(RuntimeError):
    """The checkpoint cannot be read; the message tells where it is kept."""


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> object: ...


class Checkpoint:
    """``checkpoint.pt`` in a run directory.

    Args:
        directory: the run directory, which exists.
        parts: the objects whose state is saved and restored, by name.
    """

    def __init__(self, directory: Path, parts: dict[str, Stateful]):
        self.path, self.parts = directory / "checkpoint.pt", parts

    def save(self, record: dict[str, Any]) -> None:
        """Replaces the file in one step, so that a kill at any moment leaves the old or the new one."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        content = {"parts": state, "generators": _generators(), "record": record}
        write_atomically(self.path, lambda file: torch.save(content, file))

    def load(self, device: torch.device, read: Callable[[dict[str, Any]], T]) -> T | None:
        """Restores parts and generators and returns the record as ``read``; ``None`` where there is no file.

        Raises:
            CorruptCheckpoint: if the file cannot be read. It is renamed, so that the next start begins anew.
        """
        if not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location=device, weights_only=True)
            for name, part in self.parts.items():
                part.load_state_dict(content["parts"][name])
            record = read(content["record"])
            _restore(content["generators"])
        except Exception as error:  # torch.load raises nearly any type on a damaged file
            kept = set_aside(self.path)
            raise CorruptCheckpoint(
                f"checkpoint {self.path} cannot be read ({type(error).__name__}: {error}); it is kept as {kept.name}, "
                "and the next start begins at epoch 1"
            ) from error
        return record


def _generators() -> dict[str, Any]:
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "python": random.getstate(),
    }


def _restore(generators: dict[str, Any]) -> None:
    torch.set_rng_state(generators["torch"].cpu())
    for device, state in zip(range(torch.cuda.device_count()), generators["cuda"], strict=False):  # here may be fewer
        torch.cuda.set_rng_state(state.cpu(), device)
    kind, keys, *rest = generators["numpy"]
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), *rest))
    random.setstate(generators["python"])
