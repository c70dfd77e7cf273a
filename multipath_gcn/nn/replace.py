import copy
from collections.abc import Callable

from torch import nn


def replaced(model: nn.Module, make: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """A copy of ``model`` with other modules in the place of some, the outermost first; ``model`` is not changed.

    Args:
        model: any network.
        make: gives the module that stands for another in the copy, or None for a plain copy.
    """
    copies: dict[int, nn.Module] = {}  # what a deep copy finds made already, by id

    def visit(module: nn.Module) -> None:
        if id(module) in copies:
            return
        new = make(module)
        if new is None:
            for child in module.children():
                visit(child)
        else:
            copies[id(module)] = new

    visit(model)
    return copy.deepcopy(model, copies)


def computes_as(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether ``module`` is of one of these kinds, and no subclass that computes something else."""
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)
