import time

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim.lr_scheduler import LinearLR, OneCycleLR, ReduceLROnPlateau

from multipath_gcn.fit import COLUMNS, fit
from multipath_gcn.report import run_plot


class Regression:
    """A noisy least-squares problem with dropout; ``scores`` and ``losses`` script the validation's if given."""

    def __init__(self, scores=None, losses=None, stop_after=None, steps=1):
        self.steps = steps
        generator = torch.Generator().manual_seed(5)
        self.x, self.y = torch.randn(20, 4, generator=generator), torch.randn(20, 1, generator=generator)
        self.scores, self.losses, self.stop_after, self.epoch = scores, losses, stop_after, 0

    def train_losses(self, model, epoch):
        if self.epoch == self.stop_after:
            raise KeyboardInterrupt
        model.train()
        for _ in range(self.steps):
            yield (model(self.x) - self.y).square().mean()

    def evaluate(self, model):
        model.eval()
        self.epoch += 1
        loss = (model(self.x) - self.y).square().mean().item()
        valid = -loss if self.scores is None else self.scores[self.epoch - 1]
        return {
            "train": -loss,
            "valid": valid,
            "test": valid / 2,
            "valid_loss": loss if self.losses is None else self.losses[self.epoch - 1],
        }


def run(task, directory, epochs=12, one_cycle=False, **options):
    torch.manual_seed(3)
    fabric = Fabric(accelerator="cpu", devices=1)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    schedulers = [LinearLR(optimizer, 0.1, total_iters=4), ReduceLROnPlateau(optimizer, "max", patience=1)]
    if one_cycle:
        schedulers = [OneCycleLR(optimizer, 0.05, epochs=epochs, steps_per_epoch=task.steps)]
    model, optimizer = fabric.setup(model, optimizer)
    return fit(
        task, model, optimizer, fabric=fabric, directory=directory, epochs=epochs, schedulers=schedulers, **options
    )


def without_seconds(progress):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in progress.history]


@pytest.mark.parametrize("options", [{}, dict(ema=0.9), dict(one_cycle=True, ema=0.99)], ids=str)
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("interval", [0, 1e9])
def test_resumed_run_ends_in_the_same_numbers(tmp_path, interval, steps, options):
    (tmp_path / "whole").mkdir(), (tmp_path / "parts").mkdir()
    whole = run(Regression(steps=steps), tmp_path / "whole", **options)
    for stop in (2, 5):
        with pytest.raises(KeyboardInterrupt):
            run(Regression(stop_after=stop, steps=steps), tmp_path / "parts", checkpoint_seconds=interval, **options)
    parts = run(Regression(steps=steps), tmp_path / "parts", checkpoint_seconds=interval, **options)
    assert without_seconds(parts) == without_seconds(whole)
    assert parts.restarts == (2 if interval == 0 else 0)
    assert all(torch.equal(parts.best_weights[key], value) for key, value in whole.best_weights.items())


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = run(Regression(), tmp_path)
    again = run(Regression(stop_after=0), tmp_path)  # would raise at the first step
    assert again.history == first.history


@pytest.mark.parametrize(("losses", "best"), [([1, 1, 1, 1, 1], 2), ([1, 5, 1, 4, 1], 4), ([1, 4, 1, 5, 1], 2)])
def test_best_epoch_has_the_highest_score_then_the_lowest_loss_then_comes_first(tmp_path, losses, best):
    progress = run(Regression(scores=[0.1, 0.5, 0.3, 0.5, 0.2], losses=losses), tmp_path, epochs=5)
    assert progress.best["epoch"] == best
    assert progress.best["test"] == 0.25


def test_patience_counts_epochs_without_a_new_best(tmp_path):
    progress = run(Regression(scores=[0.1, 0.5, 0.3, 0.5, 0.2, 0.9], losses=[1] * 6), tmp_path, patience=3)
    assert progress.epoch == 5
    again = run(Regression(stop_after=0), tmp_path, patience=3)
    assert again.epoch == 5


def test_schedulers_are_stepped_each_epoch(tmp_path):
    lr = [row["lr"] for row in run(Regression(scores=[0.5] * 12), tmp_path).history]
    assert lr[0] == pytest.approx(0.005) and lr[1] > lr[0]
    assert lr[-1] < max(lr) / 50  # the plateau scheduler has cut it more than once


def test_history_is_on_disk_and_seconds_add_up(tmp_path):
    start = time.perf_counter()
    progress = run(Regression(), tmp_path, checkpoint_seconds=0)
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss,lr,train,valid,test,valid_loss,seconds"
    assert len(lines) == 13
    assert lines[-1].split(",")[0] == "12"
    assert progress.setup_seconds == 0
    assert run(Regression(), tmp_path, setup_seconds=2.0).setup_seconds == 2.0
    assert 0 < sum(row["seconds"] for row in progress.history) < time.perf_counter() - start


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(epochs=0), ValueError, "epochs must be at least 1, got 0"),
        (dict(patience=0), ValueError, "patience must be None or at least 1, got 0"),
    ],
)
def test_refuses(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        run(Regression(), tmp_path, **options)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    task = Regression()
    task.y[0] = torch.nan
    with pytest.raises(FloatingPointError, match="loss must be finite, got nan in epoch 1"):
        run(task, tmp_path)


def test_several_steps_an_epoch_report_their_mean_loss(tmp_path):
    class Steps(Regression):
        def train_losses(self, model, epoch):
            self.seen = []
            for loss in super().train_losses(model, epoch):
                self.seen.append(loss.item())
                yield loss

    task = Steps(steps=4)
    row = run(task, tmp_path, epochs=1).history[0]
    assert len(set(task.seen)) == 4 and row["loss"] == pytest.approx(sum(task.seen) / 4)


def test_one_cycle_is_stepped_after_every_step(tmp_path):
    lr = [row["lr"] for row in run(Regression(steps=5), tmp_path, epochs=10, one_cycle=True).history]
    schedule = OneCycleLR(torch.optim.SGD([torch.zeros(1)]), 0.05, epochs=10, steps_per_epoch=5)
    expected = []
    for step in range(50):
        expected += [schedule.get_last_lr()[0]] if step % 5 == 0 else []
        schedule.optimizer.step(), schedule.step()
    assert lr == pytest.approx(expected)


def test_a_moving_average_of_the_weights_is_what_is_scored_and_kept(tmp_path):
    weights, scored = [], []

    class Watched(Regression):
        def train_losses(self, model, epoch):
            for loss in super().train_losses(model, epoch):
                yield loss
                weights.append([p.detach().clone() for p in model.parameters()])

        def evaluate(self, model):
            scored.append([p.detach().clone() for p in model.parameters()])
            return super().evaluate(model)

    progress = run(Watched(steps=4, scores=[0.1, 0.2, 0.3]), tmp_path, epochs=3, ema=0.8)
    average = weights[0]
    for step, now in enumerate(weights[1:], start=1):
        kept = min(0.8, (step + 1) / (step + 10))
        average = [kept * a + (1 - kept) * w for a, w in zip(average, now, strict=True)]
        if step % 4 == 3:
            torch.testing.assert_close(scored[step // 4], average)
    torch.testing.assert_close(list(progress.best_weights.values()), average)


@pytest.mark.parametrize("ema", [-0.1, 1.0])
def test_refuses_a_decay_out_of_range(tmp_path, ema):
    with pytest.raises(ValueError, match=rf"ema must be None or in \[0, 1\), got {ema}"):
        run(Regression(), tmp_path, ema=ema)


def test_refuses_a_moving_average_of_weights_of_16_bits(tmp_path):
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-true")
    model = nn.Linear(4, 1)
    model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters()))
    with pytest.raises(ValueError, match="ema must be None where weights have 16 bits, .* of type torch.bfloat16"):
        fit(Regression(), model, optimizer, fabric=fabric, directory=tmp_path, epochs=1, ema=0.9)


def test_measures_of_the_model_are_columns(tmp_path):
    norms = []

    def norm(model):
        norms.append(sum(float(p.detach().square().sum()) for p in model.parameters()))
        return norms[-1]

    progress = run(Regression(), tmp_path, epochs=3, measures={"norm": norm})
    assert [row["norm"] for row in progress.history] == norms and len(set(norms)) == 3
    assert "norm" in (tmp_path / "history.csv").read_text().splitlines()[0].split(",")
    with pytest.raises(ValueError, match=r"measures must have other names than the columns .*, got \['lr'\]"):
        run(Regression(), tmp_path / "other", measures={"lr": norm})


def test_reports_know_the_columns_that_are_no_measures():
    assert set(run_plot.COLUMNS) == COLUMNS
