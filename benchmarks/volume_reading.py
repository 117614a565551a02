"""Time and memory of reading a CT volume, compared with plain SimpleITK and nibabel.

    python benchmarks/volume_reading.py

The volume is synthetic: 512 x 512 x 300 voxels, int16, a body with organs in noise. Each reading
runs in a separate process, with the file in the system's cache; the readers take turns within each
round. Seconds are the minimum over rounds, because other programs can only add time; memory is the
increase of the peak of the process relative to the array. The results are written to
volume_reading.json.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

SHAPE = (300, 512, 512)
# In separate folders: for a.nii.gz, SimpleITK would read an a.nii in the same folder.
FILES = ("plain/scan.nii", "packed/scan.nii.gz", "packed/scan.nrrd", "packed/scan.mha", "dicom")
TARGETS = {"time": 1.2, "memory": 1.5}
RESULT = Path(__file__).with_suffix(".json")


def with_graphflow(path: Path) -> Any:
    from napari_graphflow.imaging.files import read_volume

    return lambda: read_volume(path).array


def with_simpleitk(path: Path) -> Callable[[], Any]:
    def read() -> Any:
        if path.is_dir():
            return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
        return sitk.ReadImage(str(path))

    return read


def with_nibabel(path: Path) -> Any:
    import nibabel

    return lambda: np.array(nibabel.load(path).dataobj)  # a copy: by default it maps the file


READERS = {
    "napari-graphflow": with_graphflow,
    "SimpleITK": with_simpleitk,
    "nibabel": with_nibabel,
}


def measure(reader: str, path: Path) -> None:
    """Read once, in this process, and print seconds and bytes."""
    read = READERS[reader](path)
    before = peak()
    started = time.perf_counter()
    kept = read()
    seconds = time.perf_counter() - started
    assert kept is not None
    print(json.dumps({"seconds": seconds, "bytes": peak() - before}))


def peak() -> int:
    """Return the peak memory of this process in bytes; `getrusage` includes that of its parent."""
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text("utf-8").splitlines()
        if line.startswith("VmHWM")
    )
    return int(line.split()[1]) * 1024


def draw() -> np.ndarray[Any, Any]:
    random = np.random.default_rng(0)
    z, y, x = np.ogrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j, -1 : 1 : SHAPE[2] * 1j]
    volume = np.full(SHAPE, -1000, np.int16)
    volume[np.broadcast_to((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1, SHAPE)] = 40
    for value, (k, j, i), size in (
        (110, (0, 0.0, -0.35), 0.3),
        (150, (-0.3, 0.2, 0.3), 0.15),
        (-850, (0.7, -0.1, 0.4), 0.25),
    ):
        volume[(z - k) ** 2 + (y - j) ** 2 + (x - i) ** 2 < size**2] = value
    for index in range(len(volume)):
        volume[index] += random.normal(0, 12, SHAPE[1:]).astype(np.int16)
    return volume


def write(folder: Path) -> None:
    image = sitk.GetImageFromArray(draw())
    image.SetSpacing((0.8, 0.8, 2.5))
    image.SetOrigin((-200.0, -200.0, -700.0))
    for name in FILES:
        if name != "dicom":
            (folder / name).parent.mkdir(exist_ok=True)
            sitk.WriteImage(image, str(folder / name), useCompression=not name.endswith(".nii"))
    (folder / "dicom").mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for index in range(SHAPE[0]):
        one = image[:, :, index]
        position = (-200.0, -200.0, -700.0 + 2.5 * index)
        for tag, value in {
            "0008|0060": "CT",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.1",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.2",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.3.{index + 1}",
            "0020|0013": str(index + 1),
            "0020|0032": "\\".join(map(str, position)),
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(folder / "dicom" / f"{index:03d}.dcm"))
        writer.Execute(one)


def run(rounds: int) -> list[dict[str, Any]]:
    rows = []
    size = int(np.prod(SHAPE)) * 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        for file in FILES:
            found: dict[str, list[dict[str, float]]] = {reader: [] for reader in READERS}
            for _ in range(rounds):
                for reader, results in found.items():
                    if reader == "nibabel" and ".nii" not in file:
                        continue
                    command = [sys.executable, __file__, "--one", reader, str(folder / file)]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    results.append(json.loads(done.stdout.splitlines()[-1]))
            best = {
                reader: (min(r["seconds"] for r in results), min(r["bytes"] for r in results))
                for reader, results in found.items()
                if results
            }
            bare = best["SimpleITK"][0]
            for reader, (seconds, memory) in best.items():
                rows.append(
                    {
                        "file": file,
                        "reader": reader,
                        "seconds": round(seconds, 3),
                        "times_simpleitk": round(seconds / bare, 2),
                        "arrays_in_memory": round(memory / size, 2),
                    }
                )
                print(*rows[-1].values(), sep="\t", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("READER", "PATH"))
    options = parser.parse_args()
    if options.one:
        measure(options.one[0], Path(options.one[1]))
        return
    rows = run(options.rounds)
    report = {
        "command": f"python benchmarks/volume_reading.py --rounds {options.rounds}",
        "data": "drawn by this file: 512 x 512 x 300 voxels, int16, 157 MB",
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "simpleitk": sitk.Version_VersionString(),
        "targets": TARGETS,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
