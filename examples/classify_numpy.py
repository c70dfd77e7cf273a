"""Test images classified without PyTorch, by a network that store_network.py wrote.

    python examples/classify_numpy.py network.npz digits
    python examples/classify_numpy.py network.npz cifar10/test-00000-of-00001.parquet

The second argument is scikit-learn's digits or a parquet file of encoded images (columns img and label).
"""

import io
import sys
import time

import numpy as np

from multipath_gcn.kernels import Network


def digits() -> tuple[np.ndarray, np.ndarray]:
    import sklearn.datasets

    pixels, labels = sklearn.datasets.load_digits(return_X_y=True)
    return np.rint(pixels * 255 / 16).astype(np.uint8).reshape(-1, 8, 8, 1), labels


def parquet(path: str) -> tuple[np.ndarray, np.ndarray]:
    import pyarrow.parquet
    from PIL import Image

    table = pyarrow.parquet.read_table(path, columns=["img", "label"])
    images = [np.asarray(Image.open(io.BytesIO(image["bytes"]))) for image in table["img"].to_pylist()]
    return np.stack(images), table["label"].to_numpy()


def main(network: str, source: str) -> None:
    assert "torch" not in sys.modules
    net = Network(network)
    mean, std = (np.array(net.facts[name], np.float32) for name in ("mean", "std"))
    pixels, labels = digits() if source == "digits" else parquet(source)
    rows = net.facts["test_rows"]  # the network has learned from the others
    pixels, labels = pixels[rows], labels[rows]
    start, hits = time.perf_counter(), 0
    for first in range(0, len(pixels), 64):
        images = (pixels[first : first + 64] / np.float32(255) - mean) / std
        scores = net(images.transpose(0, 3, 1, 2), threads=2)  # channels-last, as the images lie
        hits += int((scores.argmax(1) == labels[first : first + 64]).sum())
    seconds = time.perf_counter() - start
    print(f"{len(pixels)} test images, {100 * hits / len(pixels):.2f} % right, {len(pixels) / seconds:.0f} images/s")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
