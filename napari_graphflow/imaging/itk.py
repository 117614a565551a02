"""SimpleITK, imported at the first use of one of its names, because that takes half a second."""

from typing import Any


def __getattr__(name: str) -> Any:
    import SimpleITK as sitk

    # ITK prints its warnings to the console; ours are attached to the volume.
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    return getattr(sitk, name)
