import app
import pytest
import torch
from torch import nn

from multipath_gcn.data import load_digit_images, load_digits
from multipath_gcn.models import GCN, VGG, GroupedEnsemble
from multipath_gcn.nn import MultiPathGCN
from multipath_gcn.tasks import ActiveTask
from multipath_gcn.tasks.active import area
from multipath_gcn.tasks.query import QUERIES

SMALL = [
    "task=active",
    "data.train_per_class=10",
    "task.members=3",
    "task.steps=3",
    "hidden_channels=8",
    "fit.epochs=3",
]


@pytest.fixture(scope="module")
def digits():
    return load_digits(train_per_class=20)


@pytest.mark.parametrize("query", QUERIES)
def test_trains_on_nodes(query, monkeypatch, tmp_path):
    (result,) = app.run(monkeypatch, tmp_path, *SMALL, f"task.query={query}")
    assert result["metric"] == "area" and result["last_round"]["labels"] == 30
    assert result["parameters"] == 3 * (64 * 8 + 8 + 8 * 10 + 10)
    history = next(tmp_path.rglob("history.csv")).read_text().splitlines()
    assert "labels" in history[0] and len(history) == 4
    assert next(tmp_path.rglob("figure.png")).stat().st_size > 5_000


def test_trains_on_images(monkeypatch, tmp_path):
    small = ["data=digit_images", "model=vgg_mini", "model.stages=[[8],[8]]", "task.batch_size=8"]
    (result,) = app.run(monkeypatch, tmp_path, *SMALL[:1], *SMALL[2:4], "fit.epochs=3", *small)
    assert result["data"] == "digit_images" and result["last_round"]["labels"] == 30


@pytest.mark.parametrize(("hypotheses", "model"), [("dropout", "gcn2"), ("paths", "multipath")])
def test_one_network_may_be_several_hypotheses(hypotheses, model, monkeypatch, tmp_path):
    (result,) = app.run(monkeypatch, tmp_path, *SMALL, f"task.hypotheses={hypotheses}", f"model={model}")
    assert result["last_round"]["labels"] == 30


@pytest.mark.parametrize(
    ("hypotheses", "model", "precision"),
    [("ensemble", "gcn2", "64-true"), ("dropout", "gcn2", "bf16-mixed"), ("paths", "multipath", "64-true")],
)
def test_precisions(hypotheses, model, precision, monkeypatch, tmp_path):
    chosen = [f"task.hypotheses={hypotheses}", f"model={model}", f"precision={precision}"]
    (result,) = app.run(monkeypatch, tmp_path, *SMALL, *chosen)
    assert result["last_round"]["labels"] == 30


def test_what_was_asked_is_written(monkeypatch, tmp_path):
    (result,) = app.run(monkeypatch, tmp_path, *SMALL, "task.initial=5", "task.count=3")
    lines = next(tmp_path.rglob("labels.csv")).read_text().split()
    rounds, ids = zip(*(map(int, line.split(",")) for line in lines[1:]), strict=True)
    assert rounds == (1,) * 5 + (2,) * 3 + (3,) * 3
    pool = set(load_digits(train_per_class=10).split["train"].tolist())
    assert len(set(ids)) == 11 and set(ids) <= pool
    assert result["best_epoch"] == 3 and result["paper"] == {"test": result["test"], "epoch": 3}


def test_members_begin_alike_whatever_their_layers(digits):
    """Layers that set up the weights of their parts are asked alone."""
    torch.manual_seed(0)
    model = MultiPathGCN(64, 32, 10, transform="grouped", groups=4)
    members = ActiveTask(digits, members=4).prepare(model).members()
    sizes = [float(member.paths[0][0].conv.lin.weight.std()) for member in members]
    assert max(sizes) < 1.1 * min(sizes)


def test_a_query_may_ask_for_more_than_are_usually_compared():
    data = load_digit_images(valid=100, test=100)
    task = ActiveTask(data, query="random", members=2, initial=50, count=1200, rounds=2, steps=1)
    task._ask(task.prepare(VGG(1, 10, stages=((4,),))))
    assert len(task.labelled.unique()) == 1250


def test_asks_for_every_label_once_and_for_none_that_it_must_not_see(digits):
    task = ActiveTask(digits, members=2, initial=5, count=7, rounds=6, steps=1)
    model = task.prepare(GCN(64, 8, 10))
    for epoch in range(1, 7):
        assert len(list(task.train_losses(model, epoch))) == 1
        assert len(task.labelled) == 5 + 7 * (epoch - 1) == task.evaluate(model)["labels"]
    assert len(task.labelled.unique()) == 40
    hidden = torch.cat([digits.split["valid"], digits.split["test"]])
    assert not torch.isin(task.pool.nodes["train"][task.labelled], hidden).any()


def test_a_resumed_run_knows_what_it_has_asked(digits):
    task, other = (ActiveTask(digits, members=2, rounds=3) for _ in range(2))
    assert not task.labelled.equal(other.labelled)
    other.load_state_dict(task.state_dict())
    assert task.labelled.equal(other.labelled)


def test_resumes_in_the_same_numbers(monkeypatch, tmp_path):
    few = [*SMALL, "fit.checkpoint_seconds=0"]
    (whole,) = app.run(monkeypatch, tmp_path / "whole", *few)

    class Killed(Exception):
        pass

    evaluate = ActiveTask.evaluate

    def dies(self, model):
        if len(self.labelled) == 30:
            raise Killed
        return evaluate(self, model)

    monkeypatch.setattr(ActiveTask, "evaluate", dies)
    with pytest.raises(Killed):
        app.run(monkeypatch, tmp_path / "killed", *few)
    monkeypatch.setattr(ActiveTask, "evaluate", evaluate)
    (resumed,) = app.run(monkeypatch, tmp_path / "killed", *few)

    def figures(result):
        return {key: value for key, value in app.numbers(result).items() if key not in ("seconds_per_query", "config")}

    assert figures(resumed) == figures(whole) and resumed["timing"]["restarts"] == 1


def test_members_begin_with_weights_of_their_own(digits):
    task = ActiveTask(digits, members=3)
    ensemble = task.prepare(GCN(64, 8, 10))
    assert isinstance(ensemble, GroupedEnsemble)
    weights = [member.readout.weight for member in ensemble.members()]
    assert not weights[0].equal(weights[1]) and not weights[1].equal(weights[2])


def test_paths_are_hypotheses_whose_mean_is_the_network(digits):
    for combine in ("sum", "mean"):
        model = MultiPathGCN(64, 8, 10, combine=combine).eval()
        x, edges = digits.x, digits.edge_index
        torch.testing.assert_close(model.path_scores(x, edges).mean(0), model(x, edges))
    with pytest.raises(ValueError, match="combine must be 'sum' or 'mean' for scores of single paths, got 'max'"):
        MultiPathGCN(64, 8, 10, combine="max").path_scores(x, edges)


def test_dropout_leaves_norms_alone():
    data = load_digit_images()
    task = ActiveTask(data, hypotheses="dropout", members=3, initial=5, steps=1)
    model = nn.Sequential(VGG(1, 16, stages=((4,),)), nn.Dropout(0.5), nn.Linear(16, 10))
    task.check(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    task._ask(model)
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())


def test_a_part_of_the_data():
    data = load_digit_images()
    task = ActiveTask(data, members=2, initial=5, count=5, rounds=2, most=50)
    assert [len(task.pool.labels[part]) for part in ("train", "valid", "test")] == [50, 50, 50]
    rows, split = task.pool.rows["train"], data.splits["train"]
    assert task.pool.labels["train"].equal(split.labels[rows]) and len(rows.unique()) == 50
    with pytest.raises(ValueError, match="at most the pool's 50 examples"):
        ActiveTask(data, initial=40, count=20, rounds=2, most=50)


def test_area_is_the_mean_height_of_the_curve():
    assert area([10], [0.5]) == 0.5
    assert area([10, 20, 40], [0.0, 1.0, 1.0]) == pytest.approx((5 + 20) / 30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": "least"}, "query must be one of"),
        ({"hypotheses": "guesses"}, "hypotheses must be one of"),
        ({"count": 0}, "count must be an integer of at least 1, got 0"),
        ({"members": 1}, "members must be an integer of at least 2, got 1"),
        ({"batch_size": 2.5}, "batch_size must be an integer"),
        (
            {"initial": 20, "count": 20, "rounds": 11},
            r"initial \+ count \* \(rounds - 1\) must be at most the pool's 200 examples, got 20 \+ 20 \* 10 = 220",
        ),
    ],
)
def test_wrong_arguments(digits, options, message):
    with pytest.raises(ValueError, match=message):
        ActiveTask(digits, **options)


def test_wrong_models(digits):
    with pytest.raises(ValueError, match="have several paths for hypotheses=paths.*got GCN"):
        ActiveTask(digits, hypotheses="paths").check(GCN(64, 8, 10))
    with pytest.raises(ValueError, match="model must have dropout for hypotheses=dropout, got GCN without"):
        ActiveTask(digits, hypotheses="dropout").check(GCN(64, 8, 10))
    with pytest.raises(ValueError, match="take features and a graph"):
        ActiveTask(digits).check(nn.Linear(64, 10))
    with pytest.raises(ValueError, match="combine must be 'sum' or 'mean' for scores of single paths"):
        ActiveTask(digits, hypotheses="paths").check(MultiPathGCN(64, 8, 10, combine="attention"))
    with pytest.raises(ValueError, match="take images alone.*got GCN"):
        ActiveTask(load_digit_images()).check(GCN(64, 8, 10))
    with pytest.raises(ValueError, match="initial and batch_size must be at least 2 for images"):
        ActiveTask(load_digit_images(), initial=1)
    with pytest.raises(ValueError, match="rounds must be at least the number of epochs, got 2 and epoch 3"):
        list(ActiveTask(digits, rounds=2).train_losses(GCN(64, 8, 10), 3))
    with pytest.raises(ValueError, match="NodeDataset or an ImageDataset for task=active, got int"):
        ActiveTask(3)
