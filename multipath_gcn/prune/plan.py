"""What is removed together: a record that a model is cut by, now or when it is loaded again."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Plan:
    """Which positions of which tensors stay.

    Args:
        removed: for every group of channels, by the name of its first layer, the numbers that go.
        kept: for every parameter and buffer that changes, by dimension, the positions that stay, in order.
        grouped: for every weight of a grouped convolution of which something goes, the input channels that stay (of all
            ``channels``), and its groups.
        windowed: the same for every weight whose filters read windows of channels.
        paths: the numbers of whole paths that go, by the name of their :class:`~multipath_gcn.nn.MultiPathGCN`.
        regrouped: for every weight of a convolution that becomes one in groups, after ``kept``: of each group the
            number of its filters, which follow each other, and the input channels they read; and, where outputs must
            stay in their order, of every output channel its place among the filters.
        branches: the names of residual blocks whose branch goes.

    Positions in ``kept`` that are not ascending move channels.
    """

    removed: dict[str, list[int]]
    kept: dict[str, dict[int, list[int]]]
    grouped: dict[str, dict[str, Any]] = field(default_factory=dict)
    windowed: dict[str, dict[str, Any]] = field(default_factory=dict)
    paths: dict[str, list[int]] = field(default_factory=dict)
    regrouped: dict[str, dict[str, Any]] = field(default_factory=dict)
    branches: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Plan":
        """Reads what :meth:`to_json` gave, through JSON, whose keys are strings."""
        kept = {name: {int(dim): list(at) for dim, at in dims.items()} for name, dims in record["kept"].items()}
        later = {name: record[name] for name in ("paths", "regrouped", "branches") if name in record}
        return cls(record["removed"], kept, record["grouped"], record["windowed"], **later)

    @property
    def count(self) -> int:
        """Channels removed, those of layers that are added counted once."""
        return sum(map(len, self.removed.values()))
