"""What a student's variation graph tells of the image: at its own peaks, and at its teacher's.

    python benchmarks/graph_flow/peaks.py [--rows 'kvasir-enet-own_peaks-*' ...]

Reads the models that ``run.py`` left, and writes ``peaks.json``. Over the validation cases, for
the vertices as the loss compared them:

- constant: share of their energy that is the same for every image;
- correlation: of the rest, the part that depends on the image, with the teacher's.
"""

import argparse
import json
import sys
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from napari_graphflow.batches import load_case, spread_patches
from napari_graphflow.config import ModelCard
from napari_graphflow.dataset import Dataset
from napari_graphflow.heatmaps import compared_graphs
from napari_graphflow.model import load_model

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from tasks import TASKS, WORK, teacher_row  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=WORK, help="models and datasets")
    parser.add_argument("--rows", nargs="*", default=["kvasir-enet-*"], help="patterns of rows")
    options = parser.parse_args()
    path = HERE / "peaks.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for folder in sorted(options.work.iterdir()):
        if any(fnmatch(folder.name, pattern) for pattern in options.rows):
            measured = measure(folder, options.work)
            if measured:
                found[folder.name] = measured
                print(folder.name, measured)
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def measure(folder: Path, work: Path) -> dict[str, float]:
    """Numbers of one student; none where it was not distilled by Graph Flow."""
    student = load_model(folder)
    if student.card.provenance["run"].get("method") != "graph_flow":
        return {}
    name = folder.name.split("-")[0]
    seed = int(folder.name.rsplit("-", 1)[1])
    teacher = load_model(work / next(iter(teacher_row(name, work, seed))))
    mine, theirs, notes = compared_graphs(student, teacher)
    if any("not matched" in note for note in notes):
        return {}
    images = patches(Dataset.open(work / TASKS[name].key), student.card)
    with torch.no_grad():
        ours, wanted = (
            torch.cat([graph(batch).vertices for batch in images]) for graph in (mine, theirs)
        )
    (constant, ours), (of_teacher, wanted) = map(parted, (ours, wanted))
    correlation = float((ours * wanted).sum() / (ours.norm() * wanted.norm()))
    return {
        "constant": round(constant, 3),
        "constant of its teacher": round(of_teacher, 3),
        "correlation": round(correlation, 3),
    }


def patches(dataset: Dataset, card: ModelCard) -> list[Tensor]:
    """Batches of patches of the validation cases."""
    with TemporaryDirectory() as cache:
        cases = [
            load_case(dataset, case, card.preprocessing, Path(cache), labelled=True)
            for case in dataset.labelled("val")
        ]
        return list(spread_patches(cases, card.patch_size, 8, seed=0))


def parted(vertices: Tensor) -> tuple[float, Tensor]:
    """Share of the energy that is the same for every image, and the rest, (B, C, m)."""
    rest = vertices - vertices.mean(0)
    return float(1 - rest.square().sum() / vertices.square().sum()), rest


if __name__ == "__main__":
    main()
