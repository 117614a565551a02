"""How strongly each term of a loss pulls at the student."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite

import torch
from lightning_fabric import Fabric, wrappers
from torch import Tensor, distributed, nn


def gradient_norms(
    terms: dict[str, Tensor], student: nn.Module, fabric: Fabric
) -> dict[str, float]:
    """Length of each weighted term's gradient over all weights of the student.

    It costs a backward pass for each term, and leaves the graph for the step itself.

    Parameters
    ----------
    terms
        Weighted scalars by name.

    Returns
    -------
    dict
        ``gradient/<name>`` for each.
    """
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    # In 16-mixed a small gradient would be rounded away on its path.
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    scale = 1.0 if scaler is None else scaler.get_scale()
    norms: dict[str, float] = {}
    for name, term in terms.items():
        with _measuring():
            found = torch.autograd.grad(scale * term, weights, retain_graph=True, allow_unused=True)
        flat = [one.flatten().float() for one in found if one is not None]
        norms[f"gradient/{name}"] = float(_joint(torch.cat(flat), fabric).norm()) / scale
    # Where the scale is still too high for half precision, as in the first steps.
    return {name: norm for name, norm in norms.items() if isfinite(norm)}


def _joint(gradient: Tensor, fabric: Fabric) -> Tensor:
    """The gradient of the whole batch, from what each process found for its share."""
    if fabric.world_size == 1:
        return gradient
    joined = gradient.clone()
    distributed.all_reduce(joined)
    return joined / fabric.world_size


@contextmanager
def _measuring() -> Iterator[None]:
    """Let gradients be computed that train nothing.

    In mixed precision Fabric refuses whatever is not its own ``backward``, which would write into
    the gradients of the parameters and wake DDP.
    """
    wrappers._in_fabric_backward = True  # noqa: SLF001
    try:
        yield
    finally:
        wrappers._in_fabric_backward = False  # noqa: SLF001
