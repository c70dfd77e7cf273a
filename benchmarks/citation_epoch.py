"""A training epoch and an evaluation on Cora and CiteSeer: the paper's networks, and the same of PyG's own layers.

Full batch, Adam, no dropout (as released); ours takes the sparse bag of words, PyG's network dense features and
`edge_index`, normalised once. Scores must agree first. Interleaved, medians.

    MULTIPATH_GCN_DATA=... python benchmarks/citation_epoch.py
"""

import csv
import sys
from pathlib import Path

import multipath_epoch
import torch
from timing import Clock, describe, interleaved
from torch.nn import functional as F

from multipath_gcn.data import load_planetoid
from multipath_gcn.graph import Graph
from multipath_gcn.nn import MultiPathGCN
from multipath_gcn.ops.features import compressed

NETWORKS = {  # conf/experiment/paper_cora.yaml and paper_citeseer.yaml
    "cora": {"hidden": 128, "stem": 2, "paths": ((128,), ())},
    "citeseer": {"hidden": 256, "stem": 1, "paths": ((256,), (256,))},
}
OUT = Path(__file__).parent / "results" / "citation_epoch"


def main() -> None:
    clock, rows = Clock(torch.device("cpu")), []
    for name in NETWORKS:
        times = interleaved(calls(name), clock, seconds=5.0, rounds=(5, 100))
        for (what, who), time in times.items():
            ratio = time.median / times[what, "ours"].median
            rows.append({"data": name, "what": what, "network": who, "ms": time.median * 1e3, "ratio": ratio})
            print({k: round(v, 2) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / "cpu.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    lines = [f"`python benchmarks/citation_epoch.py {' '.join(sys.argv[1:])}`".replace(" `", "`"), ""]
    lines += [f"{key}: {value}  " for key, value in describe(clock).items()]
    lines += ["", "| data | | network | ms | times ours |", "|---|---|---|---|---|"]
    lines += [f"| {r['data']} | {r['what']} | {r['network']} | {r['ms']:.2f} | {r['ratio']:.1f} |" for r in rows]
    (OUT / "cpu.md").write_text("\n".join(lines) + "\n")


def calls(name: str):
    data, options = load_planetoid(name), NETWORKS[name]
    hidden, rest = options["hidden"], {key: options[key] for key in ("stem", "paths")}
    torch.manual_seed(0)
    sizes = data.x.size(1), hidden, data.num_outputs
    ours = MultiPathGCN(*sizes, **rest)
    theirs = multipath_epoch.pyg_network(True, sizes, dropout=0.0, **rest)
    theirs.load_state_dict(ours.state_dict())
    graph, x = Graph.normalized(data.edge_index, num_nodes=data.x.size(0)), compressed(data.x)
    first, second = ours.eval()(x, graph), theirs.eval()(data.x, data.edge_index)
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5 * second.detach().abs().max().item())
    networks = {"ours": (ours, x, graph), "PyG": (theirs, data.x, data.edge_index)}
    found = {("epoch", who): epoch(*network, data) for who, network in networks.items()}
    return found | {("evaluation", who): evaluation(*network) for who, network in networks.items()}


def epoch(model, x, graph, data):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train = data.split["train"]

    def run():
        model.train()
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x, graph)[train], data.y[train]).backward()
        optimizer.step()

    return run


def evaluation(model, x, graph):
    def run():
        model.eval()
        with torch.no_grad():
            model(x, graph)

    return run


if __name__ == "__main__":
    main()
