import copy
import pickle

import graphs
import pytest
import torch
from torch import nn
from torch_geometric.nn import GCNConv, summary

from multipath_gcn.graph import Graph
from multipath_gcn.models import count_parameters
from multipath_gcn.nn import MultiPathGCN

X = torch.randn(graphs.N, 5)


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        (dict(in_channels=1433, hidden_channels=128, out_channels=7, stem=2, paths=((128,), ())), 217_479),
        (dict(in_channels=3703, hidden_channels=256, out_channels=6, paths=((256,), (256,))), 1_081_350),
        (dict(in_channels=168, hidden_channels=256, out_channels=40), 316_840),
        (dict(in_channels=8, hidden_channels=256, out_channels=112, paths=((256,) * 4, (256,) * 2)), 425_840),
    ],
)
def test_parameter_counts_of_the_released_networks(arguments, parameters):
    assert count_parameters(MultiPathGCN(**arguments)) == parameters


class HandWritten(nn.Module):
    """Stem of two, paths (8, 4), (4,) and the identity, written out with PyG's layer."""

    def __init__(self, combine):
        super().__init__()
        self.stem1, self.stem2 = GCNConv(5, 4), GCNConv(4, 4)
        self.deep1, self.deep2, self.short = GCNConv(4, 8), GCNConv(8, 4), GCNConv(4, 4)
        self.head = nn.Linear(12 if combine == "concat" else 4, 3)
        self.attention = nn.Linear(4, 1, bias=False)
        self.combine = combine

    def forward(self, x, edge_index):
        h = self.stem2(self.stem1(x, edge_index).relu(), edge_index).relu()
        a = self.deep2(self.deep1(h, edge_index).relu(), edge_index).relu()
        b = self.short(h, edge_index).relu()
        if self.combine == "sum":
            out = a + b + h
        elif self.combine == "mean":
            out = (a + b + h) / 3
        elif self.combine == "max":
            out = torch.maximum(torch.maximum(a, b), h)
        elif self.combine == "concat":
            out = torch.cat([a, b, h], dim=1)
        else:
            weight = torch.cat([self.attention(part) for part in (a, b, h)], dim=1).softmax(dim=1)
            out = weight[:, :1] * a + weight[:, 1:2] * b + weight[:, 2:] * h
        return self.head(out)


@pytest.mark.parametrize("combine", ["sum", "mean", "max", "concat", "attention"])
def test_equals_a_hand_written_pyg_network(combine):
    theirs = HandWritten(combine).double()
    ours = MultiPathGCN(5, 4, 3, paths=((8, 4), (4,), ()), stem=2, combine=combine).double()
    layers = [theirs.stem1, theirs.stem2, theirs.deep1, theirs.deep2, theirs.short]
    blocks = [*ours.stem, *ours.paths[0], *ours.paths[1]]
    for block, layer in zip(blocks, layers, strict=True):
        nn.init.normal_(layer.bias)
        block.conv.load_state_dict(layer.state_dict())
    ours.readout.load_state_dict(theirs.head.state_dict())
    if combine == "attention":
        ours.attention.load_state_dict(theirs.attention.state_dict())
    x = X.double()
    torch.testing.assert_close(ours(x, graphs.SIMPLE), theirs(x, graphs.SIMPLE), rtol=1e-6, atol=1e-6)
    ours(x, graphs.SIMPLE).square().sum().backward()
    theirs(x, graphs.SIMPLE).square().sum().backward()
    for block, layer in zip(blocks, layers, strict=True):
        torch.testing.assert_close(block.conv.lin.weight.grad, layer.lin.weight.grad)
        torch.testing.assert_close(block.conv.bias.grad, layer.bias.grad)


@pytest.mark.parametrize("form", graphs.forms(graphs.MULTI))
def test_every_form_gives_the_same(form):
    model = MultiPathGCN(5, 4, 3)
    expected = model(X, Graph.normalized(graphs.MULTI, num_nodes=graphs.N))
    torch.testing.assert_close(model(X, *graphs.forms(graphs.MULTI)[form]), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        dict(norm="batch"),
        dict(norm="layer"),
        dict(residual=True),
        dict(act="elu"),
        dict(act=None),
        dict(act=nn.ReLU(inplace=True)),
        dict(aggr="mean"),
        dict(aggr="max"),
        dict(dropout=0.5, input_dropout=0.5),
        dict(readout="gcn"),
        dict(stem=0, paths=((4,), (3, 4))),
        dict(paths=((),), stem=0),
        dict(combine="concat", paths=((3,), (7, 2))),
        dict(transform="grouped", paths=((8, 4), (4,), ())),
        dict(transform="sliding", paths=((3,), (6, 7), (2,)), groups=1, overlap=0.25, combine="concat"),
        dict(transform="sliding", stem_transform="grouped", groups=2, overlap="1/3", paths=((4,), (4,)), in_channels=6),
        dict(transform="grouped", stem=0, groups=3, paths=((6,), (3, 6)), in_channels=6),
        dict(stem_transform="sliding", groups=5, hidden_channels=10),
    ],
)
def test_every_option_trains_and_resets(options):
    torch.manual_seed(0)
    model = MultiPathGCN(**dict(in_channels=5, hidden_channels=4, out_channels=3) | options)
    x = torch.randn(graphs.N, model.in_channels)
    torch.manual_seed(0)
    model(x, graphs.SIMPLE).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.eval()(x, graphs.SIMPLE).shape == (graphs.N, 3)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(1)
    model.reset_parameters()
    assert any(not torch.equal(state[key], value) for key, value in model.state_dict().items())


def test_lazy_width_dropout_and_weights():
    model = MultiPathGCN(-1, 4, 3, dropout=0.5, input_dropout=0.5)
    with pytest.raises(ValueError, match=r"initialised before its parameters are counted, lazy: \['stem.0"):
        count_parameters(model)
    weight = torch.rand(graphs.SIMPLE.size(1))
    assert not torch.equal(model(X, graphs.SIMPLE, weight), model(X, graphs.SIMPLE, weight))
    model.eval()
    assert torch.equal(model(X, graphs.SIMPLE, weight), model(X, graphs.SIMPLE, weight))
    assert not torch.allclose(model(X, graphs.SIMPLE, weight), model(X, graphs.SIMPLE))
    assert str(model) == "MultiPathGCN(-1, 4, 3, stem=1, paths=((4, 4, 4), (2, 4)), combine='sum')"


def test_pyg_can_summarise_it():
    pytest.importorskip("tabulate")
    assert "GCNBlock" in summary(MultiPathGCN(5, 4, 3), X, graphs.SIMPLE)


def test_residual_adds_the_input_where_widths_agree():
    plain, skip = (MultiPathGCN(5, 5, 3, paths=((5,),), residual=r) for r in (False, True))
    skip.load_state_dict(plain.state_dict())
    graph = Graph.normalized(graphs.SIMPLE, num_nodes=graphs.N)
    torch.testing.assert_close(skip.stem[0](X, graph), X + plain.stem[0](X, graph))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(paths=((4,), (3,))), r"paths must end in equal widths for combine='sum', got \[4, 3\]"),
        (dict(paths=((5,), ())), r"paths must end in equal widths for combine='sum', got \[5, 4\]"),
        (dict(paths=()), "paths must hold at least one path"),
        (dict(paths=((0,),)), "every width in paths must be an integer of at least 1, got 0"),
        (dict(paths=3), "paths must be a sequence with a sequence of widths for each path, got 3"),
        (dict(in_channels=0), "in_channels must be an integer of at least 1, got 0"),
        (dict(out_channels=0), "out_channels must be an integer of at least 1, got 0"),
        (dict(hidden_channels=1.5), "hidden_channels must be an integer of at least 1, got 1.5"),
        (dict(dropout="abc"), r"dropout must lie in \[0, 1\), got 'abc'"),
        (dict(stem=-1), "stem must be 0 or more layers, got -1"),
        (dict(combine="product"), "combine must be one of .* got 'product'"),
        (dict(readout="mlp"), "readout must be one of .* got 'mlp'"),
        (dict(norm="group"), "norm must be one of .* got 'group'"),
        (dict(dropout=1.0), r"dropout must lie in \[0, 1\), got 1.0"),
        (dict(input_dropout=-0.1), r"input_dropout must lie in \[0, 1\), got -0.1"),
        (dict(in_channels=-1, stem=0, paths=((), (4,))), r"in_channels must be known \(got -1\)"),
        (dict(hidden_channels=0), "hidden_channels must be an integer of at least 1, got 0"),
        (dict(transform="diagonal"), "transform must be one of .*, got 'diagonal'"),
        (dict(stem_transform="diagonal"), "stem_transform must be one of .*, got 'diagonal'"),
        (dict(groups=2), "groups must be None for transform='dense', got 2"),
        (dict(overlap=0.5), "overlap must be None for transform='dense', got 0.5"),
        (dict(transform="grouped", overlap=0.5), "overlap must be None for transform='grouped', got 0.5"),
        (dict(transform="grouped", groups=3), r"hidden_channels \(4\) must be divisible by groups \(3\)"),
        (dict(transform="sliding", groups=0), "groups must be an integer .*, got 0"),
        (dict(transform="sliding", overlap=1.0), r"overlap must be a number in \[0, 1\).* got 1.0"),
        (dict(transform="sliding", paths=((3, 4),)), r"every width in paths \(3\) must be divisible by groups \(2\)"),
        (dict(transform="grouped", paths=((4, 3),)), r"every width in paths \(3\) must be divisible by groups \(2\)"),
        (dict(stem_transform="sliding"), r"in_channels \(5\) must be divisible by groups \(2\)"),
        (dict(stem_transform="grouped", groups=5), r"hidden_channels \(4\) must be divisible by groups \(5\)"),
        (
            dict(stem_transform="sliding", in_channels=-1),
            r"in_channels must be known \(got -1\) for a sliding transform",
        ),
        (
            dict(stem_transform="grouped", stem=0),
            r"stem_transform must be None without a stem \(stem=0\), got 'grouped'",
        ),
        (
            dict(transform="sliding", paths=((),)),
            r"transform must be 'dense' where no path has a layer \(see stem_transform\), got 'sliding'",
        ),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        MultiPathGCN(**(dict(in_channels=5, hidden_channels=4, out_channels=3) | options))


def test_refuses_a_pair_of_feature_matrices():
    with pytest.raises(ValueError, match="x must be one tensor of node features, got a tuple of 2"):
        MultiPathGCN(5, 4, 3)((X, X), graphs.SIMPLE)


@pytest.mark.parametrize("paths", [None, ((), (8,))])
def test_sparse_features_are_the_dense_ones(paths):
    x = torch.nn.functional.dropout(torch.rand(graphs.N, 5), 0.7)
    model = MultiPathGCN(-1, 8, 3, paths=paths)
    grads = []
    for form in (x, x.to_sparse_csr()):
        model.zero_grad()
        out = model(form, graphs.SIMPLE)
        out.square().sum().backward()
        grads.append([out.detach(), *(p.grad.clone() for p in model.parameters())])
    for dense, sparse in zip(*grads, strict=True):
        torch.testing.assert_close(sparse, dense)


def test_sparse_features_at_every_precision():
    x = torch.nn.functional.dropout(torch.rand(graphs.N, 5), 0.7).to_sparse_csr()
    model = MultiPathGCN(5, 8, 3)
    expected = model(x, graphs.SIMPLE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(model(x, graphs.SIMPLE).float(), expected, rtol=0.05, atol=0.05)
    for dtype in (torch.bfloat16, torch.float64):
        found = model.to(dtype)(x.to(dtype), graphs.SIMPLE)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)


def test_sparse_features_meet_an_identity_path_at_the_input():
    x = torch.nn.functional.dropout(torch.rand(graphs.N, 5), 0.7)
    model = MultiPathGCN(5, 8, 3, stem=0, paths=((), (5,)))
    torch.testing.assert_close(model(x.to_sparse_csr(), graphs.SIMPLE), model(x, graphs.SIMPLE))


def test_batch_norm_sees_channels_in_a_batch_of_feature_matrices():
    model = MultiPathGCN(6, 6, 3, norm="batch").eval()
    for block in model.stem:
        block.norm.running_mean.copy_(torch.arange(6.0))
    batch = torch.randn(2, graphs.N, 6)
    torch.testing.assert_close(model(batch, graphs.SIMPLE)[1], model(batch[1], graphs.SIMPLE))


def test_layers_do_not_share_an_activation_and_reset_it():
    model = MultiPathGCN(5, 4, 3, act=nn.PReLU())
    acts = [block.act for block in [*model.stem, *model.paths[0]]]
    assert len({id(act.weight) for act in acts}) == len(acts)
    nn.init.constant_(acts[0].weight, 9.0)
    model.reset_parameters()
    assert acts[0].weight.item() == 0.25


CHANNELS = [dict(transform="grouped", groups=4), dict(transform="sliding", groups=2, overlap=0.25)]


def called_one_by_one(model):
    """A copy whose layers do not run as one: a hook on each expects to be called."""
    model = copy.deepcopy(model)
    for path in model.paths:
        for block in path:
            block.conv.register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize("options", [{}, *CHANNELS], ids=str)
@pytest.mark.parametrize("paths", [None, ((8, 8), (4, 8), (8,), ())], ids=str)
def test_first_layers_that_run_as_one_change_nothing(paths, options):
    model = MultiPathGCN(5, 8, 3, paths=paths, dropout=0.5, norm="batch", residual=True, **options).double()
    other = called_one_by_one(model)
    x, outputs = X.double().requires_grad_(), []
    for network in (model, other):
        torch.manual_seed(1)  # the same values are dropped in both
        y = network(x, graphs.SIMPLE)
        outputs.append([y, *torch.autograd.grad(y.square().sum(), [x, *network.parameters()])])
    torch.testing.assert_close(outputs[0], outputs[1])


@pytest.mark.parametrize("options", CHANNELS, ids=str)
def test_channel_transforms_are_dense_ones_with_zeros(options):
    model = MultiPathGCN(5, 8, 3, **options).double()
    state = model.state_dict()
    for name, layer in model.named_modules():
        if hasattr(layer, "windows"):
            reads = torch.as_tensor(layer.windows.start.copy())[:, None] + torch.arange(layer.windows.width)
            zeros = torch.zeros(layer.out_channels, layer.in_channels, dtype=torch.float64)
            state[f"{name}.weight"] = zeros.scatter(1, reads % layer.in_channels, layer.weight.detach())
    dense = MultiPathGCN(5, 8, 3).double()
    dense.load_state_dict(state)
    torch.testing.assert_close(model(X.double(), graphs.SIMPLE), dense(X.double(), graphs.SIMPLE))


def test_published_names_of_the_parameters():
    names = ["stem.0.conv.bias", "stem.0.conv.lin.weight"]
    names += [
        f"paths.{p}.{i}.conv.{part}" for p, n in enumerate((3, 2)) for i in range(n) for part in ("bias", "lin.weight")
    ]
    names += ["readout.weight", "readout.bias"]
    shapes = {}
    for options in ({}, *CHANNELS):
        state = MultiPathGCN(5, 8, 3, **options).state_dict()
        assert list(state) == names
        shapes[options.get("groups", 1)] = [tuple(state[f"paths.1.{i}.conv.lin.weight"].shape) for i in (0, 1)]
        assert state["stem.0.conv.lin.weight"].shape == (8, 5) and state["readout.weight"].shape == (3, 8)
    assert shapes == {1: [(4, 8), (8, 4)], 2: [(4, 4), (8, 2)], 4: [(4, 2), (8, 1)]}


def test_stem_is_dense_unless_asked():
    kinds = [
        [type(block.conv.lin).__name__ for block in (*model.stem, *model.paths[0])]
        for model in (
            MultiPathGCN(1433, 8, 7, stem=2, paths=((8,),), transform="sliding"),
            MultiPathGCN(6, 8, 7, stem=2, paths=((8,),), stem_transform="grouped"),
            MultiPathGCN(6, 8, 7, stem=2, paths=((8,),), transform="sliding", stem_transform="grouped", overlap=0.25),
        )
    ]
    assert kinds == [
        ["Linear", "Linear", "SlidingChannelLinear"],
        ["GroupedLinear", "GroupedLinear", "Linear"],
        ["GroupedLinear", "GroupedLinear", "SlidingChannelLinear"],
    ]


@pytest.mark.parametrize("options", CHANNELS, ids=str)
def test_channel_transforms_are_copied_stored_and_shown(options):
    model = MultiPathGCN(5, 8, 3, **options)
    expected = model(X, graphs.SIMPLE)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(again(X, graphs.SIMPLE), expected)
    other = MultiPathGCN(5, 8, 3, **options)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(X, graphs.SIMPLE), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(model(X, graphs.SIMPLE).float(), expected, rtol=0.05, atol=0.05)
    with pytest.raises(RuntimeError, match="size mismatch"):
        MultiPathGCN(5, 8, 3).load_state_dict(model.state_dict())
    shown = "".join(f", {name}={value!r}" for name, value in options.items())
    assert str(model) == f"MultiPathGCN(5, 8, 3, stem=1, paths=((8, 8, 8), (4, 8)), combine='sum'{shown})"


def test_sparse_features_meet_channel_transforms_at_the_input():
    x = torch.nn.functional.dropout(torch.rand(graphs.N, 6), 0.7)
    model = MultiPathGCN(6, 8, 3, stem=0, paths=((), (6,)), transform="sliding", groups=3)
    torch.testing.assert_close(model(x.to_sparse_csr(), graphs.SIMPLE), model(x, graphs.SIMPLE))


def test_a_compiled_network_computes_the_same():
    model = MultiPathGCN(5, 8, 3, transform="sliding", paths=((8,), (4, 8)))
    graph = Graph.normalized(graphs.SIMPLE, num_nodes=graphs.N)
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(compiled(X, graph), model(X, graph))


@pytest.mark.parametrize("combine", ["sum", "mean", "concat"])
def test_a_path_is_left_out_as_often_as_asked_and_made_up_for(combine):
    x, edge_index = torch.randn(4, 3), torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])
    model = MultiPathGCN(3, 4, 2, paths=((4,), (4,), ()), combine=combine, path_dropout=0.25)
    reference = MultiPathGCN(3, 4, 2, paths=((4,), (4,), ()), combine=combine)
    reference.load_state_dict(model.state_dict())
    torch.testing.assert_close(model.eval()(x, edge_index), reference.eval()(x, edge_index))
    model.train()
    with torch.no_grad():
        mean = torch.stack([model(x, edge_index) for _ in range(2000)]).mean(dim=0)
    torch.testing.assert_close(mean, reference(x, edge_index).detach(), rtol=0.1, atol=0.1)
    kept = torch.stack([model._kept(x) for _ in range(2000)])
    torch.testing.assert_close(kept.unique(), torch.tensor([0.0, 4 / 3]))
    assert (kept == 0).float().mean(dim=0).sub(0.25).abs().max() < 0.05


def test_path_dropout_is_refused_where_paths_do_not_add_up():
    with pytest.raises(ValueError, match="path_dropout must be 0 for combine='max', got 0.5"):
        MultiPathGCN(3, 4, 2, combine="max", path_dropout=0.5)
    with pytest.raises(ValueError, match=r"path_dropout must lie in \[0, 1\), got 1"):
        MultiPathGCN(3, 4, 2, path_dropout=1)
