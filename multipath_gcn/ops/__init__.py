"""Operators on tensors and graphs."""

from multipath_gcn.ops.propagate import propagate

__all__ = ["propagate"]
