"""An average of the weights over the steps of a run (EMA), which is validated and saved."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def start_average(network: nn.Module, decay: float) -> AveragedModel | None:
    """Return the exponential moving average of a network's weights and buffers; None for 0.

    Each ``update_parameters(network)`` moves the average by ``1 - d`` towards the network, with
    ``d = min(decay, (1 + n) / (10 + n))`` after n updates, so that the random weights of the first
    steps are soon forgotten.
    """
    if not decay:
        return None

    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], count: Tensor | int) -> None:
        n = int(count)
        share = 1 - min(decay, (1 + n) / (10 + n))
        for average, weight in zip(averages, weights, strict=True):
            if average.is_floating_point():
                average.lerp_(weight, share)
            else:  # counters of batch normalisation
                average.copy_(weight)

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)
