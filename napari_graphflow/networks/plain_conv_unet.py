"""The plain convolutional U-Net of nnU-Net (Isensee et al., Nature Methods 2021), as a student.

Two convolutions per level, at strides 1 to 16. nnU-Net can rebuild the network and load its
weights, see `napari_graphflow.networks.nnunet`.
"""

from napari_graphflow.networks import nnunet
from napari_graphflow.networks.taps import TapAdapter

#: Levels, at strides 1 to 16; channels double, up to this multiple of the first level's.
LEVELS, MOST = 5, 10


def network(in_channels: int, classes: int, dims: int, width: int | None = None) -> TapAdapter:
    """Build a plain convolutional U-Net.

    Parameters
    ----------
    width
        Channels w of the levels w, 2w, 4w, 8w, 10w; 8 by default. nnU-Net uses 32.
    """
    return nnunet.network(
        in_channels,
        classes,
        dims,
        class_name="PlainConvUNet",
        features_per_stage=features(width or 8),
        kernel_sizes=[3] * LEVELS,
        strides=[1] + [2] * (LEVELS - 1),
        n_conv_per_stage=[2] * LEVELS,
        n_conv_per_stage_decoder=[2] * (LEVELS - 1),
    )


def features(width: int) -> list[int]:
    """Return the channels of each level."""
    return [min(width * 2**level, width * MOST) for level in range(LEVELS)]
