"""Segment an image with this MONAI bundle, by `monai.bundle`.

    python segment.py scan.nii.gz --out mask.nii.gz

Files of several channels are given one after the other.
"""

import argparse
import json
import logging
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path


def segment(folder: Path, images: list[Path], out: Path) -> float:
    """Write the mask of an image, and return the seconds."""
    from monai.bundle import run

    logging.disable(logging.INFO)
    found: str | list[str] = [str(path.resolve()) for path in images]
    with tempfile.TemporaryDirectory() as temporary:
        started = time.perf_counter()
        run(
            run_id="run",
            config_file=str(folder / "configs" / "inference.json"),
            meta_file=str(folder / "configs" / "metadata.json"),
            bundle_root=str(folder),
            images=[found[0] if len(found) == 1 else found],
            output_dir=temporary,
        )
        seconds = time.perf_counter() - started
        (mask,) = Path(temporary).iterdir()
        shutil.copy(mask, out)
    return seconds


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image", nargs="+", type=Path, help="the image; one file per channel")
    parser.add_argument("--out", required=True, type=Path, help="the mask, .nii.gz")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    try:
        seconds = segment(Path(__file__).resolve().parent, options.image, options.out)
    except Exception as error:  # of MONAI, of many kinds
        causes = [error]
        while causes[-1].__cause__ is not None and isinstance(causes[-1].__cause__, Exception):
            causes.append(causes[-1].__cause__)
        text = (str(causes[-1]).strip().splitlines() or ["no message"])[0]
        sys.stderr.write(f"error: {type(causes[-1]).__name__}: {text}\n")
        return 2
    sys.stdout.write(json.dumps({"seconds": seconds, "device": "MONAI"}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
