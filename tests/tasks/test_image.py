import pytest
import torch
from torch import nn
from torch.nn import functional as F

from multipath_gcn.data import ImageDataset, ImageSplit
from multipath_gcn.models import GCN
from multipath_gcn.tasks import ImageTask, NodeTask

SIZES = {"train": 10, "valid": 4, "test": 6}


def images(**options):
    """20 random images of 6 x 5 pixels, two channels, three classes."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (20, 6, 5, 2), dtype=torch.uint8, generator=generator).numpy()
    labels = torch.randint(3, (20,), generator=generator)
    rows = dict(zip(SIZES, torch.arange(20).split(list(SIZES.values())), strict=True))
    splits = {part: ImageSplit(pixels, labels[rows[part]], rows[part]) for part in SIZES}
    return ImageDataset("tiny", splits, 3, (0.5, 0.25), (0.2, 0.3), **options)


class Recorder(nn.Module):
    """Linear in all pixels, and keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.linear, self.seen = nn.Linear(60, 3), []

    def forward(self, x):
        self.seen.append((x, self.training))
        return self.linear(x.flatten(1))


def normalised(dataset, part):
    split = dataset.splits[part]
    x = torch.from_numpy(split.pixels[split.rows.numpy()]).permute(0, 3, 1, 2) / 255
    return (x - torch.tensor(dataset.mean)[:, None, None]) / torch.tensor(dataset.std)[:, None, None]


def test_an_epoch_sees_every_image_once_in_batches_of_equal_size():
    task, model = ImageTask(images(), batch_size=4), Recorder()
    losses = list(task.train_losses(model, 1))
    assert task.steps == len(losses) == 3
    assert sorted(len(x) for x, _ in model.seen) == [3, 3, 4] and all(training for _, training in model.seen)
    seen = torch.cat([x for x, _ in model.seen])
    wanted = normalised(task.dataset, "train")
    distance = torch.cdist(seen.flatten(1), wanted.flatten(1))
    assert distance.min(1).values.max() < 1e-4 and len(distance.argmin(1).unique()) == 10
    assert distance.argmin(1).tolist() != list(range(10))


def test_the_loss_is_the_smoothed_cross_entropy_of_the_batch():
    task, model = ImageTask(images(), batch_size=10, label_smoothing=0.1), Recorder()
    (loss,) = task.train_losses(model, 1)
    x = model.seen[0][0]
    order = torch.cdist(x.flatten(1), normalised(task.dataset, "train").flatten(1)).argmin(1)
    labels = task.dataset.splits["train"].labels[order]
    target = 0.9 * F.one_hot(labels, 3) + 0.1 / 3
    torch.testing.assert_close(loss, -(target * model.linear(x.flatten(1)).log_softmax(1)).sum(1).mean())
    loss.backward()
    assert model.linear.weight.grad.abs().sum() > 0


def test_evaluation_takes_images_as_they_are_in_any_batch_size():
    dataset = images(crop_padding=2, flip=True)
    scores = []
    for size in (1, 3, 100):
        torch.manual_seed(5)
        task, model = ImageTask(dataset, eval_batch_size=size), Recorder()
        scores.append(task.evaluate(model))
        assert not any(training for _, training in model.seen)
    for part in ("valid", "test"):
        outputs, labels = model.linear(normalised(dataset, part).flatten(1)), dataset.splits[part].labels
        for score in scores:
            assert score[part] == pytest.approx((outputs.argmax(1) == labels).double().mean().item())
            if part == "valid":
                assert score["valid_loss"] == pytest.approx(F.cross_entropy(outputs, labels).item(), rel=1e-5)


def test_the_train_score_is_that_of_the_epochs_own_steps():
    task, model = ImageTask(images(), batch_size=5), Recorder()
    list(task.train_losses(model, 1))
    hits = 0
    wanted = normalised(task.dataset, "train")
    for x, _ in model.seen:
        labels = task.dataset.splits["train"].labels[torch.cdist(x.flatten(1), wanted.flatten(1)).argmin(1)]
        hits += (model.linear(x.flatten(1)).argmax(1) == labels).sum().item()
    assert task.evaluate(model)["train"] == pytest.approx(hits / 10)


def test_augmentation_is_the_data_sets_unless_given():
    task = ImageTask(images(crop_padding=2, flip=True))
    assert (task.augment.crop_padding, task.augment.flip) == (2, True)
    task = ImageTask(images(crop_padding=2, flip=True), crop_padding=0, flip=False)
    assert (task.augment.crop_padding, task.augment.flip) == (0, False)
    torch.manual_seed(0)
    moved, model = ImageTask(images(), crop_padding=3), Recorder()
    list(moved.train_losses(model, 1))
    distance = torch.cdist(model.seen[0][0].flatten(1), normalised(moved.dataset, "train").flatten(1)).min(1).values
    assert (distance > 1).sum() > 3


@pytest.mark.parametrize("channels_last", [True, False])
def test_images_and_weights_have_the_memory_format(channels_last):
    task, seen = ImageTask(images(), channels_last=channels_last), []
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    model[0].register_forward_hook(lambda layer, args, y: seen.append((args[0].stride(), layer.weight.stride())))
    list(task.train_losses(model, 1)), task.evaluate(model)
    expected = ((60, 1, 10, 2), (18, 1, 6, 2)) if channels_last else ((60, 30, 5, 1), (18, 9, 3, 1))
    assert set(seen) == {expected}


def test_draws_come_from_pytorchs_generator():
    task = ImageTask(images(crop_padding=2, flip=True), batch_size=4)
    runs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        model = Recorder()
        list(task.train_losses(model, 1))
        runs.append(torch.cat([x for x, _ in model.seen]))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(batch_size=0), "batch_size must be an integer of at least 1, got 0"),
        (dict(batch_size=2.5), "batch_size must be an integer of at least 1, got 2.5"),
        (dict(eval_batch_size="8"), "eval_batch_size must be an integer of at least 1, got '8'"),
        (dict(flip=3), "flip must be true, false or null, got 3"),
        (dict(label_smoothing=1.0), r"label_smoothing must lie in \[0, 1\), got 1.0"),
        (dict(crop_padding=-1), "crop_padding must be at least 0, got -1"),
    ],
    ids=str,
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        ImageTask(images(), **options)


def test_a_data_set_of_the_other_kind_is_refused():
    with pytest.raises(ValueError, match="dataset must be a NodeDataset.* got ImageDataset; images need task=image"):
        NodeTask(images())
    with pytest.raises(ValueError, match="dataset must be an ImageDataset for task=image, .* got object"):
        ImageTask(object())


def test_a_model_of_the_other_kind_is_refused():
    ImageTask(images()).check(Recorder())
    with pytest.raises(ValueError, match="model must take images alone, .* got GCN: missing a required argument"):
        ImageTask(images()).check(GCN(2, 4, 3))


@pytest.mark.parametrize(("size", "steps"), [(9, 2), (4, 3), (3, 4), (2, 5), (1, 10), (100, 1)])
def test_no_batch_is_a_single_image_unless_asked_for(size, steps):
    task, model = ImageTask(images(), batch_size=size), Recorder()
    assert len(list(task.train_losses(model, 1))) == task.steps == steps
    assert min(len(x) for x, _ in model.seen) > 1 or size == 1


def test_of_five_images_in_pairs_none_is_alone():
    dataset = images()
    split = dataset.splits["train"]
    dataset.splits["train"] = ImageSplit(split.pixels, split.labels[:5], split.rows[:5])
    task, model = ImageTask(dataset, batch_size=2), Recorder()
    list(task.train_losses(model, 1))
    assert sorted(len(x) for x, _ in model.seen) == [2, 3]
