"""Several networks of one architecture as one network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from napari_graphflow.networks.taps import TapAdapter, first_output

#: What the names of a member's weights and layers begin with.
MEMBER = "members.{}."


class Ensemble(nn.Module):
    """The mean of the logits of several networks."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean logits of an image."""
        return torch.stack([first_output(member(x)) for member in self.members]).mean(0)


def as_one(networks: Sequence[TapAdapter]) -> TapAdapter:
    """Return the ensemble of networks of one architecture, with the taps of the first one."""
    first = networks[0]
    if len(networks) == 1:
        return first
    taps = {name: f"{MEMBER.format(0)}{path}" for name, path in first.taps.items()}
    return TapAdapter(Ensemble([one.module for one in networks]), taps, multiple=first.multiple)
