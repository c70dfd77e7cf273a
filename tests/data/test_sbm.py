import numpy as np
import pytest

from multipath_gcn.data.sbm import sample_sbm


def sample(num_nodes=5000, num_classes=7, mean_degree=12.0, homophily=0.6, degree_exponent=2.5, seed=0):
    rng = np.random.default_rng(seed)
    return sample_sbm(num_nodes, num_classes, mean_degree, homophily, degree_exponent, rng)


@pytest.mark.parametrize("homophily", [0.0, 0.35, 1.0])
def test_counts_are_exact(homophily):
    edges, y = sample(homophily=homophily)
    assert edges.shape == (2, 30000) and edges.min() >= 0 and edges.max() < 5000
    assert (edges[0] != edges[1]).all()
    assert np.unique(np.sort(edges, axis=0), axis=1).shape[1] == 30000
    assert (y[edges[0]] == y[edges[1]]).mean() == pytest.approx(homophily, abs=1e-4)
    assert np.ptp(np.bincount(y, minlength=7)) <= 1


def test_degrees_have_a_power_law_tail():
    heavy, light = (np.bincount(sample(num_nodes=20000, degree_exponent=e)[0].ravel()) for e in (2.2, 8.0))
    assert heavy.mean() == pytest.approx(light.mean(), rel=0.01)
    assert heavy.max() > 40 * heavy.mean() and light.max() < 10 * light.mean()
    assert heavy.max() < 0.2 * 20000


def test_same_seed_same_graph():
    (a, y), (b, z), (c, _) = sample(seed=0), sample(seed=0), sample(seed=1)
    assert np.array_equal(a, b) and np.array_equal(y, z) and not np.array_equal(a, c)


def test_orientation_is_random():
    edges, _ = sample()
    assert (edges[0] < edges[1]).mean() == pytest.approx(0.5, abs=0.02)


def test_refuses_more_edges_than_there_are():
    with pytest.raises(ValueError, match="mean_degree asks for 2500 distinct edges within one class, got"):
        sample(num_nodes=100, num_classes=50, mean_degree=50.0, homophily=1.0)
