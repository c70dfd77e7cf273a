"""Forecasting of sequences: what the training steps of an epoch and an evaluation are."""

import inspect
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multipath_gcn.data.sequence_dataset import SequenceDataset

SHOWN = 6  # sequences in the figure


class SequenceTask:
    r"""Trains on the next frame of every sequence, scores all three splits by the likelihood of the next frames.

    .. math::
        L = \frac{1}{|V|} \sum_{(n, t) \in V} \sum_{e \le E} \mathrm{BCE}(\hat{x}_{n,t+1,e}, x_{n,t+1,e}), \qquad
        \mathrm{BCE}(p, x) = -x \log p - (1 - x) \log(1 - p)

    over V, the steps t = 1 to T - 1 of every sequence of T frames, and the E elements of a frame, with
    :math:`\hat{x}_{t+1}` forecast from frames 1 to t: nats per frame, which are trained on. The score is
    :math:`e^{-L / E}`, the geometric mean of the probability that a forecast gives to an element, in (0, 1]. Where
    elements lie between 0 and 1, no forecast reaches 0 nats, not even one that knows the next frame.

    Args:
        dataset: the sequences.
        batch_size: sequences of a training step, at most.
        eval_batch_size: sequences of an evaluation step.
        device: where steps are computed.

    Attributes:
        in_channels, out_channels: of the frames, both.
        further_sizes: ``frame_size``, height and width, which a model is made with besides.
        steps: training steps of an epoch.

    Raises:
        ValueError: for an argument out of its range.
    """

    def __init__(
        self,
        dataset: SequenceDataset,
        batch_size: int = 64,
        eval_batch_size: int = 256,
        device: torch.device | str = "cpu",
    ):
        if not isinstance(dataset, SequenceDataset):
            rule = "be a SequenceDataset for task=sequence, such as data=digit_rows"
            raise ValueError(f"dataset must {rule}, got {type(dataset).__name__}")
        for name, size in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {size!r}")
        self.dataset, self.eval_batch_size, self.device = dataset, eval_batch_size, torch.device(device)
        channels, *frame_size = dataset.shape
        self.in_channels = self.out_channels = channels
        self.further_sizes = {"frame_size": tuple(frame_size)}
        self.steps = math.ceil(len(dataset.splits["train"]) / batch_size)
        self._train_loss = math.nan

    def check(self, model: nn.Module) -> None:
        """Refuses a model that does not make forecasts of the dataset's sequences, one that folds as many frames as a
        sequence has, and batch norms where sequences differ in length: they would count what stands after the end."""
        try:
            inspect.signature(model.forward).bind(None)
        except TypeError as error:
            rule = "take sequences alone, such as model=temporally_folded, for task=sequence"
            raise ValueError(f"model must {rule}, got {type(model).__name__}: {error}") from error
        fold, least = getattr(model, "fold", 1), self.dataset.least_length
        if fold >= least:
            rule = f"fewer frames, 1 + the sum of (frames - 1), than the shortest of {self.dataset.name} has, {least}"
            raise ValueError(f"frames must fold {rule}, got frames that fold {fold}")
        norms = [name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        if norms and self.dataset.is_uneven:
            rule = f"have no batch norm for sequences of different length, as those of {self.dataset.name}"
            raise ValueError(f"model must {rule}, got {norms[0]}; model.convolution.norm_between=false leaves it out")
        self._check_forecast(model)

    @torch.no_grad()
    def _check_forecast(self, model: nn.Module) -> None:
        """Asks for one, which leaves the model as it was."""
        training, frames = model.training, self.dataset.splits["valid"][:1, : self.dataset.least_length - 1]
        try:
            got = list(model.eval()(frames.to(self.device)).shape)
        except (ValueError, RuntimeError) as error:
            got = error
        model.train(training)
        if got != list(frames.shape):
            rule = f"forecast frames of {list(frames.shape[2:])}, those of {self.dataset.name}"
            told = f": {got}" if isinstance(got, Exception) else f" of output {got} for {list(frames.shape)}"
            raise ValueError(f"model must {rule}, got {type(model).__name__}{told}")

    def train_losses(self, model: nn.Module, epoch: int) -> Iterator[Tensor]:
        """The loss of every step of an epoch, with a gradient; the model must be stepped before the next is taken.

        A step's loss is the mean over the frames of its own sequences, of which batches of uneven ones have more or
        fewer.
        """
        total, count = torch.zeros((), device=self.device), 0
        for positions in torch.randperm(len(self.dataset.splits["train"])).tensor_split(self.steps):
            model.train()
            loss, frames = self._loss(model, "train", positions)
            total, count = total + loss.detach() * frames, count + frames
            yield loss
        self._train_loss = (total / count).item()

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Likelihood of every split, and nats per frame of the validation sequences as ``valid_loss``.

        ``train`` is that of the last epoch's steps, by weights that were still changing; before the first, NaN.
        """
        losses = {"train": self._train_loss} | {part: self._mean_loss(model, part) for part in ("valid", "test")}
        elements = math.prod(self.dataset.shape)
        return {part: math.exp(-loss / elements) for part, loss in losses.items()} | {"valid_loss": losses["valid"]}

    @torch.no_grad()
    def finish(self, model: nn.Module, history: list[dict[str, float]], directory: Path) -> dict[str, Any]:
        """``nats_per_frame`` of ``valid`` and ``test``; and test sequences with their forecasts as ``figure.png``."""
        from multipath_gcn.report.forecasts import plot_forecasts  # here, since importing matplotlib takes a second

        nats = {part: self._mean_loss(model, part) for part in ("valid", "test")}
        frames, lengths = self.dataset.splits["test"][:SHOWN], self.dataset.lengths_of("test")[:SHOWN]
        forecasts = model(frames[:, :-1].to(self.device)).float().sigmoid().cpu()
        plot_forecasts(frames.numpy(), forecasts.numpy(), lengths.numpy(), directory / "figure.png")
        return {"nats_per_frame": nats}

    def _mean_loss(self, model: nn.Module, part: str) -> float:
        model.eval()
        total, count = 0.0, 0
        for positions in torch.arange(len(self.dataset.splits[part])).split(self.eval_batch_size):
            loss, frames = self._loss(model, part, positions)
            total, count = total + loss.item() * frames, count + frames
        return total / count

    def _loss(self, model: nn.Module, part: str, positions: Tensor) -> tuple[Tensor, int]:
        """Mean over the forecast frames of these sequences, and how many frames that are."""
        lengths = self.dataset.lengths_of(part)[positions]
        frames = self.dataset.splits[part][positions, : int(lengths.max())].to(self.device)
        real = (torch.arange(1, frames.size(1)) < lengths[:, None]).to(self.device)
        logits, wanted = model(frames[:, :-1]).float(), frames[:, 1:]
        count = int((lengths - 1).sum())
        return F.binary_cross_entropy_with_logits(logits[real], wanted[real], reduction="sum") / count, count
