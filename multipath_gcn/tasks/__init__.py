"""What is trained and how it is scored.

A task is made of a data set and a device. It has ``train_losses`` and ``evaluate`` (see :mod:`multipath_gcn.fit`),
``check(model)``, which refuses a model that does not fit, and the numbers ``in_channels``, ``out_channels`` and
``steps`` of an epoch. It may have, besides:

- ``prepare(model)``, which makes of the model what is trained in its place;
- ``further_sizes``, with which a model for it is made beside the two widths;
- ``finish(model, history, directory)``, called once with the best weights: what the result says in addition;
- ``shares_steps = True``, where several processes may train it together;
- ``state_dict`` and ``load_state_dict``, for what it learns itself.
"""

from multipath_gcn.tasks.active import ActiveTask
from multipath_gcn.tasks.clusters import ClusterTask
from multipath_gcn.tasks.consistency import ConsistencyLoss
from multipath_gcn.tasks.image import ImageTask
from multipath_gcn.tasks.loss import LogEpsilonLoss
from multipath_gcn.tasks.mesh import MeshTask
from multipath_gcn.tasks.node import NodeTask
from multipath_gcn.tasks.penalised import Penalised
from multipath_gcn.tasks.prune import PruneTask
from multipath_gcn.tasks.sequence import SequenceTask
from multipath_gcn.tasks.zero_shot import ZeroShotTask

__all__ = [
    "ActiveTask",
    "ClusterTask",
    "ConsistencyLoss",
    "ImageTask",
    "LogEpsilonLoss",
    "MeshTask",
    "NodeTask",
    "Penalised",
    "PruneTask",
    "SequenceTask",
    "ZeroShotTask",
]
