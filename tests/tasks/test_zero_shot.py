import math

import app
import matplotlib.image
import pytest
import torch
from resuming import history
from torch import nn
from torch.nn import functional as F

from multipath_gcn.data import load_digit_images
from multipath_gcn.data.zero_shot import load_digit_segments
from multipath_gcn.data.zero_shot_dataset import ZeroShotDataset
from multipath_gcn.models.grouped_attributes import GroupedAttributes
from multipath_gcn.tasks.compatibility import LOSSES, ale
from multipath_gcn.tasks.zero_shot import ZeroShotTask, class_accuracy, pair_weights, share_between

QUICK = ("task=zero_shot", "fit.epochs=2")


@pytest.fixture
def data():
    """Eight classes, from 3 to 10 examples each, five attributes of several sizes."""
    generator = torch.Generator().manual_seed(3)
    y = torch.arange(8).repeat_interleave(torch.arange(3, 11))
    x = torch.randn(len(y), 6, generator=generator)
    attributes = 4 * torch.rand(8, 5, generator=generator) - 1
    attributes[:, 4] = 2.0
    parts = {"train": [6, 1, 0, 4], "valid": [3, 5], "test": [2, 7]}
    split = {part: torch.isin(y, torch.tensor(classes)).nonzero().flatten() for part, classes in parts.items()}
    return ZeroShotDataset("tiny", x, y, attributes, split)


class Recorder(nn.Module):
    """Linear, of one group, and keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.linear, self.seen = nn.Linear(6, 5), []

    def forward(self, x):
        self.seen.append((x.clone(), self.training))
        return self.linear(x)


def made(task, **options):
    return GroupedAttributes(task.in_channels, task.out_channels, **task.further_sizes, hidden_channels=8, **options)


def test_an_epoch_sees_every_training_example_once(data):
    task, model = ZeroShotTask(data, groups=1, batch_size=6), Recorder()
    losses = list(task.train_losses(model, 1))
    assert len(losses) == task.steps == 4 and all(training for _, training in model.seen)
    seen = torch.cat([x for x, _ in model.seen])
    assert sorted(map(tuple, seen.tolist())) == sorted(map(tuple, data.x[data.split["train"]].tolist()))
    assert sorted(len(x) for x, _ in model.seen) == [5, 6, 6, 6]


@pytest.mark.parametrize(("size", "steps"), [(2, 11), (3, 8), (22, 2), (23, 1), (100, 1)])
def test_no_batch_is_of_one_example(data, size, steps):
    task, model = ZeroShotTask(data, groups=1, batch_size=size), Recorder()
    assert len(list(task.train_losses(model, 1))) == task.steps == steps
    assert min(len(x) for x, _ in model.seen) > 1


@pytest.mark.parametrize("name", LOSSES)
def test_the_plain_loss_is_that_of_compatibility_with_training_classes(data, name):
    task, model = ZeroShotTask(data, loss=name, groups=1, batch_size=100), Recorder()
    (loss,) = task.train_losses(model, 1)
    rows = [data.x.tolist().index(x) for x in model.seen[0][0].tolist()]
    labels = torch.tensor([[0, 1, 4, 6].index(y) for y in data.y[rows].tolist()])
    wanted = LOSSES[name](model.linear(data.x[rows]), labels, data.attributes[[0, 1, 4, 6]])
    torch.testing.assert_close(loss, wanted)


def test_a_loss_may_be_any_function(data):
    task = ZeroShotTask(data, loss=lambda scores, labels, attributes: ale(scores, labels, attributes, 0.1), groups=1)
    assert len(list(task.train_losses(Recorder(), 1))) == 1


def test_adversaries_add_the_weighted_errors_of_their_guesses(data):
    task = ZeroShotTask(data, groups=3, batch_size=100, change="absolute")
    model = made(task, dropout=0.0)
    torch.manual_seed(5)
    (loss,) = task.train_losses(model, 1)
    torch.manual_seed(5)
    rows = data.split["train"][torch.randperm(23)]
    with torch.no_grad():
        scores, guesses = model.train()(data.x[rows], reverse=1.0)
    labels = torch.tensor([[0, 1, 4, 6].index(y) for y in data.y[rows].tolist()])
    wanted = ale(scores, labels, data.attributes[[0, 1, 4, 6]]).item()
    train = data.attributes[[0, 1, 4, 6]]
    low, high = train.amin(0), train.amax(0)
    pairs = [(g, a) for g in range(3) for a in range(3) if g != a]
    largest = {(g, a): max(task.change[j, k].item() for j in task.groups[g] for k in task.groups[a]) for g, a in pairs}
    for g, a in pairs:
        for k in task.groups[a]:
            for n, row in enumerate(rows.tolist()):
                target = (data.attributes[data.y[row], k] - low[k]) / (high[k] - low[k]) if high[k] > low[k] else 0.0
                p = guesses[n, g, k].sigmoid().item()
                error = -float(target) * math.log(p) - (1 - float(target)) * math.log(1 - p)
                wanted += largest[g, a] / sum(largest.values()) * error / 23
    assert loss.item() == pytest.approx(wanted, rel=1e-5)


def test_weights_of_pairs_sum_to_one_whatever_the_sizes():
    change = torch.rand(5, 5, dtype=torch.float64)
    groups = [[0, 3, 4], [1], [2]]
    weights = pair_weights(change, groups)
    assert all(weights[g, group].abs().max() == 0 for g, group in enumerate(groups))
    pairs = {(g, a): weights[g, groups[a][0]].item() for g in range(3) for a in range(3) if g != a}
    assert sum(pairs.values()) == pytest.approx(1)
    assert pairs[0, 1] / pairs[1, 2] == pytest.approx((change[[0, 3, 4], 1].max() / change[1, 2]).item())
    assert weights[1, 0] == weights[1, 3] == weights[1, 4]
    assert pair_weights(torch.zeros(5, 5), groups).abs().max() == 0


def test_what_is_between_groups():
    change = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]])
    assert share_between(change, [[0, 1, 2]]) == 0 and share_between(0 * change, [[0, 1], [2]]) == 0
    assert share_between(change, [[0, 1], [2]]) == pytest.approx(5 / 6)


def test_fewer_groups_than_asked_for_are_told(monkeypatch, data, caplog):
    monkeypatch.setattr("multipath_gcn.tasks.zero_shot.attribute_groups", lambda *arguments: [[0, 2, 3], [1, 4]])
    ZeroShotTask(data, groups=2)
    assert not caplog.text
    ZeroShotTask(data, groups=3)
    assert "3 groups of attributes were asked for, co-clustering found 2" in caplog.text


def test_the_target_is_the_attributes_of_all_unseen_classes(data):
    task = ZeroShotTask(data, groups=2, change="absolute")
    seen = data.attributes[data.y[data.split["train"]], :4].T.double()
    unseen = data.attributes[[3, 5, 2, 7], :4].T.double()
    wanted = (torch.corrcoef(seen) - torch.corrcoef(unseen)).abs().fill_diagonal_(0)
    torch.testing.assert_close(task.change[:4, :4], wanted, atol=1e-6, rtol=0)
    assert task.change[4].abs().max() == 0  # a constant attribute


def test_the_ramp_rises_to_its_height():
    task = ZeroShotTask(load_digit_segments(), adversary=4.0, ramp_epochs=10)
    assert task.ramp(1) == 0
    for epoch in range(1, 11):
        assert task.ramp(epoch) == pytest.approx(4 * (2 / (1 + math.exp(-3 * (epoch - 1) / 10)) - 1))
    assert task.ramp(11) == task.ramp(500) == 4.0
    assert ZeroShotTask(load_digit_segments(), adversary=4.0, ramp_epochs=0).ramp(1) == 4.0


def test_reversed_gradients_grow_with_the_ramp(data):
    task = ZeroShotTask(data, groups=2, adversary=1.0, batch_size=100, ramp_epochs=4, change="absolute")
    model, grads = made(task, dropout=0.0), {}
    for epoch in (1, 3, 9):
        torch.manual_seed(5)
        model.zero_grad()
        (loss,) = task.train_losses(model, epoch)
        loss.backward()
        grads[epoch] = [p.grad.clone() for p in (model.adversaries.weight, model.latents[0].weight)]
    for epoch in (3, 9):
        torch.testing.assert_close(grads[epoch][0], grads[1][0])
    step = {epoch: grads[epoch][1] - grads[1][1] for epoch in (3, 9)}
    torch.testing.assert_close(step[3], task.ramp(3) * step[9], atol=1e-6, rtol=1e-4)
    assert step[9].abs().max() > 1e-4


def test_accuracy_counts_classes_alike():
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 2])
    guesses = torch.tensor([0, 0, 0, 1, 1, 0, 2])
    assert class_accuracy(guesses, labels) == pytest.approx((3 / 4 + 1 + 1 / 2) / 3)
    assert class_accuracy(torch.full((7,), 2), labels) == pytest.approx(1 / 3)


def test_evaluation_is_among_the_classes_of_the_part(data):
    torch.manual_seed(2)
    task, model = ZeroShotTask(data, groups=1), Recorder()
    scores = task.evaluate(model)
    assert not any(training for _, training in model.seen)
    for part, classes in {"train": [0, 1, 4, 6], "valid": [3, 5], "test": [2, 7]}.items():
        hits = []
        for c in classes:
            own = data.x[data.y == c]
            found = model.linear(own) @ F.normalize(data.attributes[classes]).T
            hits.append((found.argmax(1) == classes.index(c)).float().mean().item())
        assert scores[part] == pytest.approx(sum(hits) / len(classes))
    rows = data.split["valid"]
    labels = torch.tensor([[3, 5].index(y) for y in data.y[rows].tolist()])
    wanted = ale(model.linear(data.x[rows]), labels, data.attributes[[3, 5]])
    assert scores["valid_loss"] == pytest.approx(wanted.item(), rel=1e-5)


def test_evaluation_in_pieces_is_the_same(data, monkeypatch):
    torch.manual_seed(2)
    task, model = ZeroShotTask(data, groups=1), Recorder()
    whole = task.evaluate(model)
    monkeypatch.setattr("multipath_gcn.tasks.zero_shot.EVALUATED", 4)
    assert task.evaluate(model) == pytest.approx(whole)


def test_a_network_that_knows_the_attributes_scores_everything():
    data = load_digit_segments()

    class Knows(nn.Module):
        def forward(self, x, reverse=None):
            same = (x[:, None] == data.x[None, :200]).all(-1)
            assert same.any(1).all()
            return F.normalize(data.attributes[data.y[:200]])[same.float().argmax(1)]

    split = {part: rows[rows < 200] for part, rows in data.split.items()}
    small = ZeroShotDataset("few", data.x, data.y, data.attributes, split)
    scores = ZeroShotTask(small).evaluate(Knows())
    assert [scores[part] for part in ("train", "valid", "test")] == [1, 1, 1]


def test_finish_tells_the_groups_and_draws_them(data, tmp_path):
    task = ZeroShotTask(data, groups=2, change="absolute")
    between = share_between(task.change, task.groups)
    found = task.finish(made(task), [], tmp_path)
    assert found == {"attribute_groups": task.groups, "change_between_groups": between} and 0 < between < 1
    picture = matplotlib.image.imread(tmp_path / "figure.png")
    assert picture.shape[0] > 300 and picture.shape[1] > 900 and picture.std() > 0.05


def test_training_resumes_exactly(tmp_path):
    task = ZeroShotTask(load_digit_segments(), groups=3, ramp_epochs=4)
    whole = history(task, lambda: made(task), tmp_path / "whole", 6)
    assert whole == history(task, lambda: made(task), tmp_path / "cut", 2, 6)


def planted(rows=None):
    """Features that are a random map of the attributes, and noise: what is learned of some classes holds for others.

    Args:
        rows: of which class each class gets the attributes; None: its own.
    """
    generator = torch.Generator().manual_seed(5)
    attributes = torch.randn(12, 6, generator=generator)
    y = torch.arange(12).repeat_interleave(40)
    x = attributes[y] @ torch.randn(6, 20, generator=generator) + 0.3 * torch.randn(480, 20, generator=generator)
    parts = {"train": range(8), "valid": (8, 9), "test": (10, 11)}
    split = {part: torch.isin(y, torch.tensor([*classes])).nonzero().flatten() for part, classes in parts.items()}
    return ZeroShotDataset("planted", x, y, attributes if rows is None else attributes[rows], split)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("groups", [1, 2])
def test_classes_never_seen_are_told_apart_by_their_attributes(loss, groups):
    def test_score(dataset):
        torch.manual_seed(0)
        task = ZeroShotTask(dataset, loss=loss, groups=groups, batch_size=32, change="absolute")
        model = made(task, dropout=0.0)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for epoch in range(1, 11):
            for step in task.train_losses(model, epoch):
                optimizer.zero_grad()
                step.backward()
                optimizer.step()
        return task.evaluate(model)["test"]

    assert test_score(planted()) > 0.9
    swapped = [*range(10), 11, 10]  # of the two to test: all that was learned is true, and names the other one
    assert test_score(planted(swapped)) < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "hinge"}, "loss must be one of ale, devise, eszsl, sje, softmax, got 'hinge'"),
        ({"adversary": -1.0}, "adversary must be 0 or more, got -1.0"),
        ({"adversary": math.inf}, "adversary must be 0 or more, got inf"),
        ({"ramp_epochs": -1}, "ramp_epochs must be an integer of at least 0, got -1"),
        ({"batch_size": 1}, "batch_size must be an integer of at least 2, got 1"),
        ({"batch_size": 2.5}, "batch_size must be an integer of at least 2, got 2.5"),
        ({"groups": 8}, "groups must be an integer from 1 to 7, the number of attributes, got 8"),
        ({"change": "gained"}, "change must be one of lost, absolute, got 'gained'"),
    ],
    ids=str,
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        ZeroShotTask(load_digit_segments(), **options)


def test_data_and_models_of_another_kind_are_refused(data):
    with pytest.raises(ValueError, match="dataset must be a ZeroShotDataset for task=zero_shot, .* got ImageDataset"):
        ZeroShotTask(load_digit_images())
    ZeroShotTask(data, groups=1).check(Recorder())
    task = ZeroShotTask(data, groups=2, change="absolute")
    task.check(made(task))
    with pytest.raises(ValueError, match=r"model must take features and reverse=, .* got Recorder: "):
        task.check(Recorder())


def test_runs_through_hydra(monkeypatch, tmp_path):
    (result,) = app.run(monkeypatch, tmp_path, *QUICK)
    assert (result["data"], result["model"], result["metric"]) == ("digit_segments", "grouped_attributes", "class_acc")
    assert all(0 <= result[part] <= 1 for part in ("train", "valid", "test"))
    groups = result["attribute_groups"]
    assert sorted(attribute for group in groups for attribute in group) == list(range(7)) and len(groups) > 1
    assert 0.5 < result["change_between_groups"] <= 1
    assert list(tmp_path.rglob("figure.png"))


def test_the_plain_loss_and_other_digits_run_through_hydra(monkeypatch, tmp_path):
    chosen = ["task.groups=1", "task.loss=sje", "data.valid_classes=[3,4]", "data.test_classes=[5,8]"]
    (result,) = app.run(monkeypatch, tmp_path, *QUICK, *chosen)
    assert result["attribute_groups"] == [list(range(7))]
    assert result["out_channels"] == 7 and list(tmp_path.rglob("figure.png"))


def test_attributes_that_do_not_match_are_refused_before_training(monkeypatch, tmp_path):
    digits = load_digit_segments()

    def cut(*args, **options):
        return ZeroShotDataset(digits.name, digits.x, digits.y, digits.attributes[:9], digits.split)

    monkeypatch.setattr("multipath_gcn.data.zero_shot.load_digit_segments", cut)
    with pytest.raises(Exception, match="attributes must have one row for each class of y, 10, got 9 rows"):
        app.run(monkeypatch, tmp_path, *QUICK)
    assert not list(tmp_path.rglob("history.csv"))
