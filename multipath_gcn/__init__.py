"""Multipath graph networks and windowed channel transforms for PyTorch Geometric."""

__version__ = "0.1.0"
