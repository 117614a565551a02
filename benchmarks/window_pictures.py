"""Make pictures of the docks, in both themes and at two sizes of the window.

Two tiny models are written, no training runs::

    xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/window_pictures.py
    xvfb-run -a -s "-screen 0 1920x1080x24" python benchmarks/window_pictures.py --out /elsewhere \\
        --all

The first command makes the pictures that the documentation shows; ``--all`` makes every dock in
every theme and size, to look at. ``QT_API`` chooses the binding.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from filmed_window import FilmedWindow, use_own_settings

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
SIZES = {"small": (1280, 800), "large": (1920, 1080)}
DOCKS = ("Segment", "Distil", "Jobs", "Compare", "Dataset", "Volume")
#: Of the documentation: dock, theme and size; the file is named after the dock.
SHOWN = (("Jobs", "light", "small"), ("Compare", "dark", "small"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--all", action="store_true", help="every dock in every theme and size")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the font's size")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        use_own_settings(Path(home))
        make_models(Path(home))
        make_jobs(Path(home))
        window = Window(options.out, options.scale, fill=options.all)
        wanted = (
            [(dock, theme, size) for theme in ("dark", "light") for size in SIZES for dock in DOCKS]
            if options.all
            else SHOWN
        )
        for dock, theme, size in wanted:
            name = f"{dock.lower()}_{theme}_{size}" if options.all else dock.lower()
            window.picture(dock, theme, size, f"window_{name}")
        window.viewer.close()


class Window(FilmedWindow):
    """napari with a phantom, its mask and the docks."""

    def __init__(self, out: Path, scale: float, *, fill: bool) -> None:
        import napari
        from napari.settings import get_settings

        self.out = out
        self.application = napari.qt.get_qapp()
        settings = get_settings()
        settings.appearance.theme = "dark"
        settings.appearance.font_size = round(settings.appearance.font_size * scale)
        self.viewer = napari.Viewer(show=True)
        self.window = self.viewer.window._qt_window  # noqa: SLF001
        self.viewer.open_sample("napari-graphflow", "abdomen-labelled")
        if fill:
            self.fill()
        else:
            self.compare()

    def compare(self) -> None:
        """Compare the mask with itself moved by a voxel, by a click."""
        import numpy as np

        from napari_graphflow.plugin.viewer.cases import cases_of
        from napari_graphflow.plugin.viewer.layers import voxels
        from napari_graphflow.plugin.widgets.docks import show_dock

        image, mask = self.viewer.layers
        moved = type(mask)(
            np.roll(voxels(mask), 1, -1), name="moved by one voxel", scale=mask.scale,
            units=mask.units, axis_labels=mask.axis_labels, features=mask.features,
        )  # fmt: skip
        cases_of(self.viewer).add(moved, like=image)
        compare = show_dock(self.viewer, "Compare")
        compare.a.choose(mask)
        compare.b.choose(moved)
        self.until(compare.button.isEnabled)
        compare.button.click()
        self.until(lambda: compare.table.rowCount() > 0)
        compare.worst_pair.click()
        show_dock(self.viewer, "Jobs")
        self.rest(2)

    def fill(self) -> None:
        """Segment by a click, so that maps are shown, and choose a dataset."""
        from napari_graphflow.dataset.samples import sample_dataset
        from napari_graphflow.plugin.widgets.docks import show_dock

        segment = show_dock(self.viewer, "Segment")
        image = next(one for one in self.viewer.layers if type(one).__name__ == "Image")
        self.viewer.layers.selection.active = image
        self.until(segment.button.isEnabled)
        segment.uncertainty.setChecked(True)
        segment.button.click()
        self.until(lambda: not segment.running)
        distil = show_dock(self.viewer, "Distil")
        distil.dataset.choose(sample_dataset("abdomen"))
        self.until(distil.dataset.checked)
        show_dock(self.viewer, "Jobs")
        self.rest(1)

    def picture(self, dock: str, theme: str, size: str, name: str) -> None:
        """Save the whole window with one dock in front."""
        from napari_graphflow.plugin.widgets.docks import show_dock

        self.window.resize(*SIZES[size])
        self.viewer.theme = theme
        show_dock(self.viewer, dock)
        self.picture_of(self.window, self.out / f"{name}.png", colours=192)


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


if __name__ == "__main__":
    main()
