"""Baselines, and what makes them comparable."""

from multipath_gcn.models.gcn import GCN, ResGCN
from multipath_gcn.models.match_width import build_matched, count_parameters, match_width

__all__ = ["GCN", "ResGCN", "build_matched", "count_parameters", "match_width"]
