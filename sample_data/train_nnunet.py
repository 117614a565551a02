"""Make the results folder of the tutorial "My nnU-Net teaches".

A plain convolutional U-Net learns 2D slices of further phantoms, which are drawn for it, and is
written in the layout in which nnU-Net v2 leaves its results, so that it can be imported like a
network that was trained elsewhere::

    python sample_data/train_nnunet.py [--out FOLDER] [--cases 40] [--steps 800]
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import draw_abdomen
import generate

#: Seeds of its phantoms: none is a case of the sample dataset, which has 1001 to 1026.
FIRST_SEED = 5000
#: Of each so many cases one is for validation.
HELD_BACK = 8
#: Of all images before the network, and the reader of nnU-Net that turns them so.
ORIENTATION, READER = "RAS", "NibabelIOWithReorient"
OUT = Path(__file__).parent / "nnunet_results"


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the phantoms, train, and write the folder."""
    parser = argparse.ArgumentParser(description="Make the results folder of an nnU-Net.")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER")
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--width", type=int, default=8)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "abdomen"
        draw(data, options.cases)
        trained = train(data, Path(folder) / "model", options.steps, options.width)
        export(trained, options.out)


def draw(folder: Path, cases: int) -> None:
    """Write a dataset of phantoms that all have masks."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    generate.write_description(folder)
    described = json.loads((folder / "dataset.json").read_text("utf-8"))
    names = [f"abdomen_{number:03d}" for number in range(cases)]
    described |= {"numTraining": cases}
    del described["dataset"]
    generate.write_json(folder / "dataset.json", described)
    splits = {
        "train": [name for number, name in enumerate(names) if number % HELD_BACK],
        "val": names[::HELD_BACK],
        "test": [],
    }
    generate.write_json(folder / "splits.json", splits)
    for number, name in enumerate(names):
        scan = draw_abdomen.make_scan(FIRST_SEED + number, oblique=False, flipped=False)
        geometry = (scan.spacing, scan.origin, scan.direction)
        generate.write_nifti(folder / "imagesTr" / f"{name}_0000.nii.gz", scan.image, *geometry)
        generate.write_nifti(folder / "labelsTr" / f"{name}.nii.gz", scan.labels, *geometry)


def train(data: Path, out: Path, steps: int, width: int) -> Path:
    """Train the network; return the folder of the saved model."""
    import napari_graphflow as gf

    gf.train(
        data, network="plain_conv_unet", width=width, role="teacher", dims=2, steps=steps,
        batch_size=8, patch_size=(64, 80), learning_rate=0.002, validate_every=max(1, steps // 5),
        class_weights="balanced", augmentation="light",
        preprocessing={
            "spacing": (0, 4, 4), "orientation": ORIENTATION, "intensity": "ct_window",
            "window": (-160, 240),
        }, name="phantoms", device="cpu", out=out,
    )  # fmt: skip
    return out


def export(model: Path, out: Path) -> None:
    """Write the model as a results folder, with the one fold that nnU-Net calls 0."""
    from napari_graphflow.export.nnunet import write_nnunet
    from napari_graphflow.models.saved import load_model

    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder)
        write_nnunet(load_model(model), whole)
        (out / "fold_0").mkdir(parents=True, exist_ok=True)
        plans = json.loads((whole / "plans.json").read_text("utf-8"))
        generate.write_json(out / "plans.json", plans | {"image_reader_writer": READER})
        described = json.loads((whole / "dataset.json").read_text("utf-8"))
        described |= {"channel_names": {"0": "CT"}, "licence": "BSD-3-Clause"}
        generate.write_json(out / "dataset.json", described)
        checkpoint = "checkpoint_final.pth"
        (out / "fold_0" / checkpoint).write_bytes((whole / "fold_all" / checkpoint).read_bytes())
    print(f"{out}: a results folder in the layout of nnU-Net")


if __name__ == "__main__":
    main()
