"""How much a student's variation graph depends on the image, at its own and its teacher's peaks.

    python benchmarks/graph_flow/peaks.py [--rows 'kvasir-enet-own_peaks-*' ...]

Reads the models of ``run.py`` and writes ``peaks.json``. Over the validation cases, for the
vertices that the loss compared:

- constant: share of their energy that is the same for every image;
- correlation: correlation of the rest, which depends on the image, with the teacher's;
- at the teacher's peaks: that correlation at the teacher's peaks, for students trained otherwise.
"""

import argparse
import json
import sys
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.distillation.graph_flow.loss import VariationGraph, variation_graph
from napari_graphflow.inference.graph_flow_maps import Graphs, compared_graphs
from napari_graphflow.models.saved import Model, load_model
from napari_graphflow.training.batches import load_case, spread_patches

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from tasks import TASKS, WORK, teacher_row  # noqa: E402

#: Students of the ablation whose taps are as wide as their teacher's.
DEFAULT = [f"kvasir-enet-{kind}-?" for kind in ("alone", "attention", "graph_flow", "logits")]
DEFAULT += [f"kvasir-enet-{kind}-?" for kind in ("one_pair", "own_peaks", "reconstruction")]
DEFAULT += ["kvasir-enet-search_channel_t4_w0.1_2-?", "kvasir-enet-search_graph*-?"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=WORK, help="models and datasets")
    parser.add_argument("--rows", nargs="*", default=DEFAULT, help="patterns of rows")
    options = parser.parse_args()
    path = HERE / "peaks.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for folder in sorted(options.work.iterdir()):
        if any(fnmatch(folder.name, pattern) for pattern in options.rows):
            found[folder.name] = measure(folder, options.work)
            print(folder.name, found[folder.name])
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def measure(folder: Path, work: Path) -> dict[str, float]:
    """Measure one student; return {} if its taps cannot be compared with its teacher's."""
    student = load_model(folder)
    task, *_, seed = folder.name.split("-")
    teacher = load_model(work / next(iter(teacher_row(task, work, int(seed)))))
    images = patches(Dataset.open(work / TASKS[task].key), student.card)
    found: dict[str, float] = {}
    graphs, _ = compared_graphs(student, teacher)
    if graphs is not None:
        constant, of_teacher, correlation = compare(graphs, images)
        found |= {"correlation": correlation, "constant": constant}
        found |= {"constant of its teacher": of_teacher}
    if graphs is None or "own_peaks" in folder.name:
        *_, found["at the teacher's peaks"] = compare(at_its_peaks(student, teacher), images)
    return {name: round(value, 3) for name, value in found.items()}


def at_its_peaks(student: Model, teacher: Model) -> Graphs:
    """Return graphs of taps of equal width at the teacher's peaks, for any distillation."""

    def graphs(images: Tensor) -> list[VariationGraph]:
        taps = (model.module(images).taps for model in (teacher, student))
        theirs, ours = ((each["encoder"], each["decoder"]) for each in taps)
        graph = variation_graph(*theirs, 3)
        return [variation_graph(*ours, 3, peaks_of=graph), graph]

    return graphs


def compare(graphs: Graphs, images: list[Tensor]) -> tuple[float, float, float]:
    """Return the constant shares of student and teacher, and the correlation of the rest."""
    with torch.no_grad():
        pairs = [[graph.vertices for graph in graphs(batch)] for batch in images]
    (constant, ours), (of_teacher, theirs) = (
        parted(torch.cat(one)) for one in zip(*pairs, strict=True)
    )
    return constant, of_teacher, float((ours * theirs).sum() / (ours.norm() * theirs.norm()))


def patches(dataset: Dataset, card: ModelCard) -> list[Tensor]:
    """Return batches of patches of the validation cases."""
    with TemporaryDirectory() as cache:
        cases = [
            load_case(dataset, case, card.preprocessing, Path(cache), labelled=True)
            for case in dataset.labelled("val")
        ]
        return list(spread_patches(cases, card.patch_size, 8, seed=0))


def parted(vertices: Tensor) -> tuple[float, Tensor]:
    """Return the share of energy that is the same for every image, and the rest, (B, C, m)."""
    rest = vertices - vertices.mean(0)
    return float(1 - rest.square().sum() / vertices.square().sum()), rest


if __name__ == "__main__":
    main()
