"""One run in several processes, as ``torchrun`` starts them: DDP through Lightning Fabric.

Every process sees its share of the global batch, and all see the outputs of all: the loss is that
of the whole batch, whatever its terms compare, and not a mean of the losses of its parts. The
gradient is then that of one process with the same global batch.
"""

import os
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, nn

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.errors import UserError
from napari_graphflow.models.devices import resolve_device
from napari_graphflow.networks.taps import Output


def start_fabric(config: TrainingConfig) -> Fabric:
    """Fabric for the device of a run; of ``torchrun``, for as many as it has started.

    Raises
    ------
    UserError
        If the device is not there or cannot train in this precision, or the batch cannot be
        shared evenly.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    device = resolve_device(config.device.partition(":")[0] if world > 1 else config.device)
    if device.type == "cpu" and config.precision == "16-mixed":
        # Lightning would take bf16-mixed in its place, without the scaler of gradients.
        raise UserError(
            "In 16-mixed a network can be trained on a GPU only.",
            "Choose the precision 32-true, or a GPU.",
        )
    if device.type == "cpu" and config.dims == 3 and config.precision == "bf16-mixed":
        # The weight gradient of oneDNN's bfloat16 Conv3d on small maps, (2, 3, 2) for one, has
        # entries that were never written (torch 2.13): infinities at random.
        raise UserError(
            "In bf16-mixed, 3D networks cannot be trained on the processor: the gradients of its "
            "convolutions are not reliable there.",
            "Choose the precision 32-true, or a GPU.",
        )
    if world == 1:
        alone: Any = 1 if device.type == "cpu" else [device.index or 0]
        return Fabric(accelerator=device.type, devices=alone, precision=config.precision)
    if config.batch_size % world:
        raise UserError(
            f"A batch of {config.batch_size} cannot be shared evenly by {world} processes.",
            f"Choose a multiple of {world}.",
        )
    fabric = Fabric(
        accelerator=device.type,
        devices=here,
        num_nodes=world // here,
        strategy="ddp",
        precision=config.precision,
    )
    fabric.launch()
    return fabric


def synchronised(network: nn.Module, fabric: Fabric) -> nn.Module:
    """Let batch normalisation see the whole batch, where there is a kernel for that."""
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return converted
    return network


def set_up_teacher(teacher: nn.Module, fabric: Fabric) -> nn.Module:
    """Move a frozen network to its device; DDP takes none without a trainable weight."""
    if fabric.world_size > 1:
        return teacher.to(fabric.device)
    return fabric.setup_module(teacher)


def forward_gathered(network: nn.Module, images: Tensor, fabric: Fabric) -> Output:
    """Outputs for the whole batch, of which each process computes its share.

    Parameters
    ----------
    network
        The student or the teacher.
    images
        (B, C, *spatial), the same in every process.
    """
    if fabric.world_size == 1:
        alone: Output = network(images)
        return alone
    # An unlabelled half may differ from the labelled one in size: what is left over goes to the
    # first processes, and shares are padded for the exchange.
    part = -(-len(images) // fabric.world_size)
    padded = images[torch.arange(part * fabric.world_size) % len(images)]
    with fabric.autocast():
        own: Output = network(padded[fabric.global_rank * part :][:part])
    # Without DDP, as the teacher is, nothing has turned its half precision back.
    taps = {name: _gather(tap.float())[: len(images)] for name, tap in own.taps.items()}
    return Output(_gather(own.logits.float())[: len(images)], taps)


@torch.no_grad()
def teacher_forward(teacher: nn.Module, images: Tensor, fabric: Fabric) -> Output:
    """Outputs of the frozen teacher for the whole batch."""
    return forward_gathered(teacher, images, fabric)


def broadcast_module(module: nn.Module, fabric: Fabric) -> None:
    """Broadcast weights and buffers from rank 0."""
    if fabric.world_size > 1:
        for tensor in module.state_dict().values():
            distributed.broadcast(tensor, 0)


class _Gather(torch.autograd.Function):
    """Join the shares of all processes along the first axis."""

    @staticmethod
    def forward(context: Any, share: Tensor) -> Tensor:
        shares = [torch.empty_like(share) for _ in range(distributed.get_world_size())]
        distributed.all_gather(shares, share.contiguous())
        context.length = len(share)
        return torch.cat(shares)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        # Every process computes the same loss of the whole, and DDP takes the mean over processes
        # of what is a sum over the shares: the factor makes up for that.
        start = distributed.get_rank() * context.length
        own = gradients[0][start : start + context.length]
        return own * distributed.get_world_size()


def _gather(share: Tensor) -> Tensor:
    joined: Tensor = _Gather.apply(share)  # type: ignore[no-untyped-call]
    return joined
