"""Generate the sample data: ``python sample_data/generate.py [--out FOLDER] [--only CASE ...]``.

Both are in the raw layout of nnU-Net v2, plus ``splits.json``. With the same versions of the
libraries the files are reproduced byte for byte.
"""

import argparse
import gzip
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import draw_abdomen
import draw_cells
import numpy as np
import SimpleITK as sitk

#: Number of labelled training, unlabelled training, validation and test cases.
COUNTS = {"abdomen": (6, 10, 4, 6), "cell_pictures": (6, 8, 4, 6)}
OBLIQUE = "abdomen_023"
FLIPPED = ("abdomen_004", "abdomen_012", "abdomen_019", "abdomen_025")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both datasets, or the cases named by ``--only``."""
    parser = argparse.ArgumentParser(description="Generate the sample datasets.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, metavar="FOLDER")
    parser.add_argument("--only", nargs="*", metavar="CASE", help="generate only these cases")
    options = parser.parse_args(arguments)
    for dataset in COUNTS:
        folder = options.out / dataset
        for part in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        write_description(folder)
        for case, kind in cases(dataset):
            if options.only and case not in options.only:
                continue
            write_case(folder, case, kind)
            print(f"{dataset}/{case} ({kind})", flush=True)


def cases(dataset: str) -> list[tuple[str, str]]:
    """Return the names of the cases in order, each with its kind."""
    kinds = [
        kind
        for kind, count in zip(
            ("labelled", "unlabelled", "val", "test"), COUNTS[dataset], strict=True
        )
        for _ in range(count)
    ]
    prefix = dataset.partition("_")[0]
    return [(f"{prefix}_{number:03d}", kind) for number, kind in enumerate(kinds, start=1)]


def write_description(folder: Path) -> None:
    """Write ``dataset.json`` and ``splits.json``."""
    dataset = folder.name
    abdomen = dataset == "abdomen"
    ending = ".nii.gz" if abdomen else ".png"
    with_mask = [case for case, kind in cases(dataset) if kind in ("labelled", "val")]
    write_json(
        folder / "dataset.json",
        {
            "name": dataset,
            "description": "A phantom computed from formulas; it shows no patient.",
            "channel_names": {"0": "CT"} if abdomen else {"0": "R", "1": "G", "2": "B"},
            "labels": draw_abdomen.CLASSES if abdomen else draw_cells.CLASSES,
            "numTraining": len(with_mask),
            "file_ending": ending,
            "overwrite_image_reader_writer": "SimpleITKIO" if abdomen else "NaturalImage2DIO",
            # nnU-Net trains on the listed cases only, so cases without a mask are not listed.
            "dataset": {
                case: {
                    "images": [f"imagesTr/{case}_0000{ending}"],
                    "label": f"labelsTr/{case}{ending}",
                }
                for case in with_mask
            },
        },
    )
    write_json(
        folder / "splits.json",
        {
            "train": [case for case, kind in cases(dataset) if "labelled" in kind],
            "val": [case for case, kind in cases(dataset) if kind == "val"],
            "test": [case for case, kind in cases(dataset) if kind == "test"],
        },
    )


def write_case(folder: Path, case: str, kind: str) -> None:
    """Draw a case and write its image, and its mask if it has one."""
    part = "Ts" if kind == "test" else "Tr"
    seed = int(case.rpartition("_")[2])
    if folder.name == "abdomen":
        scan = draw_abdomen.make_scan(1000 + seed, oblique=case == OBLIQUE, flipped=case in FLIPPED)
        geometry = (scan.spacing, scan.origin, scan.direction)
        write_nifti(folder / f"images{part}" / f"{case}_0000.nii.gz", scan.image, *geometry)
        if kind != "unlabelled":
            write_nifti(folder / f"labels{part}" / f"{case}.nii.gz", scan.labels, *geometry)
        return
    image, labels = draw_cells.make_image(2000 + seed)
    write_png(folder / f"images{part}" / f"{case}_0000.png", image)
    if kind != "unlabelled":
        write_png(folder / f"labels{part}" / f"{case}.png", labels)


def write_nifti(
    path: Path,
    array: np.ndarray,
    spacing: Iterable[float],
    origin: Iterable[float],
    direction: Iterable[float],
) -> None:
    """Write a compressed NIfTI file without a time stamp."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(tuple(spacing))
    image.SetOrigin(tuple(origin))
    image.SetDirection(tuple(direction))
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "image.nii"
        sitk.WriteImage(image, str(plain))
        with (
            path.open("wb") as file,
            gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=0) as stream,
        ):
            stream.write(plain.read_bytes())


def write_png(path: Path, array: np.ndarray) -> None:
    """Write a grey (y, x) or RGB (y, x, 3) image."""
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 3)
    sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=9)


def write_json(path: Path, content: dict) -> None:
    """Write indented JSON with the same line ends on every platform."""
    path.write_bytes((json.dumps(content, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
