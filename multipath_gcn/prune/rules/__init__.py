"""What operators do to channels: they move, unite, or read them. One without a rule holds them fast."""

from multipath_gcn.prune.rules import contract, graphs, move, pointwise, reduce, windows
from multipath_gcn.prune.rules.registry import RULES, Rule, rule_of

__all__ = ["RULES", "Rule", "contract", "graphs", "move", "pointwise", "reduce", "rule_of", "windows"]
