"""Gradient norms of the loss terms."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite

import torch
from lightning_fabric import Fabric, wrappers
from torch import Tensor, distributed, nn


def gradient_norms(
    terms: dict[str, Tensor], student: nn.Module, fabric: Fabric
) -> dict[str, float]:
    """Return the gradient norm of each weighted loss term over all trainable student weights.

    Costs one backward pass per term and retains the graph.

    Parameters
    ----------
    terms
        Weighted loss terms (scalars) by name.

    Returns
    -------
    dict
        Norms by ``gradient/<name>``; norms that overflow in half precision are left out.
    """
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    # In 16-mixed, small gradients would underflow without the loss scale.
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    scale = 1.0 if scaler is None else scaler.get_scale()
    norms: dict[str, float] = {}
    for name, term in terms.items():
        with _measuring():
            found = torch.autograd.grad(scale * term, weights, retain_graph=True, allow_unused=True)
        flat = [one.flatten().float() for one in found if one is not None]
        norms[f"gradient/{name}"] = float(_joint(torch.cat(flat), fabric).norm()) / scale
    # In the first steps the scale may still be too high for half precision.
    return {name: norm for name, norm in norms.items() if isfinite(norm)}


def _joint(gradient: Tensor, fabric: Fabric) -> Tensor:
    """Average a gradient over all processes, which gives that of the whole batch."""
    if fabric.world_size == 1:
        return gradient
    joined = gradient.clone()
    distributed.all_reduce(joined)
    return joined / fabric.world_size


@contextmanager
def _measuring() -> Iterator[None]:
    """Allow gradients that are not used for training.

    In mixed precision Fabric rejects any backward pass but its own, which would accumulate into the
    parameters' gradients and trigger DDP.
    """
    wrappers._in_fabric_backward = True  # noqa: SLF001
    try:
        yield
    finally:
        wrappers._in_fabric_backward = False  # noqa: SLF001
