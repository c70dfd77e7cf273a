"""A gauge-equivariant layer against a graph convolution of as many channels, on a torus of 99,840 edges.

    python benchmarks/gauge_conv.py

C channels of each of the 2L+1 components against (2L+1) C channels of ``GCNConv``; forward alone, and forward and
backward, by turns, medians. Beside them the layer as the paper's code computes it, messages by an einsum of edges and a
kernel each, where that fits. Writes
benchmarks/results/gauge_conv/cpu.csv.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import Data

from multipath_gcn.data import MeshGeometry
from multipath_gcn.data.mesh_shapes import torus
from multipath_gcn.graph import GaugeGraph, Graph
from multipath_gcn.machine import describe
from multipath_gcn.nn import GaugeEquivariantConv, GCNConv

RESULTS = Path(__file__).parent / "results/gauge_conv"
TURNS = 15


def along_edges(conv: GaugeEquivariantConv, x: Tensor, graph: GaugeGraph) -> Tensor:
    """The same map, edge by edge: turn, mix, turn, add."""

    def turn(x: Tensor, angle: Tensor) -> Tensor:
        parts = [x[:, :1]]
        for m in range(1, (x.size(1) + 1) // 2):
            cos, sin = ((m * angle).cos()[:, None], (m * angle).sin()[:, None])
            re, im = x[:, 2 * m - 1], x[:, 2 * m]
            parts += [(cos * re - sin * im)[:, None], (sin * re + cos * im)[:, None]]
        return torch.cat(parts, dim=1)

    there = turn(x[graph.source], graph.transport - graph.angle)
    messages = turn(torch.einsum("bocl,ncl->nbo", conv.weight, there), graph.angle)
    degree = graph.target.bincount(minlength=graph.num_nodes)[:, None, None]
    y = torch.zeros(graph.num_nodes, *messages.shape[1:]).index_add(0, graph.target, messages) / degree
    own = conv.weight_self
    parts = [x[:, 0] @ own[0].t() + conv.bias]
    for m in range(1, (own.size(0) + 1) // 2):
        re, im = own[2 * m - 1].t(), own[2 * m].t()
        parts += [x[:, 2 * m - 1] @ re - x[:, 2 * m] @ im, x[:, 2 * m - 1] @ im + x[:, 2 * m] @ re]
    return y + torch.stack(parts, dim=1)


def seconds(calls: dict) -> dict[str, float]:
    found = {name: [] for name in calls}
    for turn in range(TURNS + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                found[name].append(time.perf_counter() - start)
    return {name: 1e3 * median(times) for name, times in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    pos, face = torus(128, 130)
    mesh = MeshGeometry()(Data(pos=pos.float(), face=face))
    graph = GaugeGraph(mesh.edge_index, mesh.angle, mesh.transport, len(pos))
    matrix = Graph.normalized(mesh.edge_index, num_nodes=len(pos))
    rows = []
    for order in (1, 2):
        for channels in (8, 16, 32, 64):
            width = (2 * order + 1) * channels
            conv, gcn = GaugeEquivariantConv(channels, channels, order, order), GCNConv(width, width)
            x = torch.randn(len(pos), 2 * order + 1, channels)
            flat = x.flatten(1)
            ways = {
                "gauge": (lambda x, conv=conv: conv(x, graph), x),
                "gcn": (lambda x, gcn=gcn: gcn(x, matrix), flat),
                "edges": (lambda x, conv=conv: along_edges(conv, x, graph), x),
            }
            with torch.no_grad():
                torch.testing.assert_close(ways["edges"][0](x), conv(x, graph), atol=1e-4, rtol=1e-4)
                forward = seconds({name: (lambda call=call, x=x: call(x)) for name, (call, x) in ways.items()})

            def step(call, x):
                call(x.clone().requires_grad_()).sum().backward()

            both = seconds({name: (lambda call=call, x=x: step(call, x)) for name, (call, x) in ways.items()})
            for name, times, ratio in (("forward", forward, forward), ("step", both, both)):
                rows.append(
                    {"order": order, "channels": channels, "pass": name, "threads": torch.get_num_threads()}
                    | {f"ms_{way}": value for way, value in times.items()}
                    | {"ratio_to_gcn": ratio["gauge"] / ratio["gcn"], "edges_to_gauge": ratio["edges"] / ratio["gauge"]}
                )
                print({key: round(value, 2) if isinstance(value, float) else value for key, value in rows[-1].items()})
    RESULTS.mkdir(parents=True, exist_ok=True)
    hardware = describe(torch.device("cpu"))["hardware"]
    pd.DataFrame(rows).assign(hardware=hardware).to_csv(RESULTS / "cpu.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
