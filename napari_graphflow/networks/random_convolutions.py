"""Images as random convolutions show them, blended with themselves: another scanner, at random.

GIN (Ouyang et al., IEEE TMI 2022) is a shallow network of small kernels, RandConv (Xu et al., ICLR
2021) a single convolution.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

#: Convolutions and sides of their kernels.
GIN = (4, (1, 3))
RANDCONV = (1, (1, 3, 5, 7))


def blended(
    image: Tensor,
    random: np.random.Generator | np.random.RandomState,
    layers: int,
    kernels: Sequence[int],
    hidden: int = 2,
) -> Tensor:
    """Return a blend of an image and the output of random convolutions.

    The result is scaled to the Frobenius norm of the image, less its mean, so that the range of
    intensities stays.

    Parameters
    ----------
    image
        (C, *spatial), in 2D or 3D.
    random
        Where kernels and the share of the blend are drawn from.
    layers
        Number of convolutions; LeakyReLU between them.
    kernels
        Sides of the kernels, one of which is drawn for each layer.
    hidden
        Channels between the layers.
    """
    dims, channels = image.ndim - 1, len(image)
    convolve = functional.conv2d if dims == 2 else functional.conv3d
    mean = image.mean()
    x = (image - mean)[None].float()
    for number in range(layers):
        inputs = channels if number == 0 else hidden
        outputs = channels if number == layers - 1 else hidden
        side = int(random.choice(kernels))
        shape = (outputs, inputs, *[side] * dims)
        weight = random.standard_normal(shape) / np.sqrt(inputs * side**dims)
        if number:
            x = functional.leaky_relu(x)
        kernel = torch.from_numpy(weight.astype(np.float32)).to(image.device)
        x = convolve(x, kernel, padding="same")
    share = float(random.uniform())
    other = x[0] - x[0].mean()
    blend = share * other + (1 - share) * (image - mean)
    norm = (image - mean).norm() / blend.norm().clamp_min(1e-6)
    result: Tensor = blend * norm + mean
    return result
