"""The arguments of an operator's call, with the defaults that the caller left out."""

from typing import Any

import torch


def positional(function: torch._ops.OpOverload, args: tuple, kwargs: dict[str, Any]) -> tuple:
    """All positional arguments that the schema has, in its order."""
    declared = [argument for argument in function._schema.arguments if not argument.kwarg_only]
    rest = (kwargs.get(argument.name, argument.default_value) for argument in declared[len(args) :])
    return (*args, *rest)
