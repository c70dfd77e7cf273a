"""Every file of conf/recipe goes with a data set and a model, and does what it says."""

from pathlib import Path

import app
import pytest
import torch
from torch_geometric.nn import CorrectAndSmooth

from multipath_gcn.data import load_digits
from multipath_gcn.nn import MultiPathGCN
from multipath_gcn.tasks import NodeTask

RECIPES = sorted(path.stem for path in (Path(__file__).parents[1] / "conf/recipe").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_trains(monkeypatch, tmp_path, recipe):
    (result,) = app.run(monkeypatch, tmp_path, f"recipe={recipe}", "hidden_channels=8", *app.QUICK)
    assert result["label"] == recipe and result["epochs"] == 2


def test_correct_and_smooth_is_pygs_and_changes_the_scores_alone(monkeypatch, tmp_path):
    (plain,) = app.run(monkeypatch, tmp_path / "plain", "recipe=plain", *app.QUICK)
    (refined,) = app.run(monkeypatch, tmp_path / "refined", "recipe=correct_and_smooth", *app.QUICK)
    assert refined["before_refinement"] == {name: plain[name] for name in ("train", "valid", "test")}
    assert refined["test"] > plain["test"] and refined["best_epoch"] == plain["best_epoch"]


def test_refinement_sees_probabilities_and_training_labels(tmp_path):
    data = load_digits()
    seen = []

    def refine(probabilities, labels, nodes, adj_t):
        seen.append((probabilities, labels, nodes, adj_t))
        return probabilities

    task = NodeTask(data, refine=refine)
    model = MultiPathGCN(task.in_channels, 8, task.out_channels)
    found = task.finish(model, [], tmp_path)
    scores = {name: found[name] for name in ("train", "valid", "test")}
    assert found["before_refinement"] == scores
    ((probabilities, labels, nodes, adj_t),) = seen
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(1797))
    assert nodes.equal(data.split["train"]) and labels.equal(data.y[nodes])
    assert adj_t.layout is torch.sparse_csr and adj_t.values().numel() == data.edge_index.size(1)
    assert scores == {name: task.evaluate(model)[name] for name in scores}
    # with edges as a list, PyG computes the same
    smooth = CorrectAndSmooth(3, 0.8, 3, 0.8)
    torch.testing.assert_close(
        smooth(probabilities, labels, nodes, adj_t), smooth(probabilities, labels, nodes, data.edge_index)
    )
