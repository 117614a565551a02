"""Do imported models compute the labels of the programs they come from? On hippocampus volumes.

    python benchmarks/teachers/parity.py --data DIR --nnunet RESULTS --nnunet-python BIN
        --monai-python BIN

RESULTS holds the folders of ``train_nnunet.py``; BIN are the interpreters of environments with
nnU-Net (2.6 or later) and with ``monai[fire,ignite,nibabel]``. Five volumes (as stored, RAS, LAS,
oblique, other voxels with a margin of zeros) are segmented by ``nnUNetv2_predict``, by
``monai.bundle run`` and by a loop over a network in PyTorch, and by this program after an import.
The smallest share of equal voxels of each goes into the table of ``parity.md``.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from rows import markdown, put_table  # noqa: E402

from napari_graphflow.inference.segment_files import segment_files  # noqa: E402
from napari_graphflow.models.importing import ImportOptions, import_teacher  # noqa: E402

CLASSES = {"background": 0, "anterior": 1, "posterior": 2}
NETWORK = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [8, 16, 32],
           "strides": [2, 2], "num_res_units": 1, "norm": "batch"}  # fmt: skip
MULTIPLE, SIDES = 8, [48, 64, 48]
Masks = dict[str, np.ndarray]


class Own(nn.Module):
    """A network that neither MONAI nor this package knows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU())
        deep = [nn.Conv3d(8, 16, 2, 2), nn.ReLU(), nn.Conv3d(16, 16, 3, padding=1), nn.ReLU()]
        self.deep, self.up = nn.Sequential(*deep), nn.ConvTranspose3d(16, 8, 2, 2)
        self.last = nn.Conv3d(16, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        return self.last(torch.cat([first, self.up(self.deep(first))], 1))


def write_inputs(data: Path, folder: Path) -> None:
    """Write one volume of each kind."""
    names = json.loads((data / "splits.json").read_text())["hippocampus_msd"]["val"]
    stored = [sitk.ReadImage(str(data / "hippocampus_msd/images" / f"{one}.nii.gz"))
              for one in names[:5]]  # fmt: skip
    turn = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
    oblique, coarse = sitk.Image(stored[3]), stored[4]
    oblique.SetDirection((turn @ np.reshape(oblique.GetDirection(), (3, 3))).ravel().tolist())
    spacing = (0.8, 0.7, 1.6)
    extent = np.multiply(coarse.GetSize(), coarse.GetSpacing())
    size = np.round(extent / spacing).astype(int).tolist()
    coarse = sitk.Resample(coarse, size, sitk.Transform(), sitk.sitkLinear, coarse.GetOrigin(),
                           spacing, coarse.GetDirection())  # fmt: skip
    made = {
        "stored": stored[0],
        # SimpleITK names where axes come from: this is RAS and LAS where they go to.
        "ras": sitk.DICOMOrient(stored[1], "LPI"),
        "las": sitk.DICOMOrient(stored[2], "RPI"),
        "oblique": oblique,
        "voxels": sitk.ConstantPad(coarse, [5, 7, 3], [9, 0, 2], 0),
    }
    folder.mkdir()
    for name, image in made.items():
        sitk.WriteImage(image, str(folder / f"{name}_0000.nii.gz"))


def read(folder: Path) -> Masks:
    """Read masks by the name of their volume, the axes as stored."""
    return {path.name.split("_0000")[0].split(".")[0]: np.asarray(nib.load(path).dataobj)
            for path in folder.rglob("*.nii.gz")}  # fmt: skip


def ours(source: Any, images: Path, work: Path, options: ImportOptions) -> Masks:
    """Import a model and segment the volumes."""
    with TemporaryDirectory(dir=work) as place:
        import_teacher(source, Path(place) / "teacher", options)
        segment_files([images], Path(place) / "teacher", Path(place) / "out")
        return read(Path(place) / "out")


def by_nnunet(python: Path, results: Path, images: Path, work: Path, *, mirror: bool) -> Masks:
    with TemporaryDirectory(dir=work) as out:
        command = [python.parent / "nnUNetv2_predict_from_modelfolder", "-i", images, "-o", out]
        command += ["-m", results, "-f", "all", "-device", "cpu", "-npp", "1", "-nps", "1"]
        subprocess.run([*command, *([] if mirror else ["--disable_tta"])], check=True)
        return read(Path(out))


def prepared(path: Path) -> tuple[Any, torch.Tensor]:
    """Return a volume with its axes to R, A, S, and its z-scores (1, 1, x, y, z), padded."""
    image = nib.as_closest_canonical(nib.load(path))
    x = torch.from_numpy(image.get_fdata(dtype=np.float32).copy())[None, None]
    x = (x - x.mean()) / x.std(correction=0)
    padding = [n for side in reversed(x.shape[2:]) for n in (0, -side % MULTIPLE)]
    return image, functional.pad(x, padding, mode="replicate")


def train(network: nn.Module, data: Path, steps: int) -> nn.Module:
    """Train on the hippocampus for a moment, so that labels are not those of noise."""
    names = json.loads((data / "splits.json").read_text())["hippocampus_msd"]["train"][:20]
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(steps):
        name = f"{names[step % len(names)]}.nii.gz"
        _, x = prepared(data / "hippocampus_msd/images" / name)
        mask = nib.as_closest_canonical(nib.load(data / "hippocampus_msd/masks" / name))
        y = torch.from_numpy(np.asanyarray(mask.dataobj).astype(np.int64))[None]
        logits = network(x)[:, :, : y.shape[1], : y.shape[2], : y.shape[3]]
        optimiser.zero_grad()
        functional.cross_entropy(logits, y, torch.tensor([0.2, 1, 1])).backward()
        optimiser.step()
    return network.eval()


@torch.no_grad()
def by_loop(network: nn.Module, images: Path) -> Masks:
    """Segment each volume by the code that a user would write."""
    found = {}
    for path in sorted(images.iterdir()):
        image, x = prepared(path)
        labels = network(x).argmax(1)[0].numpy()
        labels = labels[tuple(slice(n) for n in image.shape)].astype(np.uint8)
        original = nib.load(path)
        back = nib.orientations.ornt_transform(
            nib.io_orientation(image.affine), nib.io_orientation(original.affine)
        )
        found[path.name.split("_0000")[0]] = nib.orientations.apply_orientation(labels, back)
    return found


def write_bundle(network: nn.Module, folder: Path, spacing: list[float]) -> None:
    """Write a bundle as those of MONAI's zoo are."""
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    channels = {"0": "background", "1": "anterior", "2": "posterior"}
    formats = {
        "inputs": {"image": {"modality": "MR"}},
        "outputs": {"pred": {"channel_def": channels}},
    }
    metadata = {"name": "Hippocampus", "version": "1", "network_data_format": formats}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    key = {"keys": "image"}
    before = [
        {"_target_": "LoadImaged", **key, "ensure_channel_first": True},
        {"_target_": "Orientationd", **key, "axcodes": "RAS"},
        *([{"_target_": "Spacingd", **key, "pixdim": spacing, "mode": "bilinear"}] * bool(spacing)),
        {"_target_": "NormalizeIntensityd", **key},
        {"_target_": "EnsureTyped", **key},
    ]
    after = [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
         "nearest_interp": False, "to_tensor": True},
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir",
         "output_postfix": "", "separate_folder": False},
    ]  # fmt: skip
    config = {
        "imports": ["$import glob"], "bundle_root": str(folder),
        "dataset_dir": "", "output_dir": "",
        "device": "$torch.device('cpu')",
        "network_def": {"_target_": "UNet", **NETWORK},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": before},
        "data": "$[{'image': i} for i in sorted(glob.glob(@dataset_dir + '/*.nii.gz'))]",
        "dataset": {"_target_": "Dataset", "data": "@data", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": SIDES, "sw_batch_size": 1,
                    "overlap": 0.5, "mode": "gaussian"},
        "postprocessing": {"_target_": "Compose", "transforms": after},
        "handlers": [{"_target_": "CheckpointLoader", "load_dict": {"model": "@network"},
                      "load_path": "$@bundle_root + '/models/model.pt'"}],
        "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device",
                      "val_data_loader": "@dataloader", "network": "@network",
                      "inferer": "@inferer", "postprocessing": "@postprocessing",
                      "val_handlers": "@handlers"},
        "run": ["$@evaluator.run()"],
    }  # fmt: skip
    (folder / "configs" / "inference.json").write_text(json.dumps(config, indent=1))


def by_monai(python: Path, bundle: Path, images: Path, work: Path) -> Masks:
    with TemporaryDirectory(dir=work) as out:
        command = [python, "-m", "monai.bundle", "run", "--config_file",
                   bundle / "configs" / "inference.json", "--dataset_dir", images,
                   "--output_dir", out]  # fmt: skip
        subprocess.run(command, check=True)
        return read(Path(out))


def compared(name: str, expected: Masks, found: Masks) -> tuple[str, ...]:
    """Return a row: the smallest share of equal voxels, and how many differ in all volumes."""
    shares = {}
    for case, mask in expected.items():
        equal = mask == found[case]
        shares[case] = float(equal.mean())
        print(f"{name}, {case}: {mask.size} voxels, {int((~equal).sum())} differ, "
              f"{int((mask > 0).sum())} labelled", flush=True)  # fmt: skip
    differ = sum(int((mask != found[case]).sum()) for case, mask in expected.items())
    worst = min(shares, key=shares.__getitem__)
    return (name, f"{shares[worst]:.3%} ({worst})", str(differ))


def rows(options: argparse.Namespace, work: Path) -> Iterator[tuple[str, ...]]:
    images = work / "images"
    write_inputs(options.data, images)
    if options.monai_python:
        torch.manual_seed(0)
        network = train(Own(), options.data, options.steps)
        steps = {"orientation": "RAS", "intensity": "zscore", "percentiles": (0, 100),
                 "axes": ("x", "y", "z")}  # fmt: skip
        card = {"dims": 3, "in_channels": 1, "classes": CLASSES, "patch_size": SIDES,
                "divisor": MULTIPLE, "preprocessing": steps}  # fmt: skip
        found = ours(network, images, work, ImportOptions(card=card))
        yield compared("network of one's own, by a loop", by_loop(network, images), found)
        from monai.networks.nets import UNet

        network = train(UNet(**NETWORK), options.data, options.steps)
        for title, spacing in (("", []), (", to voxels of 1.2 x 0.9 x 1 mm", [1.2, 0.9, 1.0])):
            bundle = work / f"bundle{len(spacing)}"
            write_bundle(network, bundle, spacing)
            expected = by_monai(options.monai_python, bundle, images, work)
            found = ours(bundle, images, work, ImportOptions())
            yield compared(f"MONAI bundle, by `monai.bundle run`{title}", expected, found)
    if options.nnunet_python:
        for folder, kind in (("seed_0", "3d_fullres"), ("seed_0_2d", "2d")):
            for mirror in (False, True):
                results = options.nnunet / folder
                expected = by_nnunet(options.nnunet_python, results, images, work, mirror=mirror)
                found = ours(results, images, work, ImportOptions(mirror=mirror))
                title = f"nnU-Net {kind}, mirroring {'on' if mirror else 'off'}"
                yield compared(f"{title}, by `nnUNetv2_predict`", expected, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--nnunet", type=Path)
    parser.add_argument("--nnunet-python", type=Path)
    parser.add_argument("--monai-python", type=Path)
    parser.add_argument("--steps", type=int, default=120, help="of the networks trained here")
    parser.add_argument("--out", type=Path, default=HERE / "parity.md", help="page of the table")
    options = parser.parse_args()
    with TemporaryDirectory() as work:
        found = list(rows(options, Path(work)))
    head = ("model, and what it is compared with", "equal voxels, worst volume",
            "voxels that differ, of all five")  # fmt: skip
    put_table(options.out, markdown([head, *found]))


if __name__ == "__main__":
    main()
