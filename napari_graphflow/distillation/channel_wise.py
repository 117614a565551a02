"""Channel-wise distillation (CWD): each channel of the student is bright where the teacher's is.

Shu, Liu, Gao, Yan, Shen, "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021.
"""

import torch
from monai.networks.layers import Conv
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from napari_graphflow.config.methods import ChannelWiseOptions
from napari_graphflow.config.model_card import PairShapes
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.method import Method, averaged, check_taps, common_size
from napari_graphflow.errors import UserError
from napari_graphflow.networks.taps import Output


def channel_wise_loss(
    student: Tensor, teacher: Tensor, temperature: float = 4.0, mask: Tensor | None = None
) -> Tensor:
    """``tau^2 / C sum_c KL(softmax(T_c / tau) || softmax(S_c / tau))``, a mean over the batch.

    The softmax is over the pixels of one channel of one image, and the sum of KL over the same
    pixels; a constant that is added to a channel changes nothing.

    From the paper: the equation, and logits or feature maps as its input. From its code: the mean
    over the batch. Our reading: in 3D the softmax is over voxels; masked pixels are left out of
    the softmax; maps of different size are averaged down to the smaller size along every axis.

    Parameters
    ----------
    student, teacher
        Logits or feature maps, (B, C, H, W) or (B, C, D, H, W). Computed in at least float32.
        Gradients reach the student only.
    temperature
        tau, above 0. Larger values compare a larger part of the image beside the maximum.
    mask
        (B, H, W) or (B, D, H, W), boolean, of the pixels to compare; None compares all. It needs
        maps of equal size. An image without such pixels counts as matched.

    Raises
    ------
    UserError
        If the maps differ in number of images, channels or spatial axes.
    """
    size = common_size(student, teacher)
    if student.shape[1] != teacher.shape[1]:
        raise UserError(
            f"The student has {student.shape[1]} channels, the teacher {teacher.shape[1]}.",
            "Choose a teacher that was trained for the same classes.",
        )
    dtype = torch.promote_types(student.dtype, torch.float32)
    with torch.autocast(student.device.type, enabled=False):
        own, target = (
            _log_softmax(averaged(values.to(dtype), size), temperature, mask)
            for values in (student, teacher.detach())
        )
        divergence = kl_div(own, target, reduction="none", log_target=True)
        if mask is not None:
            divergence = divergence.where(mask.flatten(1)[:, None], 0)
        return temperature**2 * divergence.sum(2).mean()


def _log_softmax(values: Tensor, temperature: float, mask: Tensor | None) -> Tensor:
    """Return the logarithm of the softmax over the pixels of each channel, (B, C, pixels)."""
    flat = values.flatten(2) / temperature
    if mask is not None:
        flat = flat.masked_fill(~mask.flatten(1)[:, None], torch.finfo(flat.dtype).min)
    return log_softmax(flat, 2)


class ChannelWise(Method):
    """Match where each channel is bright, in the logits and in a tap (CWD, ICCV 2021).

    A 1x1 convolution on the student's side maps a tap to the teacher's number of channels if the
    numbers differ. Voxels with the ignore label are left out of the logits, not of the tap.
    """

    def __init__(self, config: DistillationConfig, shapes: PairShapes) -> None:
        super().__init__(config, shapes)
        assert isinstance(config.method, ChannelWiseOptions)
        self.options = config.method
        self.weights = {"channels": self.options.weight}
        if self.options.tap == "none":
            return
        self.weights["tap"] = self.options.tap_weight
        check_taps(shapes, [self.options.tap])
        _, width, *size = shapes.student.taps[self.options.tap]
        _, channels, *_ = shapes.teacher.taps[self.options.tap]
        if width != channels:
            convolution = Conv[Conv.CONV, len(size)](width, channels, kernel_size=1)
            self.adapters[self.options.tap] = convolution

    def terms(self, student: Output, teacher: Output, weight: Tensor) -> dict[str, Tensor]:
        terms, temperature = {}, self.options.temperature
        if self.weights["channels"]:
            terms["channels"] = channel_wise_loss(
                student.logits, teacher.logits, temperature, weight > 0
            )
        if self.weights.get("tap"):
            tap = self.options.tap
            own = student.taps[tap]
            adapted = self.adapters[tap](own) if tap in self.adapters else own
            terms["tap"] = channel_wise_loss(adapted, teacher.taps[tap], temperature)
        return terms
