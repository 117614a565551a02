"""Time and memory of segmenting whole volumes, compared with raw OpenVINO and with MONAI.

    python benchmarks/inference.py
    python benchmarks/inference.py --rounds 1 --missing
    python benchmarks/inference.py --rows "2D ENet, slices" --rounds 1

Each row is added to inference.json when it is measured, from which speed_table.py makes the table
of docs/speed.md; ``--missing`` measures those that are not there. One round of all rows takes about
12 minutes on two quiet cores: half a minute each for the small ones, one for the U-Nets, three for
the CT of 300 slices and one to two for the other CTs.

Volumes and weights are random: neither changes the time of a network. Each measurement runs in a
separate process, after one small volume that loads and compiles everything; the ways take turns
within each round. Seconds are the minimum over rounds, because other programs can only add time.

``product``: `napari_graphflow.inference.predict.segment`, from the stored image to the mask in its
grid. ``openvino``: the same network on the same windows, nothing else. ``monai``: the same network
in eager torch through `monai.inferers.SlidingWindowInferer`, and the argmax. ``beside``: product
while another process trains on all cores but one, at the priority of a job. Memory is the
increase of the peak of the process over that after the small volume, in float32 volumes of the
image's size. ``start_s`` is the time from a started Python to the mask of the small volume.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from volume_reading import peak

RESULT = Path(__file__).with_suffix(".json")
MACHINE = f"{platform.system()} {platform.machine()}, {psutil.cpu_count()} cores"
WAYS = ("product", "openvino", "monai", "beside")
#: A training of a U-Net on all cores but one.
LOAD = """
import os, torch
from napari_graphflow.networks import build
torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
network, image = build("unet", 1, 2, 3, 8), torch.rand(1, 1, 48, 48, 48)
print("ready", flush=True)
while True:
    network(image).logits.mean().backward()
"""


@dataclass(frozen=True)
class Row:
    """One network on one volume; `spacing` is the network's, in voxels of the image."""

    network: str
    dims: int
    classes: int
    shape: tuple[int, int, int]
    patch: tuple[int, ...]
    spacing: float = 1.0


MR, SLICES, CT = (96, 192, 192), (60, 256, 256), (300, 512, 512)
ROWS = {
    "3D ENet, MR": Row("enet", 3, 3, MR, (64, 64, 64)),
    "3D U-Net, MR": Row("unet", 3, 3, MR, (64, 64, 64)),
    "3D ENet, large MR": Row("enet", 3, 3, (130, 256, 256), (64, 64, 64)),
    "3D ENet, MR at 1.5 voxels": Row("enet", 3, 3, (192, 288, 288), (64, 64, 64), 1.5),
    "2D ENet, slices": Row("enet", 2, 5, SLICES, (128, 128)),
    "2D Mobile U-Net, slices": Row("mobile_unet", 2, 5, SLICES, (128, 128)),
    "2D U-Net, slices": Row("unet", 2, 5, SLICES, (128, 128)),
    "2D ENet, CT of 75 slices": Row("enet", 2, 14, (75, 512, 512), (256, 256)),
    "2D ENet, CT of 150 slices": Row("enet", 2, 14, (150, 512, 512), (256, 256)),
    "2D ENet, CT": Row("enet", 2, 14, CT, (256, 256)),
    "2D ENet, CT at 1.5 voxels": Row("enet", 2, 14, CT, (256, 256), 1.5),
}
#: The default teacher of a student, on the same image.
TEACHERS = {"3D ENet, MR": "3D U-Net, MR", "2D ENet, slices": "2D U-Net, slices"}


def write_model(row: Row, folder: Path) -> None:
    """Save a network with random weights and its OpenVINO form."""
    import torch

    from napari_graphflow.config.model_card import ModelCard
    from napari_graphflow.config.preprocessing import Preprocessing
    from napari_graphflow.models.openvino_form import convert
    from napari_graphflow.models.saved import load_model, save_model
    from napari_graphflow.networks import build

    torch.manual_seed(0)
    names = ["background", *(f"organ {index}" for index in range(1, row.classes))]
    spacing = (row.spacing,) * 3 if row.spacing != 1 else None
    card = ModelCard(
        name="random",
        role="student",
        network=row.network,
        dims=row.dims,
        in_channels=1,
        classes={name: index for index, name in enumerate(names)},
        patch_size=row.patch,
        preprocessing=Preprocessing(intensity="ct_window", spacing=spacing),
    )
    save_model(folder, card, build(row.network, 1, row.classes, row.dims))
    convert(load_model(folder))


def image(shape: tuple[int, int, int]) -> Any:
    from napari_graphflow.imaging.volume import Volume

    random = np.random.default_rng(0)
    array = np.empty(shape, np.int16)
    for index in range(len(array)):
        array[index] = random.normal(0, 300, shape[1:])
    return Volume(array, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))


def small(row: Row) -> tuple[int, int, int]:
    """Return a shape with the windows of the row, and few of them."""
    depth = 2 if row.dims == 2 else row.shape[0]
    return (max(depth, round(2 * row.spacing)), *row.shape[1:])


def measure(row: Row, way: str, folder: Path) -> None:
    """Segment once, in this process, and print seconds and bytes."""
    begun = time.perf_counter()
    ways = {"product": product, "openvino": raw_openvino, "monai": raw_monai, "beside": product}
    run = ways[way](row, folder)
    run(image(small(row)))
    start = time.perf_counter() - begun
    volume, before = image(row.shape), peak()
    started = time.perf_counter()
    run(volume)
    seconds = time.perf_counter() - started
    voxels = 4 * int(np.prod(row.shape))
    found = {"seconds": seconds, "volumes": (peak() - before) / voxels, "start_s": start}
    print(json.dumps(found))


def product(row: Row, folder: Path) -> Any:
    from napari_graphflow.inference.loading import load_for_inference
    from napari_graphflow.inference.predict import segment

    model = load_for_inference(folder, "cpu")
    assert model.engine.title == "CPU, OpenVINO"
    return lambda volume: segment(model, volume).labels.array


def windows_of(row: Row, volume: Any) -> Any:
    from napari_graphflow.inference.whole_volume import OVERLAP, window_size
    from napari_graphflow.inference.windows import plan_windows

    shape = tuple(round(n / row.spacing) for n in volume.shape)
    slices = row.dims == 2
    size = window_size(shape[slices:], row.patch)
    return plan_windows(shape, (1, *size) if slices else size, OVERLAP, 0 if slices else None)


def raw_openvino(row: Row, folder: Path) -> Any:
    import openvino

    from napari_graphflow.config.openvino_form import read_form

    form = read_form(folder)
    assert form is not None
    core = openvino.Core()

    def run(volume: Any) -> None:
        windows = windows_of(row, volume)
        network = core.read_model(folder / "openvino" / "model.xml")
        shape = [1, 1, *form.padded_size(windows.size[-row.dims :])]
        network.reshape(shape)
        queue = openvino.AsyncInferQueue(
            core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}), 2
        )
        window = np.random.default_rng(0).random(shape, np.float32)
        for _ in windows.positions:
            queue.start_async({0: window}, share_inputs=True)
        queue.wait_all()

    return run


def raw_monai(row: Row, folder: Path) -> Any:
    import torch
    from monai.inferers import SlidingWindowInferer

    from napari_graphflow.imaging.preprocessing import prepare
    from napari_graphflow.models.saved import load_model

    model = load_model(folder)

    @torch.inference_mode()
    def run(volume: Any) -> None:
        x = torch.from_numpy(prepare(volume, model.card.preprocessing).array)
        size = windows_of(row, volume).size[-row.dims :]
        inferer = SlidingWindowInferer(size, 8 if row.dims == 2 else 2, 0.5, "gaussian")
        batches = x.movedim(1, 0).split(8) if row.dims == 2 else [x[None]]
        for batch in batches:
            inferer(batch, model.module.logits).argmax(1)

    return run


@contextmanager
def training() -> Iterator[None]:
    """Train in another process meanwhile."""
    from napari_graphflow.system.processes import child_environment, give_way

    process = subprocess.Popen(
        [sys.executable, "-c", LOAD], stdout=subprocess.PIPE, text=True, env=child_environment()
    )
    give_way(process.pid)  # as a job
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
    finally:
        process.kill()
        process.wait()


def run(names: list[str], rounds: int) -> Iterator[dict[str, Any]]:
    """Measure rows one after the other."""
    with tempfile.TemporaryDirectory() as root:
        for name in names:
            row, folder = ROWS[name], Path(root) / name.replace(" ", "-")
            write_model(row, folder)
            found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
            for _ in range(rounds):
                for way, results in found.items():
                    command = [sys.executable, __file__, "--one", name, way, str(folder)]
                    with training() if way == "beside" else nullcontext():
                        done = subprocess.run(command, capture_output=True, text=True, check=False)
                    if done.returncode:  # MONAI may run out of memory
                        print(done.stderr.splitlines()[-1:], file=sys.stderr)
                        continue
                    results.append(json.loads(done.stdout.splitlines()[-1]))
            seconds = {
                way: min((one["seconds"] for one in results), default=float("nan"))
                for way, results in found.items()
            }
            yield {
                "row": name,
                "windows": len(windows_of(row, image(row.shape)).positions),
                **{f"{way}_s": round(value, 3) for way, value in seconds.items()},
                "times_openvino": round(seconds["product"] / seconds["openvino"], 2),
                "of_monai": round(seconds["product"] / seconds["monai"], 2),
                "times_beside": round(seconds["beside"] / seconds["product"], 2),
                "start_s": round(min(one["start_s"] for one in found["product"]), 2),
                "volumes": round(max(one["volumes"] for one in found["product"]), 2),
            }


def report_of(rows: dict[str, dict[str, Any]], rounds: int) -> dict[str, Any]:
    """Return the report, with the share of a student's time of its teacher's in eager torch."""
    for student, teacher in TEACHERS.items():
        if student in rows and teacher in rows:
            share = rows[student]["product_s"] / rows[teacher]["monai_s"]
            rows[student]["of_teacher"] = round(share, 3)
    return {
        "command": f"python benchmarks/inference.py --rounds {rounds}",
        "machine": MACHINE,
        "rows": [rows[name] for name in ROWS if name in rows],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=ROWS)
    parser.add_argument("--missing", action="store_true", help="only rows not measured here yet")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--one", nargs=3, metavar=("ROW", "WAY", "MODEL"))
    options = parser.parse_args()
    if options.one:
        name, way, folder = options.one
        measure(ROWS[name], way, Path(folder))
        return
    before = json.loads(options.out.read_text("utf-8")) if options.out.is_file() else {}
    same = before.get("machine") == MACHINE
    found = {row["row"]: row for row in (before["rows"] if same else [])}
    names = [name for name in options.rows if not (options.missing and name in found)]
    for row in run(names, options.rounds):
        print(*row.values(), sep="\t", flush=True)
        found[row["row"]] = row
        report = report_of(found, options.rounds)
        options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
