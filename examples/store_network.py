"""A trained network for other machines: as ONNX of standard operators, and as arrays for NumPy alone.

    multipath-gcn task=image model/convolution=separable_sliding runs=runs/example
    python examples/store_network.py runs/example/digit_images/*/seed0 network

writes network.onnx and network.npz, and checks ONNX Runtime's scores where that is installed.
"""

import sys
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from multipath_gcn.data import Normalize
from multipath_gcn.models import save_arrays
from multipath_gcn.nn import to_stock
from multipath_gcn.trained import load_trained


def main(run: str, name: str) -> None:
    model = load_trained(run)
    dataset = instantiate(OmegaConf.load(Path(run) / "config.yaml").data)
    rows = dataset.splits["test"].rows.tolist()
    save_arrays(model, f"{name}.npz", mean=dataset.mean, std=dataset.std, test_rows=rows)

    images = dataset.splits["test"].batch(torch.arange(8))
    x = Normalize(dataset.mean, dataset.std)(images).contiguous()
    batch = {0: torch.export.Dim("batch")}
    torch.onnx.export(to_stock(model), (x,), f"{name}.onnx", dynamo=True, dynamic_shapes=(batch,), verbose=False)
    print(f"wrote {name}.npz and {name}.onnx")
    try:
        import onnxruntime
    except ImportError:
        print("ONNX Runtime is not installed: its scores are not checked")
        return
    session = onnxruntime.InferenceSession(f"{name}.onnx")
    (scores,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        print(f"ONNX Runtime differs by {abs(model(x).numpy() - scores).max():.1e}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
