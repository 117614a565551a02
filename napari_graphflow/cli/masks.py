"""``datasets take-mask``, ``export-mask``, ``provenance``, ``agreement``, ``reread``.

Masks of other programs and of several readers.
"""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

from rich.table import Table

from napari_graphflow.cli.config_file import ConfigFile
from napari_graphflow.cli.datasets import datasets
from napari_graphflow.cli.options import DatasetFolder, Flag, Json, Overwrite, Reader
from napari_graphflow.cli.terminal import output, print_json
from napari_graphflow.dataset.findings import counted
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.paths import refuse_overwriting
from napari_graphflow.labelling import exchange, rereads
from napari_graphflow.labelling.agreement import (
    Agreement,
    Method,
    as_table,
    store_consensus,
)
from napari_graphflow.labelling.agreement import agreement as compare_readers
from napari_graphflow.labelling.provenance import provenance as mask_provenance
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.system.destinations import require_writable, saying_what_stands


@datasets.command(name="take-mask")
def take_mask(
    folder: DatasetFolder,
    case: str,
    file: Path,
    /,
    *,
    source: str = "",
    structure: str = "",
    reader: Reader = "",
    json: Json = False,
) -> None:
    """Take a mask of another program as the finished mask of a case, credited in the log.

    Parameters
    ----------
    case
        Name of the case; the mask must be on the grid of its image.
    file
        The mask. Named segments of 3D Slicer or DICOM become the classes of the same name.
    source
        Name of the program, such as nnInteractive; that of 3D Slicer's .seg.nrrd is known.
    structure
        Name of the class that the mask shows, if it shows one; the other structures stay.
    """
    labelling = Labelling(folder, reader)
    saved = exchange.take_mask(labelling, case, file, source=source, structure=structure)
    if json:
        print_json({case: saved.facts.model_dump(mode="json")})
        return
    output.print(f"{case}: {saved.facts.status}")


@datasets.command(name="export-mask")
def export_mask(
    folder: DatasetFolder,
    case: str,
    out: Path,
    /,
    *,
    dicom: Path | None = None,
    series: str = "",
    names: Flag = False,
    overwrite: Overwrite = False,
    config_file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Write the finished mask of a case, with where it comes from.

    Parameters
    ----------
    case
        Name of the case.
    out
        The file. DICOM SEG (.dcm) holds the provenance itself; other formats get NAME.json beside
        them, with the keys of BIDS derivatives.
    dicom
        For DICOM SEG: folder of the DICOM series of the image.
    series
        Number or description of the series, if the folder has several.
    names
        Also write the name of the reader.
    """
    require_writable(exchange.written_files(out))
    refuse_overwriting(exchange.written_files(out), overwrite=overwrite)
    with saying_what_stands(out, "The dataset is unchanged."):
        written = exchange.export_mask(
            Labelling(folder), case, out, dicom=dicom, series=series, names=names
        )
    print_json({"written": written}) if json else output.print("\n".join(map(str, written)))


@datasets.command
def provenance(
    folder: DatasetFolder, case: str, /, *, names: Flag = False, json: Json = False
) -> None:
    """Print where the finished mask of a case comes from, as JSON to put beside it.

    Parameters
    ----------
    case
        Name of the case.
    names
        Also print the name of the reader.
    """
    print_json(mask_provenance(Labelling(folder), case, names=names).sidecar())


@datasets.command
def agreement(
    folder: DatasetFolder,
    case: str = "",
    /,
    *readers: str,
    consensus: Method | None = None,
    json: Json = False,
) -> None:
    """Compare masks of readers; without a case, what was accepted with what was drawn again.

    Parameters
    ----------
    case
        Name of the case.
    readers
        Two readers; by default the only two with a draft. “finished mask” is the finished one.
    consensus
        Also store the consensus of all or of the named readers as a proposal: ``STAPLE`` or
        ``majority``.
    """
    labelling = Labelling(folder)
    if not case:
        _show_proposals(labelling, json)
        return
    named = list(readers) or (list(labelling.paths.readers(case)) if consensus else [])
    if len(readers) == 1 or (len(readers) > 2 and consensus is None):
        raise UserError(f"{len(readers)} readers were named.", "Name two, or none.")
    pairs: list[tuple[str, str] | None] = list(combinations(named, 2))
    if not pairs:
        pairs = [None]
    rows = [row for pair in pairs for row in compare_readers(labelling, case, pair)[0]]
    stored = None
    if consensus is not None:
        stored = store_consensus(labelling, case, consensus, readers)
    if json:
        print_json({"agreement": as_table(rows), "consensus": stored and stored.note})
        return
    _show(rows)
    if stored:
        output.print(stored.note, soft_wrap=True)


@datasets.command
def reread(
    folder: DatasetFolder,
    case: str = "",
    file: Path | None = None,
    /,
    *,
    share: float | None = None,
    structure: str = "",
    reader: Reader = "",
    json: Json = False,
) -> None:
    """List cases to draw again without seeing the proposal that was accepted untouched.

    With a case and a mask that was drawn again, compare it; the accepted mask stays. “agreement”
    without a case shows all comparisons.

    Parameters
    ----------
    case, file
        Name of a case of the list, and the new mask.
    share
        Offer this share of the accepted proposals from now on, 0 to 1; at first 0.
    structure
        Name of the class that the mask shows, if it shows one.
    """
    labelling = Labelling(folder, reader)
    if share is not None:
        rereads.set_share(labelling, share)
    if case:
        if file is None:
            raise UserError("No mask is named.", "Name the file of the mask that was drawn again.")
        opened = rereads.open_blind(labelling, case)
        mask = exchange.read_foreign(labelling, opened, file, structure)
        rows = rereads.save_blind(labelling, opened, mask.array)
        print_json({"agreement": as_table(rows)}) if json else _show(rows)
        return
    found = rereads.due(labelling)
    if json:
        print_json({"share": rereads.share(labelling), "due": found})
        return
    for name in found:
        images = ", ".join(str(path) for path in labelling.case(name).images)
        output.print(f"{name}: {images}", soft_wrap=True)
    if not found:
        used = rereads.share(labelling)
        output.print(
            f"No case waits; {used:.0%} of the accepted proposals are drawn again."
            if used
            else "No case is drawn again; choose a share with --share."
        )


def _show_proposals(labelling: Labelling, json: bool) -> None:
    """Show what was done with the proposals, and the comparisons of the blind re-read."""
    outcomes, rows = rereads.proposal_outcomes(labelling), rereads.reread_agreement(labelling)
    if json:
        print_json({"proposals": [asdict(one) for one in outcomes], "rereads": as_table(rows)})
        return
    for one in outcomes:
        parts = [f"{one.accepted} accepted untouched", f"{one.edited} edited"]
        if one.voxels is not None:
            parts[-1] += f" (median {one.voxels:.0f} voxels)"
        parts.append(f"{one.rejected} rejected")
        taken = "" if one.seconds is None else f"; median {one.seconds:.0f} s"
        output.print(f"{one.model}: {', '.join(parts)}{taken}", soft_wrap=True)
    if not outcomes:
        output.print("Nothing was done with proposals yet.")
    if rows:
        cases = counted(len({row.case for row in rows}), "case")
        output.print(f"Drawn again without the proposal: {cases}.")
        _show(rows)


def _show(rows: Sequence[Agreement]) -> None:
    columns = ("case", "readers", "structure", "Dice", "HD95 mm", "differing voxels", "worst slice")
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(
            row.case, " and ".join(row.readers), row.structure, f"{row.dice:.3f}",
            f"{row.hausdorff_distance_95:.1f}", str(row.voxels),
            "" if row.worst_slice is None else str(row.worst_slice),
        )  # fmt: skip
    output.print(table)
