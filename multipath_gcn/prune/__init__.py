"""Channels removed from any model, proven to be the removal of their weights."""

from multipath_gcn.prune.budget import Budget, Cost, cost
from multipath_gcn.prune.channels import ChannelGroup, Channels
from multipath_gcn.prune.compress import Method, Pruned, compress
from multipath_gcn.prune.cut import cut
from multipath_gcn.prune.cut_paths import plan_paths
from multipath_gcn.prune.errors import CannotPrune
from multipath_gcn.prune.find import find_channels
from multipath_gcn.prune.lasso import LassoReconstruction, Reconstruction, reconstruct
from multipath_gcn.prune.layers import LayerChange, layer_changes
from multipath_gcn.prune.magnitude import by_chance, by_magnitude, by_norm_scale, magnitude, norm_scale
from multipath_gcn.prune.order import Order
from multipath_gcn.prune.plan import Plan
from multipath_gcn.prune.reestimate import reestimate_norms
from multipath_gcn.prune.resize import resizes
from multipath_gcn.prune.similarity import Similarity
from multipath_gcn.prune.store import cut_as_saved, load_pruned, save_pruned
from multipath_gcn.prune.torch_pruning import GroupImportance, by_torch_pruning
from multipath_gcn.prune.verify import Verification, verify

__all__ = [
    "Budget",
    "CannotPrune",
    "ChannelGroup",
    "Channels",
    "Cost",
    "GroupImportance",
    "LassoReconstruction",
    "LayerChange",
    "Method",
    "Order",
    "Plan",
    "Pruned",
    "Reconstruction",
    "Similarity",
    "Verification",
    "by_chance",
    "by_magnitude",
    "by_norm_scale",
    "by_torch_pruning",
    "compress",
    "cost",
    "cut",
    "cut_as_saved",
    "find_channels",
    "layer_changes",
    "load_pruned",
    "magnitude",
    "norm_scale",
    "plan_paths",
    "reconstruct",
    "reestimate_norms",
    "resizes",
    "save_pruned",
    "verify",
]
