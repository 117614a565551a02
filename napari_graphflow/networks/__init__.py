"""Teachers and students: one file per architecture, one line per network in `NETWORKS`.

Importing this package imports neither torch nor MONAI, so that the plugin and ``--help`` can list
the networks; they are imported when the first network is built.

To add a network, write ``<name>.py`` with ``network(in_channels, classes, dims, width=None,
**arguments) -> TapAdapter`` and add its line to `napari_graphflow.config.networks.NETWORKS`.
Networks without a file here can also be used: any class of `monai.networks.nets` as
``monai:<class>``, any other module by wrapping it in `TapAdapter`, and networks of other packages
by the entry point ``napari_graphflow.networks``.
"""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_graphflow.config.networks import FAMILIES, NETWORKS, require_network
from napari_graphflow.errors import UserError

if TYPE_CHECKING:
    from napari_graphflow.networks.taps import TapAdapter


def build(
    name: str,
    in_channels: int,
    classes: int,
    dims: int,
    width: int | None = None,
    *,
    taps: Mapping[str, str] | None = None,
    **arguments: Any,
) -> "TapAdapter":
    """Build a network with random weights.

    Parameters
    ----------
    name
        A key of `NETWORKS`, ``monai:<class>`` for a class of `monai.networks.nets`, or
        ``nnunet:<class>`` for one of `napari_graphflow.networks.nnunet`.
    in_channels, classes
        Channels of the image, and number of classes with the background.
    dims
        2 for slices and 2D images, 3 for volumes.
    width
        Channels of the first stage; None uses the published width (a smaller one in 3D, see the
        file of each network).
    taps
        Module paths that replace or extend the network's own taps, for example
        ``{"encoder": "down_layers.2", "decoder": "up_layers.0"}``.
    arguments
        Further arguments of the network.

    Returns
    -------
    TapAdapter
        ``network(x)`` returns `Output`: logits ``(B, classes, *spatial)`` for an image
        ``(B, in_channels, *spatial)`` of any size, and the taps.

    Raises
    ------
    UserError
        If the name, an argument or a tap does not exist, or a number is out of range.
    """
    if dims not in (2, 3):
        raise UserError(f"Networks have 2 or 3 spatial dimensions, not {dims}.", "Choose 2 or 3.")
    if in_channels < 1 or classes < 1 or (width is not None and width < 4):
        raise UserError(
            f"A network cannot have {in_channels} input channels, {classes} classes and width "
            f"{width}.",
            "Choose at least 1 channel, at least 1 class, and a width of at least 4, if any.",
        )
    require_network(name)
    class_name = name.partition(":")[2]
    if class_name:
        arguments |= {"class_name": class_name}
    make = _builder(name)
    known = inspect.signature(make).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        for argument in arguments.keys() - known.keys():
            options = [key for key in known if key not in {"in_channels", "classes", "dims"}]
            raise UserError(
                f"The network {name} has no argument {argument!r}.",
                f"Its arguments are {', '.join(options)}.",
            )
    network: TapAdapter = make(in_channels, classes, dims, width, **arguments)
    if taps:
        network.use_taps({**network.taps, **taps})
    return network


def _builder(name: str) -> "Callable[..., TapAdapter]":
    """Return the function that builds a network."""
    if name in NETWORKS and NETWORKS[name].path:
        module, function = NETWORKS[name].path.split(":")
        found: Callable[..., TapAdapter] = getattr(import_module(module), function)
        return found
    family, _, class_name = name.partition(":")
    file = FAMILIES[family] if class_name else name
    made: Callable[..., TapAdapter] = import_module(f"{__name__}.{file}").network
    return made
