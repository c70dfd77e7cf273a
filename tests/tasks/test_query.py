"""Every rule against its definition, one hypothesis after the other."""

from collections import Counter
from itertools import combinations
from math import log

import pytest
import torch

from multipath_gcn.tasks.query import QUERIES, choose

M, N, S, K = 6, 9, 7, 3


def probabilities(count, seed):
    return torch.rand(M, count, K, generator=torch.Generator().manual_seed(seed)).double().mul(3).softmax(-1)


CANDIDATES, SAMPLE = probabilities(N, 0), probabilities(S, 1)
VOTES, SAMPLE_VOTES = CANDIDATES.argmax(-1).tolist(), SAMPLE.argmax(-1).tolist()


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def entropy_of(p):
    return -sum(q * log(q) for q in p)


def sets(x):
    """Hypotheses by their vote at candidate x."""
    found = {}
    for h in range(M):
        found.setdefault(VOTES[h][x], []).append(h)
    return found.values()


def gibbs(members):
    def share(x):
        votes = Counter(SAMPLE_VOTES[h][x] for h in members)
        return 1 - votes.most_common(1)[0][1] / len(members)

    return mean(map(share, range(S)))


def largest(members):
    return max(
        (mean(SAMPLE_VOTES[h][x] != SAMPLE_VOTES[g][x] for x in range(S)) for h, g in combinations(members, 2)),
        default=0,
    )


def averaged(x):
    return [mean(CANDIDATES[h, x, k].item() for h in range(M)) for k in range(K)]


DEFINITIONS = {
    "random": lambda x: 0.0,
    "entropy": lambda x: entropy_of(averaged(x)),
    "bald": lambda x: entropy_of(averaged(x)) - mean(entropy_of(CANDIDATES[h, x].tolist()) for h in range(M)),
    "prior_mass": lambda x: 1 - sum((len(v) / M) ** 2 for v in sets(x)),
    "diameter": lambda x: -sum(len(v) / M * largest(v) for v in sets(x)),
    "gibbs_vote": lambda x: -sum(len(v) / M * gibbs(v) for v in sets(x)),
}


@pytest.mark.parametrize("name", QUERIES)
def test_is_its_definition(name):
    worth = QUERIES[name](CANDIDATES, SAMPLE)
    torch.testing.assert_close(worth, torch.tensor([DEFINITIONS[name](x) for x in range(N)]).double())


@pytest.mark.parametrize("name", ["entropy", "bald", "prior_mass"])
def test_prefers_what_divides_the_hypotheses(name):
    one, other = torch.tensor([0.98, 0.01, 0.01]), torch.tensor([0.01, 0.98, 0.01])
    agreed, divided = one.expand(M, 3), torch.stack([one, other] * (M // 2))
    assert choose(name, 1, torch.stack([agreed, divided], dim=1), SAMPLE).tolist() == [1]


def test_what_rules_out_the_odd_ones_is_worth_most():
    """Of two answers that divide alike, the one that parts those who disagree elsewhere."""
    votes = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]])  # two candidates, then what is disagreed about
    p = torch.nn.functional.one_hot(votes, 2).double()
    sample = p[:, 1:2].expand(4, 5, 2)
    for name in ("gibbs_vote", "diameter"):
        assert choose(name, 1, p[:, 1:], sample).tolist() == [0]


def test_ties_are_drawn():
    torch.manual_seed(0)
    drawn = {choose("random", 3, CANDIDATES, SAMPLE)[0].item() for _ in range(60)}
    assert len(drawn) > 5
    chosen = choose("random", N, CANDIDATES, SAMPLE)
    assert chosen.sort().values.equal(torch.arange(N))
