"""What the pictures of the docks show: tiny models, jobs in several states, two readers."""

import shutil
import time
from pathlib import Path
from typing import Any

#: The case with masks of two readers.
READ_TWICE = "abdomen_002"
READERS = ("first reader", "second reader")


def make_models(home: Path) -> None:
    """Save a teacher and a student with random weights."""
    import torch

    from napari_graphflow.config.model_card import ModelCard
    from napari_graphflow.config.preprocessing import Preprocessing
    from napari_graphflow.models.saved import save_model
    from napari_graphflow.networks import build

    torch.set_num_threads(1)
    classes = {"background": 0, "liver": 1, "spleen": 2, "left_kidney": 3, "lesion": 4}
    for name, role, network, dims in (
        ("flat student", "student", "enet", 2),
        ("abdomen student", "student", "enet", 3),
        ("abdomen teacher", "teacher", "unet", 3),
    ):
        torch.manual_seed(0)
        width = 8 if network == "unet" else None
        module = build(network, 1, len(classes), dims, width)
        card = ModelCard(
            name=name, role=role, network=network, dims=dims, in_channels=1, classes=classes,
            width=width, patch_size=(32,) * dims, preprocessing=Preprocessing(intensity="zscore"),
            parameters=sum(parameter.numel() for parameter in module.parameters()),
        )  # fmt: skip
        save_model(home / "models" / name.replace(" ", "_"), card, module.eval())


def make_jobs(home: Path) -> None:
    """Write jobs in several states, with curves of a distillation that is half done."""
    from napari_graphflow.config.run import DistillationConfig, TrainingConfig
    from napari_graphflow.dataset.samples import sample_dataset
    from napari_graphflow.jobs.event_log import event_line
    from napari_graphflow.jobs.status import Process, RunReport, Status
    from napari_graphflow.jobs.store import create
    from napari_graphflow.system.events import Metric, TeacherScored
    from napari_graphflow.system.failures import Failure

    dataset = sample_dataset("abdomen")
    teacher = TeacherScored(dice={"liver": 0.95, "lesion": 0.87}, mean=0.91, cases=4, available=4)
    settings: dict[str, Any] = {"dataset": dataset, "network": "enet", "device": "cpu"}
    failed = create("train", TrainingConfig(name="ResNet-18 on abdomen", **settings))
    alone = create("train", TrainingConfig(name="ENet on abdomen", **settings))
    half = create(
        "distill",
        DistillationConfig(
            name="ENet from the abdomen teacher of the second round of labelling",
            teacher=home / "models" / "abdomen_teacher", **settings,
        ),
    )  # fmt: skip
    done = Status(state="done", run=RunReport(best=0.842, model="artifacts/model"))
    lack = Failure(code="out_of_memory", text="The memory is full.", remedy="Use a smaller patch.")
    running = Status(
        state="running",
        run=RunReport(
            phase="training", step=620, total=1000, eta_s=2880, best=0.887, teacher=teacher
        ),
        process=Process(
            launched=1.0, device="cpu", heartbeat=time.time() + 3600, host="workstation"
        ),
    )
    states = ((failed, Status(state="failed", failure=lack)), (alone, done), (half, running))
    for job, status in states:
        with job.writing():
            job.write_status(status)
    lines = []
    for step in range(10, 630, 10):
        values = {"total": 3.2, "supervised": 1.4, "logits": 0.7, "vertices": 0.5, "edges": 0.3}
        for name, start in values.items():
            value = start * (0.15 + 0.85 * 0.995**step) * (1 + 0.05 * ((step * 7 + len(name)) % 5))
            lines.append(event_line(Metric(name=f"loss/{name}", value=value, step=step)))
        if step % 100 == 0:
            for name, best in (("dice", 0.9), ("dice/liver", 0.95), ("dice/lesion", 0.85)):
                dice = best * (1 - 0.99**step * 0.9)
                lines.append(event_line(Metric(name=name, value=dice, step=step, split="val")))
    half.events_file.write_bytes(b"".join(lines))


def make_readers(folder: Path) -> Path:
    """Copy the sample dataset, with drafts of two readers who disagree on one case."""
    import numpy as np
    from scipy import ndimage

    from napari_graphflow.dataset.samples import sample_dataset
    from napari_graphflow.labelling.store import Labelling

    shutil.copytree(sample_dataset("abdomen"), folder)
    for reader, axis in zip(READERS, (1, 2), strict=True):
        labelling = Labelling(folder, reader)
        opened = labelling.open_case(READ_TWICE)
        labels = np.asarray(opened.labels)
        moved = np.where(ndimage.binary_erosion(labels > 0), labels, np.roll(labels, 1, axis))
        labelling.save_draft(opened, moved)
    return folder
