import logging

import numpy as np
import pytest

from multipath_gcn.data.image_decode import BadImage, Rules, decode_image, read_decoded, write_decoded
from multipath_gcn.data.image_source import Columns, ParquetFile

COLUMNS = Columns("img", "label", 4)
STRICT = Rules((6, 5), 3, resize=False, convert=False, on_error="stop")
FREE = Rules((6, 5), 3, resize=True, convert=True, on_error="stop")


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_what_fits_is_taken_as_it_is(encode):
    image = pixels(6, 5, 3)
    for rules in (STRICT, FREE):
        assert np.array_equal(decode_image(encode(image), rules), image)
    grey = Rules((6, 5), 1, resize=False, convert=False, on_error="stop")
    assert np.array_equal(decode_image(encode(image[..., 0]), grey), image[..., :1])


@pytest.mark.parametrize(
    "shape, message",
    [
        ((6, 5), "wrong channel count: its mode must be RGB, unless convert=true, got L"),
        ((6, 5, 4), "wrong channel count: .* got RGBA"),
        ((5, 6, 3), "wrong image size: it must be 6 x 5, unless resize=true, got 5 x 6"),
    ],
)
def test_another_shape_is_refused(encode, shape, message):
    with pytest.raises(ValueError, match=message) as caught:
        decode_image(encode(pixels(*shape)), STRICT)
    assert not isinstance(caught.value, BadImage), "on_error=skip is for broken images only"


def test_other_colours_where_allowed(encode):
    grey = pixels(6, 5)
    assert np.array_equal(decode_image(encode(grey), FREE), np.repeat(grey[..., None], 3, axis=2))
    clear = pixels(6, 5, 4)
    assert np.array_equal(decode_image(encode(clear), FREE), clear[..., :3])
    with pytest.raises(ValueError, match="wrong channel count: its mode must be one of 1, CMYK.*, got I;16"):
        decode_image(encode(pixels(6, 5).astype(np.uint16) * 256), FREE)


@pytest.mark.parametrize("height, width", [(60, 50), (60, 90), (97, 50), (3, 4)])
def test_resized_about_the_centre(encode, height, width):
    # Colour rises evenly down and across: what is sampled says where from. A fine pattern beside it must blur away.
    down, across = np.mgrid[:height, :width]
    rise = 255 * (down + 0.5) / height, 255 * (across + 0.5) / width
    image = np.stack([*rise, 255 * ((down + across) % 2)], axis=2).astype(np.uint8)
    out = decode_image(encode(image), FREE).astype(float)
    assert out.shape == (6, 5, 3)
    scale = min(height / 6, width / 5)
    y, x = (
        (height - 6 * scale) / 2 + scale * (np.arange(6) + 0.5),
        (width - 5 * scale) / 2 + scale * (np.arange(5) + 0.5),
    )
    near = 1 + 255 * scale / min(height, width) / 2  # rounding, and what antialiasing cuts off at the borders
    assert np.abs(out[..., 0] - 255 * y[:, None] / height).max() < near
    assert np.abs(out[..., 1] - 255 * x / width).max() < near
    if scale > 2:
        assert np.abs(out[..., 2] - 127.5).max() < 12


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_broken_images(encode, kind):
    content = encode(pixels(60, 50, 3), kind)
    for bad in (None, b"", b"no image", content[:20], content[: len(content) // 2], encode(pixels(6, 5, 3), "GIF")):
        with pytest.raises(BadImage, match="there are no bytes|it cannot be decoded: "):
            decode_image(bad, FREE)


@pytest.fixture
def files(tmp_path, write_images):
    """Two files of 23 and 5 images; rows 3 and 20 of the first are broken."""
    first, second = tmp_path / "raw/train-0.parquet", tmp_path / "raw/train-1.parquet"
    one, one_labels = write_images(first, 23, change={3: b"no image", 20: None})
    two, two_labels = write_images(second, 5, seed=1)
    good = np.delete(np.arange(23), [3, 20])
    content = np.concatenate([one[good], two]), np.concatenate([one_labels[good], two_labels])
    return [ParquetFile(first), ParquetFile(second)], content


def test_the_first_broken_image_stops(files, tmp_path):
    sources, _ = files
    place = (
        rf"^{sources[0].path}, column 'img', row 3 \(3.png\): it cannot be decoded: Unidentified.*on_error=skip leaves"
    )
    with pytest.raises(ValueError, match=place):
        write_decoded(tmp_path / "cache/set", sources, COLUMNS, STRICT)
    assert list((tmp_path / "cache").iterdir()) == [], "nothing partial is left"


def test_broken_images_are_left_out_and_counted(files, tmp_path, caplog):
    sources, (images, labels) = files
    rules = Rules((6, 5), 3, resize=False, convert=False, on_error="skip")
    folder = tmp_path / "cache/set"
    write_decoded(folder, sources, COLUMNS, rules)
    names = {"labels.npy", "manifest.json", "meta.json", "moments.npy", "pixels.npy"}
    assert {path.name for path in folder.iterdir()} == names
    for _ in range(2):
        caplog.clear()
        decoded = read_decoded(folder)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING and "set: 2 unreadable images were left out" in record.message
        assert "row 3 (3.png): it cannot" in record.message and "row 20 (20.png): there are no" in record.message
    assert isinstance(decoded.pixels, np.memmap) and not decoded.pixels.flags.writeable
    assert np.array_equal(decoded.pixels, images) and np.array_equal(decoded.labels, labels)
    assert np.array_equal(decoded.moments[:, 0], images.sum(axis=(1, 2), dtype=np.int64))


def test_an_image_of_another_size_is_not_skipped(tmp_path, write_images, encode):
    path = tmp_path / "train-0.parquet"
    write_images(path, 5, change={4: encode(pixels(6, 6, 3))})
    for on_error in ("stop", "skip"):
        rules = Rules((6, 5), 3, resize=False, convert=False, on_error=on_error)
        with pytest.raises(ValueError, match=r"train-0.parquet, column 'img', row 4 \(4.png\): wrong image size"):
            write_decoded(tmp_path / "cache/set", [ParquetFile(path)], COLUMNS, rules)
    assert list((tmp_path / "cache").iterdir()) == []


def test_nothing_left_is_refused(tmp_path, write_images):
    path = tmp_path / "train-0.parquet"
    write_images(path, 2, change={0: b"", 1: b""})
    rules = Rules((6, 5), 3, resize=False, convert=False, on_error="skip")
    with pytest.raises(ValueError, match=f"a split must not be empty, got 0 readable images and 2 others in {path}"):
        write_decoded(tmp_path / "cache/set", [ParquetFile(path)], COLUMNS, rules)
    assert list((tmp_path / "cache").iterdir()) == []


def test_large_files_are_not_hashed_but_have_their_length(files, tmp_path, monkeypatch):
    sources, (images, _) = files
    folder = tmp_path / "cache/set"
    write_decoded(folder, sources[1:], COLUMNS, STRICT)
    monkeypatch.setattr("multipath_gcn.data.image_decode._HASHED", 400)  # bytes: pixels and moments have more
    content = bytearray((folder / "pixels.npy").read_bytes())
    content[-1] ^= 1
    (folder / "pixels.npy").write_bytes(content)
    assert (read_decoded(folder).pixels != images[-5:]).sum() == 1
    (folder / "pixels.npy").write_bytes(content[:-1])
    with pytest.raises(ValueError, match="mmap length is greater than file size"):
        read_decoded(folder)
