"""Every wrong argument of propagate and activate, alone and together, is a ValueError that names one of them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multipath_gcn.graph import Graph
from multipath_gcn.ops import activate, combine, keep_product, propagate

REDUCTIONS = ("sum", "mean", "max", "min")
SEED = torch.tensor(77)
GRAPH = Graph.normalized(torch.tensor([[0, 1, 2], [1, 2, 0]]), num_nodes=3)
WRONG = {
    "rows": lambda a: a | {"x": torch.randn(4, 5)},
    "one dimension": lambda a: a | {"x": torch.randn(3)},
    "no dimension": lambda a: a | {"x": torch.tensor(1.0)},
    "type": lambda a: a | {"x": torch.ones(3, 5).long()},
    "half": lambda a: a | {"x": torch.ones(3, 5).half()},
    "complex": lambda a: a | {"x": torch.ones(3, 5, dtype=torch.complex64)},
    "sparse": lambda a: a | {"x": torch.eye(3).to_sparse()},
    "not a tensor": lambda a: a | {"x": [[1.0]]},
    "device": lambda a: a | {"x": torch.ones(3, 5, device="meta")},
    "graph": lambda a: a | {"graph": torch.eye(3)},
    "graph's device": lambda a: a | {"graph": GRAPH.to("meta")},
    "reduce": lambda a: a | {"reduce": "median"},
    "bias's shape": lambda a: a | {"bias": torch.ones(4)},
    "bias's dimensions": lambda a: a | {"bias": torch.ones(1, 5)},
    "bias's device": lambda a: a | {"bias": torch.ones(5, device="meta")},
    "activation": lambda a: a | {"activation": "tanh"},
    "p of 1": lambda a: a | {"dropout": 1.0},
    "p below 0": lambda a: a | {"dropout": -0.1},
    "p not a number": lambda a: a | {"dropout": math.nan},
    "p a word": lambda a: a | {"dropout": "half"},
    "seed's type": lambda a: a | {"seed": torch.tensor(1.0)},
    "seed's shape": lambda a: a | {"seed": torch.tensor([1, 2])},
    "seed's device": lambda a: a | {"seed": torch.tensor(1, device="meta")},
}
RIGHT = dict(
    graph=GRAPH, x=torch.randn(3, 5), reduce="sum", bias=torch.ones(5), activation="relu", dropout=0.5, seed=SEED
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(list(WRONG)), max_size=3), st.sampled_from(REDUCTIONS))
def test_calls_take_what_is_legal_and_name_what_is_not(wrong, reduce):
    arguments = RIGHT | {"reduce": reduce}
    for name in wrong:
        arguments = WRONG[name](arguments)
    names = r"^(graph|x|reduce|bias|activation|dropout|seed) must .*, got "
    graph, x, reduce = (arguments.pop(name) for name in ("graph", "x", "reduce"))
    if not wrong:
        assert propagate(graph, x, reduce, **arguments).shape == activate(x, **arguments).shape == (3, 5)
    else:
        with pytest.raises(ValueError, match=names):
            propagate(graph, x, reduce, **arguments)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in WRONG
        if name not in ("rows", "one dimension", "not a tensor", "device") and not name.startswith(("graph", "reduce"))
    ],
)
def test_activate_refuses(name):
    arguments = {key: value for key, value in WRONG[name](RIGHT).items() if key not in ("graph", "reduce")}
    with pytest.raises(ValueError, match=r"^(x|bias|activation|dropout|seed) must .*, got "):
        activate(**arguments)


@pytest.mark.parametrize(("name", "value"), [("bias", [1.0, 2.0]), ("seed", 3)])
def test_what_is_no_tensor_is_refused_by_name(name, value):
    graph = Graph.normalized(torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
    with pytest.raises(ValueError, match=f"{name} must be a tensor or None, got {type(value).__name__}"):
        propagate(graph, torch.randn(2, 2), dropout=0.5, **{name: value})


@pytest.mark.parametrize("value", [None, [1.0, 2.0]])
def test_activate_refuses_what_is_no_tensor(value):
    with pytest.raises(ValueError, match=f"x must be a tensor, got {type(value).__name__}"):
        activate(value)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (torch.ones(2, 2), "parts must be a list of tensors, got Tensor"),
        ([torch.ones(2), 1.0], "parts must be a tensor, got float"),
        ([], "parts must hold at least one tensor, got none"),
    ],
)
def test_combine_refuses(parts, message):
    with pytest.raises(ValueError, match=message):
        combine(parts)


@pytest.mark.parametrize("shape", [(3, 9), (2, 4), (3,)])
def test_a_product_is_continued_only_from_the_first_columns(shape):
    with pytest.raises(ValueError, match="base must be the first columns of x, both of two dimensions, got "):
        keep_product(GRAPH, torch.randn(3, 5), torch.randn(shape))
