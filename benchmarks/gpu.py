"""What must hold on an NVIDIA GPU: `make test-gpu`, at most eight minutes.

    python benchmarks/gpu.py              # writes gpu.json beside this file
    python benchmarks/gpu.py --cpu        # the same parts on a CPU, without writing

Without a CUDA device it says so and ends. Each part prints one line; the exit code is 1 if one
failed. The images are small and generated.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from napari_graphflow.config.methods import METHODS
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.models.saved import load_model, save_model
from napari_graphflow.networks import build
from napari_graphflow.system.events import Event, Metric, Phase, Progress, Warned
from napari_graphflow.training import step as steps
from napari_graphflow.training.loop import distill, train

RESULT = Path(__file__).with_suffix(".json")
STEPS, PATCH = 6, (32, 32, 32)
#: Seconds after which no further part begins.
LIMIT = 440


class Trial:
    """The data of all parts, and the device on which they run."""

    def __init__(self, device: str, folder: Path) -> None:
        self.device, self.folder = device, folder
        self.dataset = folder / "data"
        write_dataset(self.dataset)
        self.teacher = folder / "teacher"

    def training(self, **changes: Any) -> TrainingConfig:
        """Return a short training."""
        settings = {
            "dataset": self.dataset, "network": "unet", "width": 8, "steps": STEPS,
            "patch_size": PATCH, "validate_every": STEPS // 2, "device": self.device,
        }  # fmt: skip
        return TrainingConfig(**(settings | changes))

    def distillation(self, method: str, **changes: Any) -> DistillationConfig:
        """Return a short distillation."""
        options = METHODS[method].options()
        fields = {n: 2 for n, v in options if n.endswith("_steps") and isinstance(v, int) and v > 2}
        base = self.training().model_dump(exclude={"name", "role"})
        settings = {
            "network": "enet", "teacher": self.teacher, "teacher_min_dice": 0.0,
            "method": options.model_copy(update=fields),
        }  # fmt: skip
        return DistillationConfig(**(base | settings | changes))


def write_dataset(folder: Path) -> None:
    """Write noisy spheres: three labelled, two unlabelled, one for validation."""
    random = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"))
    for index in range(6):
        distance = np.sqrt(((grid - random.uniform(16, 24, 3)[:, None, None, None]) ** 2).sum(0))
        labels = (distance < 12).astype(np.uint8) + (distance < 6)
        image = random.normal(0, 10, labels.shape) + 100 * labels
        _write(folder / "imagesTr" / f"case_{index}_0000.nii.gz", image.astype(np.float32))
        if index not in (3, 4):
            _write(folder / "labelsTr" / f"case_{index}.nii.gz", labels)
    names = [f"case_{index}" for index in range(6)]
    splits = {"train": names[:5], "val": names[5:], "test": []}
    (folder / "splits.json").write_text(json.dumps(splits), "utf-8")
    description = {
        "name": "spheres", "channel_names": {"0": "MR"}, "numTraining": 4,
        "labels": {"background": 0, "organ": 1, "lesion": 2}, "file_ending": ".nii.gz",
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(description), "utf-8")


def _write(path: Path, array: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


def losses(events: Iterator[Event]) -> list[float]:
    """Run to the end, and return the totals of the loss, which must be finite."""
    found = [e.value for e in events if isinstance(e, Metric) and e.name == "loss/total"]
    values = [value for value in found if value is not None]
    assert values
    assert np.isfinite(values).all()
    return values


def mixed_precision(trial: Trial) -> dict[str, Any]:
    """Train, and distil by every method, in the precision that is the default."""
    found: dict[str, Any] = {"train": losses(train(trial.training(), trial.folder / "train"))[-1]}
    model = load_model(JobPaths(trial.folder / "train").model)
    save_model(trial.teacher, model.card, model.module)
    for method in METHODS:
        run = distill(trial.distillation(method), trial.folder / method)
        found[method] = losses(run)[-1]
    return found


def kill_and_resume(trial: Trial) -> dict[str, Any]:
    """Leave a run in the middle, resume it, and compare its weights with those of a whole run."""
    config = trial.training(precision="32-true")
    whole, halved = trial.folder / "whole", trial.folder / "halved"
    losses(train(config, whole))
    run = train(config, halved)
    for event in run:
        if isinstance(event, Progress) and event.total == STEPS and event.step == STEPS // 2:
            break
    run.close()
    losses(train(config, halved))
    first, second = (load_model(JobPaths(one).model).module.state_dict() for one in (whole, halved))
    largest = max(float((first[name] - second[name]).abs().max()) for name in first)
    assert largest < 1e-2, f"the weights differ by {largest}"
    return {"largest_difference_of_weights": largest}


def out_of_memory(trial: Trial) -> dict[str, Any]:
    """Run out of memory once: the run goes on with a smaller setting."""
    make, failed = steps.make_step, []

    def once(run: Any, watched: bool) -> Any:
        if not failed:
            failed.append(run.step)
            if trial.device == "cpu":
                raise torch.OutOfMemoryError("CUDA out of memory, simulated")
            free, _ = torch.cuda.mem_get_info()
            torch.empty(2 * free, dtype=torch.uint8, device="cuda")
        return make(run, watched)

    from napari_graphflow.training import loop

    loop.make_step = once  # type: ignore[assignment]
    try:
        events = list(train(trial.training(batch_size=4), trial.folder / "memory"))
    finally:
        loop.make_step = make
    (warning,) = [e for e in events if isinstance(e, Warned) and e.code == "out_of_memory"]
    assert JobPaths(trial.folder / "memory").model.is_dir()
    return {"warning": warning.text}


def whole_volume(trial: Trial) -> dict[str, Any]:
    """Segment a volume on the device and on the CPU: equal labels, seconds, peak memory."""
    from napari_graphflow.inference.loading import in_torch
    from napari_graphflow.inference.predict import segment

    torch.manual_seed(0)
    card = ModelCard(
        name="random", role="student", network="enet", dims=3, in_channels=1,
        classes={"background": 0, "organ": 1, "lesion": 2}, patch_size=(48, 48, 48),
        preprocessing=Preprocessing(intensity="zscore", spacing=(1.5, 1.5, 1.5)),
    )  # fmt: skip
    save_model(trial.folder / "random", card, build("enet", 1, 3, 3))
    side = 160 if trial.device == "cuda" else 64
    noise = np.random.default_rng(0).normal(size=(side,) * 3).astype(np.float32)
    volume = Volume(noise, (1.0,) * 3, (0.0,) * 3, tuple(np.eye(3).ravel()))
    here = segment(in_torch(load_model(trial.folder / "random", trial.device)), volume)
    cpu = segment(in_torch(load_model(trial.folder / "random")), volume)
    equal = float((here.labels.array == cpu.labels.array).mean())
    assert equal >= 0.999, f"only {equal:.4%} of the labels are equal"
    return {
        "equal_labels": equal,
        "seconds": round(here.seconds, 3),
        "cpu_seconds": round(cpu.seconds, 3),
        "peak_MiB": round(here.peak_bytes / 2**20),
    }


def batches_beside_the_step(trial: Trial) -> dict[str, Any]:
    """Measure how long a step waits for its batch."""
    from napari_graphflow.training.ahead import BatchesAhead

    waits: list[float] = []
    call = BatchesAhead.__call__

    def timed(self: BatchesAhead, step: int, **options: Any) -> Any:
        started = time.perf_counter()
        batch = call(self, step, **options)
        waits.append(time.perf_counter() - started)
        return batch

    BatchesAhead.__call__ = timed  # type: ignore[method-assign]
    times, training = [], False
    try:
        config = trial.training(steps=24, validate_every=24, width=32)
        for event in train(config, trial.folder / "waits"):
            training = event.kind == "training" if isinstance(event, Phase) else training
            if training and isinstance(event, Progress):
                times.append(time.perf_counter())
    finally:
        BatchesAhead.__call__ = call  # type: ignore[method-assign]
    whole = statistics.median(b - a for a, b in itertools.pairwise(times[2:]))
    return {"step_s": round(whole, 4), "waiting_s": round(statistics.median(waits[2:]), 4)}


def ddp(trial: Trial) -> dict[str, Any]:
    """Compute a gradient in one process of DDP, and compare it with that of no DDP."""
    from lightning_fabric import Fabric

    torch.manual_seed(0)
    network, image = build("enet", 1, 3, 3, 8).eval(), torch.randn(2, 1, 16, 16, 16)
    device = torch.device(trial.device)
    network.to(device)(image.to(device)).logits.square().mean().backward()
    expected = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    backend = {"cuda": "cuda", "cpu": "cpu"}[trial.device]
    fabric = Fabric(accelerator=backend, devices=1, strategy="ddp", precision="32-true")
    fabric.launch()
    wrapped = fabric.setup_module(network)
    fabric.backward(wrapped(fabric.to_device(image)).logits.square().mean())
    largest = max(
        float((p.grad - expected[name]).abs().max()) for name, p in network.named_parameters()
    )
    torch.distributed.destroy_process_group()
    assert largest < 1e-5, f"the gradients differ by {largest}"
    return {"largest_difference_of_gradients": largest}


PARTS: dict[str, Callable[[Trial], dict[str, Any]]] = {
    part.__name__: part
    for part in (
        mixed_precision, kill_and_resume, out_of_memory, whole_volume, batches_beside_the_step, ddp,
    )
}  # fmt: skip


def run(device: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """Run parts, and return what each found; ``failed`` is the reason of one that failed."""
    started, found = time.perf_counter(), {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        trial = Trial(device, Path(folder))
        for name in names:
            if time.perf_counter() - started > LIMIT:
                found[name] = {"failed": "out of time"}
                continue
            begun = time.perf_counter()
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            try:
                result = PARTS[name](trial)
            except Exception as error:
                result = {"failed": f"{type(error).__name__}: {error}"}
            if device == "cuda":
                result["peak_MiB"] = round(torch.cuda.max_memory_allocated() / 2**20)
            found[name] = result | {"part_s": round(time.perf_counter() - begun, 1)}
            print(name, json.dumps(found[name]), flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu", action="store_true", help="run the parts on the CPU")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    options = parser.parse_args()
    os.environ["GRAPHFLOW_ENGINE"] = "torch"
    if not options.cpu and not torch.cuda.is_available():
        print("There is no CUDA device here; nothing was tested.")
        return 0
    found = run("cpu" if options.cpu else "cuda", options.parts)
    failed = [name for name, result in found.items() if "failed" in result]
    if not options.cpu and options.parts == list(PARTS):
        report = {"card": torch.cuda.get_device_name(), "torch": torch.__version__, "parts": found}
        RESULT.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
