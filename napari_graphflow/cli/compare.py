"""``compare``: two masks, models or folders of masks, with a report."""

from collections.abc import Iterable
from pathlib import Path

from rich.table import Table

from napari_graphflow.cli.config_file import ConfigFile
from napari_graphflow.cli.options import Device, Flag, Json, Overwrite
from napari_graphflow.cli.terminal import output, print_json, progress_bar
from napari_graphflow.dataset.case import Split
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.metrics import TOLERANCE
from napari_graphflow.evaluation.report import report_files, score_rows
from napari_graphflow.evaluation.scores import finite_or_none
from napari_graphflow.evaluation.study import COLUMNS, Study
from napari_graphflow.evaluation.verdict import verdict
from napari_graphflow.imaging.paths import refuse_overwriting, refuse_replacing
from napari_graphflow.system.destinations import require_writable


def compare(
    a: Path,
    b: Path,
    *,
    report: Path,
    reference: Path | None = None,
    image: Path | None = None,
    dataset: Path | None = None,
    split: Split = "test",
    fold: int = 0,
    alone: Path | None = None,
    tolerance: float = TOLERANCE,
    names: Flag = False,
    device: Device = "auto",
    title: str = "",
    overwrite: Overwrite = False,
    config_file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Compare two masks, or two models or folders of masks on a dataset, and write a report.

    A teacher, its student and the same student trained without it give a verdict: what was kept,
    and what distillation contributed. The report (HTML, with CSV and JSON beside it) needs no
    network and numbers the cases.

    Parameters
    ----------
    a, b
        Each a mask, a saved model, a job with a trained model, or with --dataset a folder of masks
        named like the cases. Models need --image or --dataset.
    report
        The page to write, such as out.html; out.csv and out.json are written beside it.
    reference
        The true mask, for masks or models on one image. Without it, B is scored against A.
    image
        The image of the masks, or on which the models run.
    dataset
        Folder of a dataset; its labelled cases of --split are the references.
    split
        Split to score: train, val or test.
    fold
        Fold of nnU-Net's splits_final.json.
    alone
        The same student trained without its teacher. By default the one that --also-alone trained.
    tolerance
        Distance in mm up to which surfaces count as equal in the surface Dice (NSD).
    names
        Name the cases, masks and files in the report; they may identify patients.
    title
        Title of the report.
    """
    files = report_files(report)
    if report.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{report.name} is not the name of a page.", "Write OUT.html.")
    inputs = [one for one in (a, b, reference, image) if one is not None and one.is_file()]
    require_writable(files)
    refuse_replacing(files, inputs)
    refuse_overwriting(files, overwrite=overwrite)
    if dataset is not None:
        if reference is not None or image is not None:
            raise UserError(
                "--dataset has its own images and references.", "Remove --reference and --image."
            )
        found = _on_dataset(a, b, dataset, split, fold, alone, tolerance, device, names, title,
                            report)  # fmt: skip
    else:
        from napari_graphflow.inference.compare_files import compare_files

        found = compare_files(
            a, b, report, reference=reference, image=image, alone=alone, tolerance=tolerance,
            names=names, device=device, title=title,
        )  # fmt: skip
    if json:
        print_json({"verdict": verdict(found), **finite_or_none(found.model_dump(mode="json"))})
        return
    print_study(found)
    output.print(f"report: {report}")


def print_study(study: Study) -> None:
    """Print the table of scores and the verdict."""
    titles = [title for _, title, _ in COLUMNS]
    table = Table("structure", "", *titles, f"volume {study.unit}", "missed", box=None)
    for row in score_rows(study):
        cells = [_number(mean, digits) for mean, _, digits in row.cells]
        name = row.structure if row.first else ""
        table.add_row(name, row.side, *cells, _number(row.volume, 1), str(row.missed))
    output.print(table)
    costs = Table("", "parameters", "seconds", "memory MB", box=None)
    for side in study.sides:
        if (cost := side.cost) is not None:
            costs.add_row(
                study.heading(side),
                f"{cost.parameters:,}" if cost.parameters else "–",
                "–" if cost.seconds is None else f"{cost.seconds:.2f}",
                "–" if cost.peak_bytes is None else f"{cost.peak_bytes / 1e6:.0f}",
            )
    if costs.row_count:
        output.print(costs)
    output.print(verdict(study), style="bold", soft_wrap=True)


def _on_dataset(
    a: Path,
    b: Path,
    dataset: Path,
    split: Split,
    fold: int,
    alone: Path | None,
    tolerance: float,
    device: str,
    names: bool,
    title: str,
    report: Path,
) -> Study:
    import tempfile

    from pydantic import ValidationError

    from napari_graphflow.config.comparison import ComparisonConfig
    from napari_graphflow.config.settings import first_problem, read_config
    from napari_graphflow.inference.comparing import compare_on_dataset
    from napari_graphflow.system import events

    try:
        config = ComparisonConfig(
            a=a, b=b, dataset=dataset, alone=alone, split=split, fold=fold,
            tolerance=tolerance, device=device, names=names, name=title,
        )  # fmt: skip
    except ValidationError as error:
        raise UserError(f"{first_problem(error)}.") from None
    with tempfile.TemporaryDirectory() as folder, progress_bar() as bar:
        study = Path(folder) / "comparison.json"
        task = bar.add_task("starting", total=None)
        run: Iterable[events.Event] = compare_on_dataset(config, report, study)
        for event in run:
            if isinstance(event, events.Phase):
                bar.reset(task, description=event.name, total=None)
            elif isinstance(event, events.Progress):
                bar.update(task, completed=event.step, total=event.total)
        return read_config(Study, study)


def _number(value: float, digits: int) -> str:
    import math

    return f"{value:.{digits}f}" if math.isfinite(value) else "–"
