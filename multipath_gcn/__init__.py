"""Multipath graph networks and windowed channel transforms for PyTorch Geometric."""

from multipath_gcn._build_info import BuildInfo, build_info

__all__ = ["BuildInfo", "build_info"]
__version__ = "0.1.0"
