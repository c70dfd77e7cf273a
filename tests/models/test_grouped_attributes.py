import numpy as np
import pytest
import torch
from torch import nn

from multipath_gcn.models import count_parameters
from multipath_gcn.models.attribute_groups import attribute_groups, correlation_change
from multipath_gcn.models.grouped_attributes import GroupedAttributes

GROUPS = [[1, 4], [0], [3, 2, 5]]


def signs(rows, columns, links, seed=0):
    """Random rows of 0 and 1; columns of one list in ``links`` are equal."""
    table = torch.randint(2, (rows, columns), generator=torch.Generator().manual_seed(seed)).float()
    for first, *others in links:
        table[:, others] = table[:, [first]]
    return table


@pytest.mark.parametrize("change", ["lost", "absolute"])
def test_change_is_that_of_numpys_correlations(change):
    train, target = torch.rand(50, 5), torch.rand(7, 5)
    r, t = np.corrcoef(train.numpy().T), np.corrcoef(target.numpy().T)
    wanted = np.abs(r - t) if change == "absolute" else np.clip(np.sign(r) * (r - t), 0, None)
    np.fill_diagonal(wanted, 0)
    found = correlation_change(train, target, change)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-6)
    assert torch.equal(found, found.T)


def test_lost_is_what_a_training_correlation_falls_short():
    train = torch.tensor([[0.0, 0, 1], [0, 0, 1], [1, 1, 0], [1, 1, 0]])  # r: ab 1, ac -1, bc -1
    target = torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 1, 1], [1, 0, 0]])  # t: ab -1, ac -1, bc 1
    torch.testing.assert_close(
        correlation_change(train, target), torch.tensor([[0.0, 2, 0], [2, 0, 2], [0, 2, 0]]).double()
    )
    grown = correlation_change(
        torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1], [1, 1]]), torch.tensor([[0.0, 0], [1, 1]])
    )
    assert grown.abs().max() == 0


def test_a_training_correlation_of_0_has_nothing_to_lose():
    """0 but for rounding: attributes that are balanced against each other, in unequal classes."""
    train = torch.tensor([[0.1, 0.3], [0.1, 0.7], [0.9, 0.3], [0.9, 0.7]]).repeat_interleave(
        torch.tensor([3, 3, 7, 7]), 0
    )
    target = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert correlation_change(train, target).abs().max() == 0
    torch.testing.assert_close(correlation_change(train, target, "absolute"), torch.tensor([[0.0, 1], [1, 0]]).double())


def test_a_constant_attribute_has_correlation_0():
    train, target = torch.rand(20, 3), torch.tensor([[0.2, 0, 0], [0.2, 1, 1]])
    train[:, 1] = 0.3
    found = correlation_change(train, target, "absolute")
    r = np.corrcoef(train[:, [0, 2]].numpy().T)[0, 1]
    np.testing.assert_allclose(found.numpy(), [[0, 0, abs(r)], [0, 0, 1], [abs(r), 1, 0]], atol=1e-6)


def test_every_example_counts():
    once, often = torch.rand(3, 4), [5, 1, 2]
    repeated = once.repeat_interleave(torch.tensor(often), dim=0)
    r = np.corrcoef(once.numpy().T.repeat(often, axis=1))
    found = correlation_change(repeated, torch.zeros(2, 4), "absolute")
    np.testing.assert_allclose(found.numpy(), np.abs(r - np.diag(np.diag(r))), atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_planted_blocks_are_found(seed):
    """In training two sets of columns are each one thing three times; in the target classes no two are."""
    blocks = [[0, 3, 5], [1, 2, 4]]
    train, target = signs(400, 6, blocks, seed), signs(400, 6, [], seed + 10)
    assert attribute_groups(train, target, 2, seed) == blocks


@pytest.mark.parametrize("seed", range(3))
def test_two_sides_of_what_changes_are_told_apart(seed):
    """Columns 0, 2 and 4 are one thing in both, 1, 3 and 5 another; between these a correlation turns round."""
    train = signs(400, 6, [[0, 1, 2, 3, 4, 5]], seed)
    target = train.clone()
    target[:, 1::2] = 1 - target[:, 1::2]
    assert attribute_groups(train, target, 2, seed) == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize("groups", range(1, 8))
@pytest.mark.parametrize("change", ["lost", "absolute"])
def test_every_attribute_is_in_one_group(groups, change):
    train, target = signs(60, 7, [[0, 6]]), signs(4, 7, [])
    train[:, 3] = 1.0  # constant
    found = attribute_groups(train, target, groups, change=change)
    assert (
        sorted(attribute for group in found for attribute in group) == list(range(7))
        and 1 <= len(found) <= groups
        and all(found)
    )
    assert found == sorted(sorted(group) for group in found)
    assert found == attribute_groups(train, target, groups, change=change)


def test_attributes_that_change_with_none_join_the_smallest_group():
    train, target = signs(400, 8, [[0, 1, 2], [3, 4, 5]]), signs(400, 8, [], 5)
    train[:, 6:] = target[:, 6:] = 1.0
    assert attribute_groups(train, target, 2) == [[0, 1, 2, 6], [3, 4, 5, 7]]


def test_as_many_groups_as_attributes_are_one_each():
    assert attribute_groups(signs(60, 4, []), signs(5, 4, []), 4) == [[0], [1], [2], [3]]


def test_where_nothing_changes_there_is_one_group():
    table = signs(20, 4, [])
    assert attribute_groups(table, table, 1) == [[0, 1, 2, 3]]
    with pytest.raises(
        ValueError, match=r"groups must be 1 where no correlation of two attributes changes \(lost\), got 2"
    ):
        attribute_groups(table, table, 2)


@pytest.mark.parametrize("groups", [0, 5, 2.0, True])
def test_numbers_of_groups_that_are_refused(groups):
    with pytest.raises(
        ValueError, match=f"groups must be an integer from 1 to 4, the number of attributes, got {groups}"
    ):
        attribute_groups(signs(60, 4, []), signs(5, 4, []), groups)


def test_tables_that_are_refused():
    with pytest.raises(ValueError, match=r"must be \[N, A\] and \[K, A\], got \(5, 4\) and \(3, 3\)"):
        correlation_change(torch.rand(5, 4), torch.rand(3, 3))
    with pytest.raises(ValueError, match="change must be one of lost, absolute, got 'gained'"):
        correlation_change(torch.rand(5, 4), torch.rand(3, 4), "gained")


def test_heads_and_adversaries_are_blocks_of_one_matrix():
    torch.manual_seed(1)
    model = GroupedAttributes(8, 6, GROUPS, hidden_channels=10, latent_channels=12).double().eval()
    x = torch.randn(5, 8, dtype=torch.float64)
    scores, guesses = model(x, reverse=0.5)
    assert scores.shape == (5, 6) and guesses.shape == (5, 3, 6) and torch.equal(scores, model(x))
    z = model.latents(model.trunk(x)).view(5, 3, 4)
    for g, group in enumerate(GROUPS):
        own = z[:, g] @ getattr(model.heads, f"weight{g}").T + model.heads.bias[group]
        torch.testing.assert_close(scores[:, group], own)
        weight, bias = model.adversaries.weight.view(3, 6, 4)[g], model.adversaries.bias.view(3, 6)[g]
        torch.testing.assert_close(guesses[:, g], z[:, g] @ weight.T + bias)


def test_an_attribute_reads_the_latent_of_its_group_alone():
    torch.manual_seed(1)
    model = GroupedAttributes(8, 6, GROUPS, hidden_channels=10, latent_channels=12).eval()
    seen = []
    model.heads.register_forward_pre_hook(lambda layer, args: seen.append(args[0].requires_grad_()))
    scores = model(torch.randn(5, 8))
    for attribute in range(6):
        (slope,) = torch.autograd.grad(scores[:, attribute].sum(), seen[0], retain_graph=True)
        reads = slope.view(5, 3, 4).abs().sum(dim=(0, 2)).nonzero().flatten().tolist()
        assert reads == [g for g, group in enumerate(GROUPS) if attribute in group]


def test_adversaries_learn_forwards_and_latents_backwards():
    torch.manual_seed(1)
    model = GroupedAttributes(8, 6, GROUPS, hidden_channels=10, latent_channels=12).double().eval()
    x = torch.randn(5, 8, dtype=torch.float64)
    grads = {}
    for scale in (0.0, 1.0, 2.5):
        model.zero_grad()
        model(x, reverse=scale)[1].square().sum().backward()
        grads[scale] = [model.adversaries.weight.grad, model.latents[0].weight.grad, model.trunk[0].weight.grad]
    for scale in (0.0, 2.5):
        assert torch.equal(grads[scale][0], grads[1.0][0])
        torch.testing.assert_close(grads[scale][1], scale * grads[1.0][1])
    assert grads[0.0][2].abs().max() == 0 < grads[1.0][2].abs().max()
    # against the latents moved by hand: the reversed gradient raises what adversaries lose
    hidden = model.latents[0](model.trunk(x)).detach().requires_grad_()
    guesses = model.adversaries(model.latents[1:](hidden))
    (slope,) = torch.autograd.grad(guesses.square().sum(), hidden)
    torch.testing.assert_close(grads[1.0][1], -slope.T @ model.trunk(x))


def test_one_group_is_the_plain_network():
    torch.manual_seed(2)
    model = GroupedAttributes(8, 6, hidden_channels=10, latent_channels=12, dropout=0.3, negative_slope=0.01).eval()
    assert model.adversaries is None and model.groups == [[0, 1, 2, 3, 4, 5]]

    def block(i, o):
        return nn.Sequential(nn.Linear(i, o), nn.BatchNorm1d(o), nn.LeakyReLU(0.01), nn.Dropout(0.3))

    plain = nn.Sequential(block(8, 10), block(10, 12), nn.Linear(12, 6)).eval()
    state = {f"0.{k}": v for k, v in model.trunk.state_dict().items()}
    state |= {f"1.{k}": v for k, v in model.latents.state_dict().items()}
    plain.load_state_dict(state | {"2.weight": model.heads.weight0, "2.bias": model.heads.bias})
    x = torch.randn(5, 8)
    torch.testing.assert_close(model(x), plain(x))
    with pytest.raises(ValueError, match="reverse must be None for a single group, which has no adversaries, got 1.0"):
        model(x, reverse=1.0)


def test_networks_of_other_groups_are_as_wide():
    wide = [GroupedAttributes(8, 6, groups, latent_channels=12) for groups in (None, GROUPS, [[a] for a in range(6)])]
    assert {model.latents[0].out_features for model in wide} == {12}
    plain, three, six = map(count_parameters, wide)
    heads = 12 * 6 + 6
    assert three - plain == (12 // 3) * 6 + 6 - heads + 12 * 6 + 3 * 6
    assert six - plain == (12 // 6) * 6 + 6 - heads + 12 * 6 + 6 * 6
    assert GroupedAttributes(8, 6, GROUPS, latent_channels=10).latents[0].out_features == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": [[0, 1], [2, 3, 4]]}, "groups must hold each attribute from 0 to 5 once"),
        ({"groups": [[0, 1, 2], [2, 3, 4, 5]]}, "groups must hold each attribute from 0 to 5 once"),
        ({"groups": [[0, 1, 2, 3, 4, 5], []]}, "in groups that are not empty, got"),
        ({"hidden_channels": 0}, "hidden_channels must be at least 1, got 0"),
        ({"latent_channels": -1}, "latent_channels must be at least 1, got -1"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
    ],
    ids=str,
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        GroupedAttributes(8, 6, **options)
