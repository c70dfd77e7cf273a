"""One run of a model under watch: every operator says what it does to the channels of parameters."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from multipath_gcn.prune.arguments import positional
from multipath_gcn.prune.evaluation import evaluating
from multipath_gcn.prune.labels import BLANK, Call, Dim, Event, Labels, Read
from multipath_gcn.prune.relations import Relations
from multipath_gcn.prune.rules import rule_of
from multipath_gcn.prune.uneven import may_be_uneven

UNSUPPORTED = "is an operator without a rule for channels"


class Trace(TorchDispatchMode):
    """Follows channels through the operators of one call.

    Args:
        model: whose parameters and buffers have the channels.
        choices: for operators that might lay channels out in several ways, by their number in the run, which of
            them is taken; the first where none is given, and none at all where the number is too large.
        forbidden: operators that were found not to do with fewer channels, and why.
    """

    def __init__(
        self, model: nn.Module, choices: Mapping[int, int] | None = None, forbidden: Mapping[str, str] | None = None
    ):
        super().__init__()
        self.relations, self.choices, self.forbidden = Relations(), dict(choices or {}), dict(forbidden or {})
        self.events: list[Event] = []
        self.joined: list[tuple[Tensor, Tensor]] = []  # of tensors laid beside each other: what reads one reads both
        self.reads: dict[str, Read] = {}  # by the weight that reads
        self.sites: list[tuple[str, int]] = []  # operators with a choice, and among how many
        self._names: dict[int, str] = {}
        self._known: dict[int, tuple[Tensor, Labels]] = {}
        self._path: list[str] = []
        self._layers = dict(model.named_modules())
        self._modules = {module: name for name, module in model.named_modules()}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            self._own(name, tensor)

    def _own(self, name: str, tensor: Tensor) -> None:
        if not tensor.is_floating_point() or tensor.layout != torch.strided:
            return
        self._names[id(tensor)] = name
        first = 1 if tensor.dim() > 2 and tensor.size(0) == 1 else 0
        alone = sum(size > 1 for size in tensor.shape) == 1 and tensor.numel() not in tensor.shape[:2]
        # of a convolution's weight not the places
        last = tensor.dim() if (tensor.dim() < 4 and first == 1) or alone else 2
        dims = [
            self.relations.own(name, dim, size) if size > 1 and (dim < last) else None
            for dim, size in enumerate(tensor.shape)
        ]
        self._known[id(tensor)] = tensor, Labels(tuple(dims))

    def labels(self, tensor: Tensor) -> Labels:
        known = self._known.get(id(tensor))
        return Labels.all(tensor) if known is None else known[1]

    def note(self, kind: str, ids: Dim, *names: Tensor | None) -> None:
        """Notes what happens to channels: see :class:`Event`."""
        if isinstance(ids, Tensor):
            self.events.append(Event(kind, ids, tuple(self._names.get(id(tensor)) for tensor in names)))

    def join(self, all_ids: Iterable[Dim]) -> None:
        """Notes that channels of several tensors, such as the columns of weights, go on as those of the first."""
        known = [ids for ids in all_ids if isinstance(ids, Tensor)]
        self.joined += [(known[0], other) for other in known[1:]]

    def read(self, call: Call, weight: Tensor, read: Read) -> None:
        """Notes that each filter of ``weight`` reads some of these channels: each may go by itself, see ``cut``."""
        name, rows = self._names.get(id(weight)), self.labels(weight).dims[0]
        names = [name] if name is not None else self._owners(rows)
        if not names or (read.groups and not all(isinstance(self._layer_of(name), _ConvNd) for name in names)):
            for ids in (read.ids, rows):
                call.pin(ids, "has a weight that is no parameter of a convolution")
            return
        if read.groups and not all(self._may_be_uneven(name) for name in names):
            for ids in (read.ids, rows):
                if isinstance(ids, Tensor):
                    grid = ids.view(read.groups, -1)
                    self.relations.unite(grid, grid[:1])
        for name in names:
            before = self.reads.setdefault(name, read)
            if before is not read:
                call.match(before.ids, read.ids)

    def _may_be_uneven(self, name: str) -> bool:
        """Whether :mod:`.cut_groups` can make it uneven; depthwise weights always stay even."""
        layer = self._layer_of(name)
        return may_be_uneven(layer) or layer.weight.size(1) == 1

    def _layer_of(self, name: str) -> nn.Module | None:
        return self._layers.get(name.rpartition(".")[0])

    def _owners(self, ids: Dim) -> list[str]:
        """The parameters of which a weight was put together."""
        if not isinstance(ids, Tensor):
            return []
        return [
            owner.name
            for owner in self.relations.owners
            if ((ids >= owner.first) & (ids < owner.first + owner.size)).any()
        ]

    def choose(self, call: Call, candidates: list[int]) -> int | None:
        site = len(self.sites)
        self.sites.append((f"{call.op} in {call.where}", len(candidates)))
        chosen = self.choices.get(site, 0)
        return candidates[chosen] if chosen < len(candidates) else None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if rule_of(func) is None and func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd):
            with self:
                return func.decompose(*args, **kwargs)
        out = func(*args, **kwargs)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        outs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if all(self.labels(tensor).blank for tensor in given):
            for tensor in outs:
                self._known[id(tensor)] = tensor, Labels.all(tensor, BLANK)
        elif func._schema.name == "aten::expand" or any(self.labels(tensor).told for tensor in given):
            only = {a.name for a in func._schema.arguments if a.kwarg_only}
            call = Call(
                func._schema.name,
                self.where,
                func,
                positional(func, args, kwargs),
                {name: value for name, value in kwargs.items() if name in only},
                out,
                self.relations,
                self,
            )
            self._note(call, outs)
        else:
            for tensor in outs:
                self._known[id(tensor)] = tensor, Labels.all(tensor)
        return out

    def _note(self, call: Call, outs: list[Tensor]) -> None:
        rule = rule_of(call.function)
        if rule is None:
            for leaf in tree_leaves((call.args, call.kwargs)):
                if isinstance(leaf, Tensor):
                    call.pin_all(self.labels(leaf), UNSUPPORTED)
            found: list[Labels] = []
        else:
            given = rule(call)
            found = given if isinstance(given, list) else [given]
        why = self.forbidden.get(f"{call.op} in {call.where}")
        for leaf in tree_leaves((call.args, call.kwargs)) if why else ():
            if isinstance(leaf, Tensor):
                for ids in self.labels(leaf).dims:
                    if isinstance(ids, Tensor):
                        self.relations.pin(ids, why)
        for i, tensor in enumerate(outs):
            labels = found[i] if i < len(found) and len(found[i].dims) == tensor.dim() else Labels.all(tensor)
            self._known[id(tensor)] = tensor, labels

    @property
    def where(self) -> str:
        return f"{self._path[-1]!r}" if self._path and self._path[-1] else "the model"

    @contextmanager
    def _following(self):
        def enter(module: nn.Module, _: Any) -> None:
            if module in self._modules:
                self._path.append(self._modules[module])

        def leave(module: nn.Module, *_: Any) -> None:
            if module in self._modules:
                self._path.pop()

        with ExitStack() as stack:
            for handle in (
                hooks.register_module_forward_pre_hook(enter),
                hooks.register_module_forward_hook(leave, always_call=True),
            ):
                stack.callback(handle.remove)
            yield

    def run(self, model: nn.Module, inputs: tuple) -> Any:
        """Calls the model in evaluation mode, on the path that training takes, and holds its output fast."""
        with evaluating(model), torch.enable_grad(), self._following(), self:
            y = model(*inputs)
        if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(y)):
            raise ValueError(
                f"its output must be a tensor, or tensors in tuples, lists and dicts, got {type(y).__name__}"
            )
        for leaf in tree_leaves(y):
            if isinstance(leaf, Tensor):
                for ids in self.labels(leaf).dims:
                    if isinstance(ids, Tensor):
                        self.relations.pin(ids, "it is the output of the model")
        return y
