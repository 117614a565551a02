"""One run in several processes, as started by ``torchrun``: DDP through Lightning Fabric.

Each process computes its share of the global batch, and all outputs are gathered in every process.
The loss is therefore that of the whole batch, not a mean over shares, and the gradient equals that
of one process with the same global batch.
"""

import os
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import Tensor, distributed, nn

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.errors import UserError
from napari_graphflow.models.devices import resolve_device
from napari_graphflow.networks.taps import Output

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def start_fabric(config: TrainingConfig) -> Fabric:
    """Start Fabric on the device of a run, in all processes that ``torchrun`` has started.

    Raises
    ------
    UserError
        If the device is not available or does not support the precision, or the batch size is not
        a multiple of the number of processes.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    device = resolve_device(config.device.partition(":")[0] if world > 1 else config.device)
    precision = chosen_precision(config.precision, device)
    if device.type == "cpu" and precision == "16-mixed":
        # Lightning would silently use bf16-mixed instead, without a gradient scaler.
        raise UserError("Precision 16-mixed requires a GPU.", "Choose precision 32-true, or a GPU.")
    if device.type == "cpu" and config.dims == 3 and precision == "bf16-mixed":
        # The weight gradient of oneDNN's bfloat16 Conv3d on small feature maps such as (2, 3, 2)
        # contains uninitialised values (torch 2.13), at times infinite.
        raise UserError(
            "Precision bf16-mixed is not supported for 3D networks on the CPU, where it gives "
            "wrong gradients.",
            "Choose precision 32-true, or a GPU.",
        )
    if world == 1:
        alone: Any = 1 if device.type == "cpu" else [device.index or 0]
        # Not what Fabric detects: inside a Slurm job it would take over the tasks of the job.
        return Fabric(
            accelerator=device.type,
            devices=alone,
            precision=precision,
            plugins=LightningEnvironment(),
        )
    if config.batch_size % world:
        raise UserError(
            f"Batch size {config.batch_size} cannot be divided evenly among {world} processes.",
            f"Choose a batch size that is a multiple of {world}.",
        )
    fabric = Fabric(
        accelerator=device.type,
        devices=here,
        num_nodes=world // here,
        strategy="ddp",
        precision=precision,
        plugins=TorchElasticEnvironment(),
    )
    fabric.launch()
    return fabric


def chosen_precision(precision: Literal["auto"] | Precision, device: torch.device) -> Precision:
    """Return the precision that ``auto`` stands for on a device; any other is returned as it is."""
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "32-true"
    # Others emulate bfloat16, which is slower than float32.
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def precision_of(fabric: Fabric) -> str:
    """Return the precision in which a run computes."""
    return str(fabric.strategy.precision.precision)


def synchronise_batch_norm(network: nn.Module, fabric: Fabric) -> nn.Module:
    """Compute batch statistics over all processes, where supported (CUDA)."""
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return converted
    return network


def set_up_teacher(teacher: nn.Module, fabric: Fabric) -> nn.Module:
    """Move the frozen teacher to its device; DDP rejects modules without trainable weights."""
    if fabric.world_size > 1:
        return teacher.to(fabric.device)
    return fabric.setup_module(teacher)


def forward_gathered(network: nn.Module, images: Tensor, fabric: Fabric) -> Output:
    """Return outputs for the whole batch, of which each process computes its share.

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
    # The batch may not divide evenly; shares are padded to equal size for the exchange.
    part = -(-len(images) // fabric.world_size)
    padded = images[torch.arange(part * fabric.world_size) % len(images)]
    with fabric.autocast():
        own: Output = network(padded[fabric.global_rank * part :][:part])
    # The teacher is not wrapped in DDP, so its outputs may still be in half precision.
    taps = {name: _gather(tap.float())[: len(images)] for name, tap in own.taps.items()}
    return Output(_gather(own.logits.float())[: len(images)], taps)


@torch.no_grad()
def teacher_forward(teacher: nn.Module, images: Tensor, fabric: Fabric) -> Output:
    """Return outputs of the frozen teacher for the whole batch."""
    return forward_gathered(teacher, images, fabric)


def broadcast_module(module: nn.Module, fabric: Fabric) -> None:
    """Broadcast weights and buffers from rank 0."""
    if fabric.world_size > 1:
        for tensor in module.state_dict().values():
            distributed.broadcast(tensor, 0)


class _Gather(torch.autograd.Function):
    """Gather the shares of all processes along the first axis."""

    @staticmethod
    def forward(context: Any, share: Tensor) -> Tensor:
        shares = [torch.empty_like(share) for _ in range(distributed.get_world_size())]
        distributed.all_gather(shares, share.contiguous())
        context.length = len(share)
        return torch.cat(shares)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        # Every process computes the loss of the whole batch. DDP averages over processes what is
        # a sum over shares; the factor compensates for that.
        start = distributed.get_rank() * context.length
        own = gradients[0][start : start + context.length]
        return own * distributed.get_world_size()


def _gather(share: Tensor) -> Tensor:
    joined: Tensor = _Gather.apply(share)  # type: ignore[no-untyped-call]
    return joined
