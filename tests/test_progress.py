import logging

from multipath_gcn import progress

ROW = {"loss": 1.5, "valid": 0.25, "test": 0.5}


def test_without_a_terminal_a_run_writes_a_few_lines(caplog):
    caplog.set_level(logging.INFO)
    with progress.training_progress("mine", 10, steps=3) as (on_epoch, on_step):
        for epoch in range(1, 11):
            for step in range(1, 4):
                on_step(epoch, step)
            on_epoch(ROW | {"epoch": epoch})
    assert caplog.messages == [f"mine  epoch {epoch}  loss 1.5000  valid 25.00  test 50.00" for epoch in (5, 10)]


def test_a_long_epoch_says_that_it_goes_on(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.training_progress("mine", 2, steps=1000) as (_, on_step):
        for step in range(1, 1001):
            now[0] += 1.0
            on_step(1, step)
    assert caplog.messages == [f"mine  epoch 1  step {step} of 1000" for step in (300, 600, 900)]


def test_on_a_terminal_a_bar_counts_steps(monkeypatch):
    class Terminal(progress.Console):
        is_terminal = True

    shown = []
    monkeypatch.setattr(progress, "Console", Terminal)
    monkeypatch.setattr(progress.Progress, "update", lambda self, task, **fields: shown.append(fields))
    with progress.training_progress("mine", 2, steps=5) as (on_epoch, on_step):
        on_step(2, 3), on_epoch(ROW | {"epoch": 2})
    assert [fields["completed"] for fields in shown] == [8, 10]
