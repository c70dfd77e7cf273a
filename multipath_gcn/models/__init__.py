"""Networks: graph baselines and what makes them comparable; convolution networks that take any convolution."""

from multipath_gcn.models.arrays import save_arrays
from multipath_gcn.models.gauge_equivariant import GaugeEquivariantNet
from multipath_gcn.models.gcn import GCN, ResGCN
from multipath_gcn.models.grouped_attributes import GroupedAttributes
from multipath_gcn.models.grouped_ensemble import GroupedEnsemble
from multipath_gcn.models.match_width import build_matched, count_parameters, match_width
from multipath_gcn.models.mobilenet import MobileNet
from multipath_gcn.models.recurrent import ConvLSTMForecast, LSTMForecast
from multipath_gcn.models.resnet import ResNet
from multipath_gcn.models.shallow import ShallowNetwork
from multipath_gcn.models.temporally_folded import TemporallyFolded
from multipath_gcn.models.vgg import VGG

__all__ = [
    "GCN",
    "VGG",
    "ConvLSTMForecast",
    "GaugeEquivariantNet",
    "GroupedAttributes",
    "GroupedEnsemble",
    "LSTMForecast",
    "MobileNet",
    "ResGCN",
    "ResNet",
    "ShallowNetwork",
    "TemporallyFolded",
    "build_matched",
    "count_parameters",
    "match_width",
    "save_arrays",
]
