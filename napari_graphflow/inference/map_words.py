"""What a map can resolve, in words."""

from collections.abc import Collection, Sequence


def resolution(strides: Collection[Sequence[int]]) -> str:
    """Say how many voxels share one value of a map; empty if it has one for each.

    Parameters
    ----------
    strides
        Strides of the taps along each axis, in voxels of the image as the network sees it.
    """
    coarse = sorted({tuple(one) for one in strides if max(one) > 1})
    if not coarse:
        return ""
    sizes = " or ".join(" × ".join(map(str, one)) for one in coarse)
    return (
        f"One value for {sizes} voxels of the image as the network sees it, the stride of the "
        "tap; not smoothed in between."
    )
