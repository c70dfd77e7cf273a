"""What is trained and how it is scored."""

from multipath_gcn.tasks.clusters import ClusterTask
from multipath_gcn.tasks.consistency import ConsistencyLoss
from multipath_gcn.tasks.image import ImageTask
from multipath_gcn.tasks.loss import LogEpsilonLoss
from multipath_gcn.tasks.node import NodeTask
from multipath_gcn.tasks.penalised import Penalised
from multipath_gcn.tasks.prune import PruneTask

__all__ = ["ClusterTask", "ConsistencyLoss", "ImageTask", "LogEpsilonLoss", "NodeTask", "Penalised", "PruneTask"]
