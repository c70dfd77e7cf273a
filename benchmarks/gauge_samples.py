"""How far the output of a network moves when all frames are turned at random: by number of samples, and with gates.

    python benchmarks/gauge_samples.py

Networks of two layers of order 2, 16 channels, as they begin, five seeds, on one mesh of 642 vertices, float64, against
the deviation of the output over vertices. Writes benchmarks/results/gauge_samples/cpu.csv.
"""

from pathlib import Path

import pandas as pd
import torch

from multipath_gcn.data.mesh_geometry import turn_frames
from multipath_gcn.data.mesh_gradients import load_mesh_gradients
from multipath_gcn.graph import GaugeGraph
from multipath_gcn.models import GaugeEquivariantNet

RESULTS = Path(__file__).parent / "results/gauge_samples"
WAYS = {f"{samples} samples": {"samples": samples} for samples in (5, 7, 9, 15, 31, 101)}
WAYS["gates"] = {"nonlinearity": "gated"}


def deviations(options: dict, seed: int, mesh) -> tuple[float, float]:
    torch.manual_seed(seed)
    model = GaugeEquivariantNet(2, 16, 6, paths=((2, 2),), **options).double().eval()
    turned = turn_frames(mesh, torch.rand(mesh.num_nodes, dtype=torch.float64) * 7)
    with torch.no_grad():
        one, other = (
            model(mesh.x.double(), GaugeGraph(m.edge_index, m.angle, m.transport, m.num_nodes)) for m in (mesh, turned)
        )
    size = one.std(0).mean()
    return float((one - other).square().mean().sqrt() / size), float((one - other).abs().max() / size)


def main() -> None:
    mesh = load_mesh_gradients(train=1, valid=1, test=1).splits["train"][0]
    for name in ("angle", "transport", "frame"):
        mesh[name] = mesh[name].double()
    rows = []
    for way, options in WAYS.items():
        mean, worst = zip(*(deviations(options, seed, mesh) for seed in range(5)), strict=True)
        rows.append({"nonlinearity": way, "mean_deviation": sum(mean) / 5, "largest_deviation": max(worst)})
        print("{nonlinearity:12s} {mean_deviation:9.2e} {largest_deviation:9.2e}".format(**rows[-1]))
    RESULTS.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(RESULTS / "cpu.csv", index=False, float_format="%.3g")


if __name__ == "__main__":
    main()
