"""The available networks with their usual role and size; nothing here imports torch."""

import re
from difflib import get_close_matches
from typing import Literal, NamedTuple

from napari_graphflow.config.entry_points import network_entries
from napari_graphflow.errors import UserError

Role = Literal["teacher", "student"]


class NetworkInfo(NamedTuple):
    """Usual role and one-line description of a network.

    Attributes
    ----------
    decoder
        Whether it has a decoder.
    path
        Import path of the function that builds it, of a network of another package.
    windows
        How images are cut, as in a model's card. With instance normalisation and a large field of
        view a network learns where in its window it is, and finds false structures at the end of a
        larger one; so its windows are those of its training, as in nnU-Net.
    """

    role: Role
    text: str
    decoder: bool = True
    path: str = ""
    windows: Literal["whole", "even"] = "whole"


NETWORKS: dict[str, NetworkInfo] = {
    "unet": NetworkInfo("teacher", "U-Net (MONAI), five levels"),
    "unetpp": NetworkInfo("teacher", "UNet++ (MONAI), a nested U-Net"),
    "fanet": NetworkInfo(
        "teacher", "FANet: selective kernels, strip-pooling attention; 38 M in 2D"
    ),
    "swin_unetr": NetworkInfo("teacher", "Swin UNETR (MONAI): windowed self-attention"),
    "trans_unet": NetworkInfo(
        "teacher", "TransUNet: ResNet-50 and a vision transformer; 105 M in 2D"
    ),
    "raunet": NetworkInfo("teacher", "RAUNet: ResNet-34, attention on skips; 22 M in 2D"),
    "pspnet": NetworkInfo(
        "teacher",
        "PSPNet: dilated ResNet-50, pooling at four scales; 47 M in 2D, no decoder",
        decoder=False,
    ),
    "mobile_unet": NetworkInfo("student", "Mobile U-Net: MobileNetV2 encoder, inverted residuals"),
    "mobilenet_v2": NetworkInfo(
        "student", "MobileNetV2: stride 8, 2.2 M parameters in 2D, no decoder", decoder=False
    ),
    "resnet18": NetworkInfo(
        "student", "ResNet-18: stride 32, 11 M parameters in 2D, no decoder", decoder=False
    ),
    "erfnet": NetworkInfo("student", "ERFNet: factorised convolutions, 2.1 M parameters in 2D"),
    "plain_conv_unet": NetworkInfo(
        "student",
        "Plain U-Net: a narrow one, 0.36 M parameters in 2D, that nnU-Net can run",
        windows="even",
    ),
    "enet": NetworkInfo("student", "ENet: the smallest, 0.35 M parameters in 2D"),
}
NETWORKS |= {
    entry.name: NetworkInfo("student", f"of the package {entry.dist.name}", path=entry.value)
    for entry in network_entries(NETWORKS)
    if entry.dist is not None
}

#: Modules of networks whose names are ``<family>:<class>``.
FAMILIES = {"monai": "monai_any", "nnunet": "nnunet"}

#: Parameter counts at the published width, with one channel and two classes, by dimension.
PARAMETERS: dict[str, dict[int, int]] = {
    "unet": {2: 7_782_882, 3: 5_658_898},
    "unetpp": {2: 36_450_632, 3: 6_598_776},
    "fanet": {2: 38_292_290, 3: 4_032_434},
    "swin_unetr": {2: 6_302_228, 3: 15_703_004},
    "trans_unet": {2: 105_269_794, 3: 8_321_962},
    "raunet": {2: 22_137_122, 3: 4_098_090},
    "pspnet": {2: 46_705_474, 3: 6_718_450},
    "mobile_unet": {2: 4_682_323, 3: 1_030_383},
    "mobilenet_v2": {2: 2_225_858, 3: 646_274},
    "resnet18": {2: 11_171_266, 3: 2_078_674},
    "erfnet": {2: 2_062_872, 3: 824_422},
    "plain_conv_unet": {2: 357_074, 3: 1_035_874},
    "enet": {2: 348_998, 3: 634_072},
}


#: Feature maps of the built-in networks; not each has all of them.
TAP_NAMES = (
    *("bottleneck", "encoder", "decoder", "encoder_2", "decoder_2", "encoder_3", "decoder_3"),
    *("lo", "hi"),
)


def require_network(name: str) -> None:
    """Check the name of a network, without building it.

    Raises
    ------
    UserError
        If there is no such network; suggests similar names.
    """
    family, _, class_name = name.partition(":")
    if name not in NETWORKS and not (family in FAMILIES and class_name):
        near = get_close_matches(name, NETWORKS, cutoff=0.4)
        raise UserError(
            f"{name!r} is not a valid network.",
            f"Choose {' or '.join(near or NETWORKS)}, or monai:<class>.",
        )


def network_title(name: str) -> str:
    """Return the name of a network as written in its paper."""
    own = name in NETWORKS and not NETWORKS[name].path
    return re.split(r"[:,(]", NETWORKS[name].text)[0].strip() if own else name


def usual_role(name: str) -> Role:
    """Return the usual role of a network; networks of MONAI are teachers."""
    return NETWORKS[name].role if name in NETWORKS else "teacher"


def windows_of(name: str) -> Literal["whole", "even"]:
    """Return how images are cut for a network."""
    return NETWORKS[name].windows if name in NETWORKS else "whole"


def students() -> list[str]:
    """Return the names of all networks, usual students first."""
    return sorted(NETWORKS, key=lambda name: NETWORKS[name].role != "student")


def teachers() -> list[str]:
    """Return the names of all networks, usual teachers first."""
    return sorted(NETWORKS, key=lambda name: NETWORKS[name].role != "teacher")
