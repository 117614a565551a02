"""Change a mask by a tool, as one step that can be undone."""

from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray


def replace_labels(layer: Labels, labels: NDArray[Any]) -> int:
    """Change the voxels of a mask that differ, as one undo step; return their number."""
    changed = np.nonzero(np.asarray(layer.data) != labels)
    count = len(changed[0])
    if count:
        # Announced once it is written, as the guard of locked structures wants it.
        with layer.block_history():
            layer.data_setitem(changed, labels[changed].astype(layer.data.dtype))
    return count
