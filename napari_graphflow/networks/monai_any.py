"""Networks of MONAI without a file in this package: ``build("monai:SegResNet", ...)``.

Only the classes for segmentation of `monai.networks.nets` are accepted, so that an untrusted model
card cannot run other code, or reach for weights in the network.
"""

import inspect
from difflib import get_close_matches
from typing import Any

from monai.networks import nets

from napari_graphflow.errors import UserError
from napari_graphflow.networks.taps import TapAdapter

#: Classes for segmentation that need nothing but numbers and names to be built.
SEGMENTATION = (
    "AttentionUnet", "BasicUNet", "BasicUNetPlusPlus", "DynUNet", "FlexibleUNet", "HighResNet",
    "MedNeXt", "SegResNet", "SegResNetDS", "SegResNetVAE", "SwinUNETR", "UNet", "UNETR", "VNet",
)  # fmt: skip
#: Arguments that make a class reach for the network or for another file.
_DOWNLOADS = frozenset(
    {"pretrained", "weights", "progress", "pretrained_dir", "pretrained_model_name"}
)


def network(
    in_channels: int,
    classes: int,
    dims: int,
    width: int | None = None,
    *,
    class_name: str,
    multiple: int = 32,
    **arguments: Any,
) -> TapAdapter:
    """Build a class of `monai.networks.nets`, without taps.

    Parameters
    ----------
    width
        Must be None: each class has its own argument for the width.
    class_name
        Name of the class.
    multiple
        Number of which the image's size must be a multiple for this class; images are padded.
    arguments
        Further arguments of the class, plain JSON values. Nothing is downloaded: an argument
        ``pretrained`` must be False.
    """
    classes_by_name = {name: getattr(nets, name) for name in SEGMENTATION if hasattr(nets, name)}
    if class_name not in classes_by_name:
        near = get_close_matches(class_name, classes_by_name, cutoff=0.4)
        raise UserError(
            f"MONAI has no segmentation network {class_name!r}.",
            f"Similar names: {', '.join(near)}."
            if near
            else f"Choose one of {', '.join(classes_by_name)}.",
        )
    if width is not None:
        raise UserError(
            f"The option width does not apply to MONAI's {class_name}.",
            "Set an argument of the class instead, such as init_filters or features.",
        )
    cls = classes_by_name[class_name]
    known = inspect.signature(cls).parameters
    outputs = next((key for key in ("out_channels", "num_classes") if key in known), None)
    if "in_channels" not in known or outputs is None:
        raise UserError(
            f"MONAI's {class_name} is not a segmentation network.",
            "Choose a class with arguments in_channels and out_channels.",
        )
    for name in _DOWNLOADS & set(arguments):
        if arguments[name]:
            raise UserError(
                f"MONAI's {class_name} would download weights from the internet.",
                f"Leave out {name} and load the weights from a file.",
            )
    given = {"in_channels": in_channels, outputs: classes}
    given |= {"spatial_dims": dims} if "spatial_dims" in known else {}
    given |= {"pretrained": False} if "pretrained" in known else {}
    try:
        module = cls(**arguments, **given)
    except (TypeError, ValueError, KeyError, AssertionError, RuntimeError) as error:
        raise UserError(
            f"MONAI's {class_name} cannot be built: {error}.",
            f"Its arguments are {', '.join(known)}.",
        ) from error
    return TapAdapter(module, {}, multiple)
