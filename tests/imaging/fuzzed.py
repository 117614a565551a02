"""Read mutated files in a process of its own: ``python fuzzed.py FOLDER``."""

import sys
import warnings
from pathlib import Path

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume

warnings.simplefilter("ignore")
for path in sorted(Path(sys.argv[1]).iterdir()):
    sys.stdout.write(f"{path.name}\n")
    sys.stdout.flush()
    try:
        read_volume(path)
    except UserError:
        continue
