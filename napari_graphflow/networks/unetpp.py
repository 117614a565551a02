"""UNet++ (Zhou et al., "UNet++: A Nested U-Net Architecture for Medical Image Segmentation",
DLMIA 2018), a teacher; MONAI's `BasicUNetPlusPlus`.
"""

from monai.networks.nets import BasicUNetPlusPlus

from napari_graphflow.networks.taps import TapAdapter

#: Nodes X^{2,0} and X^{2,2} at stride 4, then the first and last nodes of the rows above and below.
TAPS = {
    "encoder": "conv_2_0",
    "decoder": "upcat_2_2",
    "encoder_2": "conv_1_0",
    "decoder_2": "upcat_1_3",
    "encoder_3": "conv_3_0",
    "decoder_3": "upcat_3_1",
    "bottleneck": "conv_4_0",
    "lo": "conv_1_0",
    "hi": "conv_3_0",
}


def network(
    in_channels: int, classes: int, dims: int, width: int | None = None, *, dropout: float = 0.0
) -> TapAdapter:
    """Build a UNet++ whose five rows double in channels, with instance normalisation.

    Parameters
    ----------
    width
        Channels w of the rows w, 2w, 4w, 8w, 16w; by default 64 in 2D, as published (36 M
        parameters), and 16 in 3D (6.6 M).
    dropout
        Probability of dropout in each convolution.
    """
    first = width or {2: 64, 3: 16}[dims]
    features = [first * 2**level for level in range(5)] + [first]
    module = BasicUNetPlusPlus(dims, in_channels, classes, features, dropout=dropout)
    # Heads of the deep supervision, which MONAI builds even if it is off.
    for head in (module.final_conv_0_1, module.final_conv_0_2, module.final_conv_0_3):
        head.requires_grad_(False)
    return TapAdapter(module, TAPS, multiple=16)
