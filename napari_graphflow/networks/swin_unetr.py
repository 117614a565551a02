"""Swin UNETR (Hatamizadeh et al., "Swin UNETR: Swin Transformers for Semantic Segmentation of
Brain Tumors in MRI Images", BrainLes 2021), a transformer teacher from MONAI.
"""

from monai.networks.nets import SwinUNETR

from napari_graphflow.errors import UserError
from napari_graphflow.networks.taps import TapAdapter

#: Residual block on a transformer stage, and decoder block, at strides 4, 2 and 8.
TAPS = {
    "encoder": "encoder3",
    "decoder": "decoder3",
    "encoder_2": "encoder2",
    "decoder_2": "decoder2",
    "encoder_3": "encoder4",
    "decoder_3": "decoder4",
    "bottleneck": "encoder10",
    "lo": "encoder2",
    "hi": "encoder4",
}


def network(
    in_channels: int, classes: int, dims: int, width: int | None = None, *, dropout: float = 0.0
) -> TapAdapter:
    """Build a Swin UNETR.

    Parameters
    ----------
    width
        Channels of the first stage, a multiple of 12; by default 24.
    dropout
        Probability of dropout after the attention's projections.
    """
    first = 24 if width is None else width
    if first % 12:
        raise UserError(
            f"The width of a Swin UNETR must be a multiple of 12, not {first}.",
            f"Choose {first // 12 * 12 + 12}.",
        )
    module = SwinUNETR(
        in_channels, classes, feature_size=first, spatial_dims=dims, drop_rate=dropout
    )
    return TapAdapter(module, TAPS, multiple=32)
