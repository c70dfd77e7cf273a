"""Runs on disk to tables and plots. This package knows the files a run leaves behind, and no code that writes them."""

from .compare import add_differences, paired_difference
from .filters import plot_filters
from .layers import layer_table, plot_channels
from .run_plot import plot_run
from .runs import Problem, Run, read_runs
from .table import summarise
from .trade_off import plot_trade_off, pruning_table

__all__ = [
    "Problem",
    "Run",
    "add_differences",
    "layer_table",
    "paired_difference",
    "plot_channels",
    "plot_filters",
    "plot_run",
    "plot_trade_off",
    "pruning_table",
    "read_runs",
    "summarise",
]
