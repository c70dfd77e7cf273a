"""Channels removed from any model, proven to be the removal of their weights."""

from multipath_gcn.prune.adaptive import AdaptivePruning
from multipath_gcn.prune.beta_lasso import BetaLasso
from multipath_gcn.prune.budget import Budget, Cost, cost
from multipath_gcn.prune.channels import ChannelGroup, Channels
from multipath_gcn.prune.compress import Method, Pruned, compress
from multipath_gcn.prune.cut import cut
from multipath_gcn.prune.cut_branches import plan_branches
from multipath_gcn.prune.cut_paths import plan_paths
from multipath_gcn.prune.errors import CannotPrune
from multipath_gcn.prune.find import find_channels
from multipath_gcn.prune.inactive import by_inactivity, selectivity
from multipath_gcn.prune.lasso import LassoReconstruction, Reconstruction, reconstruct
from multipath_gcn.prune.layers import LayerChange, layer_changes
from multipath_gcn.prune.locality import Locality, locality
from multipath_gcn.prune.magnitude import by_chance, by_magnitude, by_norm_scale, magnitude, norm_scale
from multipath_gcn.prune.measures import inactive_scales, nonzeros
from multipath_gcn.prune.order import Order
from multipath_gcn.prune.plan import Plan
from multipath_gcn.prune.reestimate import reestimate_norms
from multipath_gcn.prune.repack import Repacked, repack
from multipath_gcn.prune.resize import resizes
from multipath_gcn.prune.self_grouping import Grouping, self_group
from multipath_gcn.prune.self_grouping_stages import SelfGrouping
from multipath_gcn.prune.similarity import Similarity
from multipath_gcn.prune.staged import Compressed, StagedMethod, Train
from multipath_gcn.prune.store import cut_as_saved, load_pruned, save_pruned
from multipath_gcn.prune.torch_pruning import GroupImportance, by_torch_pruning
from multipath_gcn.prune.verify import Verification, verify

__all__ = [
    "AdaptivePruning",
    "BetaLasso",
    "Budget",
    "CannotPrune",
    "ChannelGroup",
    "Channels",
    "Compressed",
    "Cost",
    "GroupImportance",
    "Grouping",
    "LassoReconstruction",
    "LayerChange",
    "Locality",
    "Method",
    "Order",
    "Plan",
    "Pruned",
    "Reconstruction",
    "Repacked",
    "SelfGrouping",
    "Similarity",
    "StagedMethod",
    "Train",
    "Verification",
    "by_chance",
    "by_inactivity",
    "by_magnitude",
    "by_norm_scale",
    "by_torch_pruning",
    "compress",
    "cost",
    "cut",
    "cut_as_saved",
    "find_channels",
    "inactive_scales",
    "layer_changes",
    "load_pruned",
    "locality",
    "magnitude",
    "nonzeros",
    "norm_scale",
    "plan_branches",
    "plan_paths",
    "reconstruct",
    "reestimate_norms",
    "repack",
    "resizes",
    "save_pruned",
    "selectivity",
    "self_group",
    "verify",
]
