"""U-Net, the general teacher (Ronneberger et al., MICCAI 2015; MONAI's `BasicUNet`)."""

from monai.networks.nets import BasicUNet

from napari_graphflow.networks.taps import TapAdapter

#: Encoder block and decoder block at strides 4, 2 and 8.
TAPS = {
    "encoder": "down_2",
    "decoder": "upcat_3",
    "encoder_2": "down_1",
    "decoder_2": "upcat_2",
    "encoder_3": "down_3",
    "decoder_3": "upcat_4",
    "bottleneck": "down_4",
    "lo": "down_1",
    "hi": "down_3",
}


def network(
    in_channels: int, classes: int, dims: int, width: int | None = None, *, dropout: float = 0.0
) -> TapAdapter:
    """Build a U-Net whose five levels double in channels, with instance normalisation.

    Parameters
    ----------
    width
        Channels w of the levels w, 2w, 4w, 8w, 16w; by default 32 in 2D (7.8 M parameters) and
        16 in 3D (5.7 M).
    dropout
        Probability of dropout in each convolution.
    """
    first = width or {2: 32, 3: 16}[dims]
    features = [first * 2**level for level in range(5)] + [first]
    module = BasicUNet(dims, in_channels, classes, features, dropout=dropout)
    return TapAdapter(module, TAPS, multiple=16)
