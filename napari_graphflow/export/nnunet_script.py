"""Segment an image with the network in this folder, by the predictor of nnU-Net.

    python segment.py scan.nii.gz --out mask.nii.gz

Files of several channels are given one after the other. Images are reoriented to the orientation
of the training first, since nnU-Net uses them as they are stored, and the mask is put back.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import SimpleITK as sitk

#: The command nnUNetv2_predict_from_modelfolder.
PREDICT = (
    "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as run; "
    "run()"
)


def segment(folder: Path, images: list[Path], out: Path, device: str) -> None:
    """Write the mask of an image."""
    settings = json.loads((folder / "settings.json").read_text("utf-8"))
    if len(images) != settings["channels"]:
        raise ValueError(f"the network needs {settings['channels']} files, one per channel")
    wanted = settings["orientation"]
    with tempfile.TemporaryDirectory() as temporary:
        inputs, outputs = Path(temporary, "in"), Path(temporary, "out")
        inputs.mkdir()
        stored = ""
        for index, path in enumerate(images):
            image = sitk.ReadImage(str(path))
            if image.GetDimension() == 3:
                finder = sitk.DICOMOrientImageFilter()
                stored = finder.GetOrientationFromDirectionCosines(image.GetDirection())
                image = image if wanted == "stored" else sitk.DICOMOrient(image, wanted)
            sitk.WriteImage(image, str(inputs / f"case_{index:04}.nii.gz"))
        command = [sys.executable, "-c", PREDICT, "-m", str(folder), "-f", "all"]
        command += ["-i", str(inputs), "-o", str(outputs), "-device", device]
        command += ["-npp", "1", "-nps", "1", "--disable_tta", "--disable_progress_bar"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write(done.stderr)
            raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
        mask = sitk.ReadImage(str(outputs / "case.nii.gz"))
        if stored and wanted != "stored":
            mask = sitk.DICOMOrient(mask, stored)
        mask.CopyInformation(sitk.ReadImage(str(images[0])))
        sitk.WriteImage(mask, str(out), useCompression=True)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image", nargs="+", type=Path, help="the image; one file per channel")
    parser.add_argument("--out", required=True, type=Path, help="the mask")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    options = parser.parse_args()
    started = time.perf_counter()
    try:
        folder = Path(__file__).resolve().parent
        segment(folder, options.image, options.out, options.device)
    except (OSError, RuntimeError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    seconds = time.perf_counter() - started
    sys.stdout.write(
        json.dumps({"seconds": seconds, "device": f"{options.device}, nnU-Net"}) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
