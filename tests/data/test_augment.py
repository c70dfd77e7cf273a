import pytest
import torch

from multipath_gcn.data import Augment, Normalize


def images(count=6, channels=3, height=5, width=7):
    rows = torch.randint(1, 256, (count, height, width, channels), dtype=torch.uint8)
    return rows.permute(0, 3, 1, 2)


def one_by_one(images, padding, top, left, flipped):
    out = []
    for image, t, s, mirrored in zip(images, top.tolist(), left.tolist(), flipped.tolist(), strict=True):
        padded = torch.nn.functional.pad(image, [padding] * 4)
        crop = padded[:, t : t + image.size(1), s : s + image.size(2)]
        out.append(crop.flip(2) if mirrored else crop)
    return torch.stack(out)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("padding", [0, 1, 4])
def test_every_offset_is_that_of_a_loop_over_images(padding, channels):
    draws = torch.cartesian_prod(*(torch.arange(2 * padding + 1),) * 2, torch.arange(2)).unbind(1)
    batch = images(len(draws[0]), channels)
    out = Augment(padding).apply(batch, *draws)
    assert out.dtype == torch.uint8 and torch.equal(out, one_by_one(batch, padding, *draws))
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(Augment(padding).apply(batch.contiguous(), *draws), out), "whatever the memory format given"


def test_a_call_applies_what_a_generator_of_that_state_draws():
    batch, augment = images(50), Augment(2)
    out = augment(batch, torch.Generator().manual_seed(3))
    top, left, flipped = augment.draw(50, torch.Generator().manual_seed(3))
    assert torch.equal(out, one_by_one(batch, 2, top, left, flipped))
    assert top.unique().tolist() == left.unique().tolist() == [0, 1, 2, 3, 4] and flipped.unique().tolist() == [0, 1]


def test_a_generator_resumes_exactly():
    batch, augment, generator = images(), Augment(), torch.Generator().manual_seed(0)
    augment(batch, generator)
    state = generator.get_state()
    second = augment(batch, generator)
    assert torch.equal(augment(batch, torch.Generator().set_state(state)), second)
    torch.manual_seed(5)
    default = augment(batch)
    assert torch.equal(augment(batch, torch.Generator().manual_seed(5)), default)


def test_both_sides_are_equally_likely():
    _, _, flipped = Augment().draw(20_000)
    assert 0.48 < flipped.float().mean() < 0.52
    top, left, _ = Augment(1).draw(30_000)
    assert all(9_500 < count < 10_500 for draws in (top, left) for count in draws.bincount().tolist())


def test_without_a_flip_the_left_stays_left():
    batch = images(64)
    assert torch.equal(Augment(0, flip=False)(batch), batch)
    assert not Augment(4, flip=False).draw(1000)[2].any()
    out = Augment(0)(batch)
    kept, turned = ((out == side).flatten(1).all(1) for side in (batch, batch.flip(3)))
    assert (kept ^ turned).all() and kept.any() and turned.any()


def test_the_batch_given_is_not_changed_and_may_be_empty():
    batch = images()
    before = batch.clone()
    Augment()(batch).zero_()
    Augment(0, flip=False)(batch).zero_()
    assert torch.equal(batch, before)
    assert Augment()(batch[:0]).shape == (0, 3, 5, 7)
    assert Normalize((0.5,) * 3, (1.0,) * 3)(batch[:0]).shape == (0, 3, 5, 7)


@pytest.mark.parametrize("channels", [1, 3])
def test_normalize(channels):
    mean, std = (0.49, 0.48, 0.45)[:channels], (0.25, 0.24, 0.26)[:channels]
    batch = images(4, channels)
    out = Normalize(mean, std)(batch)
    shape = (1, channels, 1, 1)
    expected = (batch.double() / 255 - torch.tensor(mean).double().view(shape)) / torch.tensor(std).double().view(shape)
    torch.testing.assert_close(out, expected.float(), rtol=1e-5, atol=1e-6)
    assert out.dtype == torch.float32 and out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(Normalize(mean, std)(batch.contiguous()), out, rtol=0, atol=0)
    normalize = Normalize(mean, std)
    for width in (7, 3, 7):
        torch.testing.assert_close(normalize(batch[..., :width]), out[..., :width], rtol=0, atol=0)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Augment(-1), "crop_padding must be at least 0, got -1"),
        (lambda: Augment()(images().float()), r"images must be uint8 .* got torch.float32 \(6, 3, 5, 7\)"),
        (lambda: Augment()(images()[0]), r"images must be uint8 of shape \[B, C, H, W\], got torch.uint8 \(3, 5, 7\)"),
        (lambda: Normalize((0.5,), (1.0, 1.0)), "one number per channel each, got 1 and 2"),
        (lambda: Normalize((0.5, 0.5), (1.0, 0.0)), r"std must be positive, got \(1.0, 0.0\)"),
        (lambda: Normalize((0.5,), (1.0,))(images()), r"of shape \[B, 1, H, W\], got torch.uint8 \(6, 3, 5, 7\)"),
        (lambda: Normalize((0.5,) * 3, (1.0,) * 3)(images().float()), "images must be uint8 .* got torch.float32"),
        (lambda: Normalize((0.5,) * 3, (1.0,) * 3)(images()[0]), "images must be uint8 of shape"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
