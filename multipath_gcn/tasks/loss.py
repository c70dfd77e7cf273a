import math

from torch import Tensor, nn
from torch.nn import functional as F


class LogEpsilonLoss(nn.Module):
    r"""A cross-entropy that grows ever more slowly for nodes the model gets badly wrong.

    .. math::
        L = \frac{1}{|B|} \sum_{i \in B} \log(\epsilon + \mathrm{CE}(z_i, y_i)) - \log \epsilon

    From `"Bag of Tricks for Node Classification with Graph Neural Networks" <https://arxiv.org/abs/2103.13355>`_;
    the multipath GCN notebooks use :math:`\epsilon = 0.5`.

    Args:
        epsilon: offset > 0; small values forgive outliers sooner.

    Shapes:
        - **input:** scores :math:`(|B|, C)`, classes :math:`(|B|)`
        - **output:** a scalar

    Raises:
        ValueError: for an ``epsilon`` that is not positive.
    """

    def __init__(self, epsilon: float = 0.5):
        super().__init__()
        if epsilon <= 0:
            raise ValueError(f"epsilon must be positive, got {epsilon}")
        self.epsilon = epsilon

    def forward(self, scores: Tensor, classes: Tensor) -> Tensor:
        entropy = F.cross_entropy(scores, classes, reduction="none")
        return (entropy + self.epsilon).log().mean() - math.log(self.epsilon)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(epsilon={self.epsilon})"
