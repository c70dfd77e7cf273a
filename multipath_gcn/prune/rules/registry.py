from collections.abc import Callable

import torch

from multipath_gcn.prune.labels import Call, Labels

Rule = Callable[[Call], "Labels | list[Labels] | None"]
RULES: dict[str, Rule] = {}


def rule(*operators: str) -> Callable[[Rule], Rule]:
    """The rule of these operators, named as their schemas are."""

    def register(function: Rule) -> Rule:
        for operator in operators:
            RULES[operator if "::" in operator else f"aten::{operator}"] = function
        return function

    return register


def rule_of(function: torch._ops.OpOverload) -> Rule | None:
    name = function._schema.name
    if name not in RULES and torch.Tag.pointwise in function.tags:
        return RULES["aten::add"]
    return RULES.get(name)
