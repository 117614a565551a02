"""Sites of a dataset: sources, on which a run trains, and targets, which are only reported.

``sites.csv`` in the folder of the dataset has the columns ``case`` and ``site`` (a hospital, a
scanner, a public dataset). A run that names its sources uses no case of another site, neither for
training nor for validation, with or without a mask.
"""

import csv
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from napari_graphflow.dataset.case import Case
from napari_graphflow.dataset.findings import Finding, are, counted, listed, some_of
from napari_graphflow.dataset.names import patients
from napari_graphflow.dataset.splits import case_name
from napari_graphflow.errors import UserError
from napari_graphflow.system.regular_file import open_regular

FILE = "sites.csv"


def read_sites(folder: Path) -> dict[str, str]:
    """Return the site of each case of ``sites.csv``; empty without that file.

    Raises
    ------
    UserError
        If the file has no columns ``case`` and ``site``, or two sites for a case.
    """
    path = Path(folder) / FILE
    if not os.path.lexists(path):
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            titles, rows = table.fieldnames or [], list(table)
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{path} is not a table.", "Save it again as CSV in UTF-8.") from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or error}.", "Check the folder and the disk."
        ) from None
    sites: dict[str, str] = {}
    complete = all(row.get("case") and (row.get("site") or "").strip() for row in rows)
    if not complete or not {"case", "site"} <= {*titles}:
        raise UserError(
            f"{path} needs the columns case and site, with an entry in each row.",
            "Correct the table, or remove it.",
        )
    for row in rows:
        name, site = case_name(row["case"]), row["site"].strip()
        if sites.setdefault(name, site) != site:
            raise UserError(
                f"{path} has two sites for the case {name}: {sites[name]} and {site}.",
                "Correct the table.",
            )
    return sites


def write_sites(folder: Path, sites: Mapping[str, str]) -> None:
    """Write ``sites.csv`` with the site of each case."""
    with (Path(folder) / FILE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("case", "site"), *sites.items()])


def with_sites(cases: Iterable[Case], sites: Mapping[str, str]) -> tuple[Case, ...]:
    """Return the cases with their sites."""
    return tuple(replace(case, site=sites.get(case.name, "")) for case in cases)


def about_sites(cases: Sequence[Case]) -> list[Finding]:
    """Say which sites a dataset has, if any are known."""
    counts = Counter(case.site for case in cases if case.site)
    if not counts:
        return []
    names = listed([f"{site} ({number})" for site, number in sorted(counts.items())])
    remedy = "Name the sources to train on these only; the others are then only reported."
    found = [Finding("info", "", f"Cases of {counted(len(counts), 'site')}: {names}.", remedy)]
    at: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        if case.site and case.name.startswith(f"{case.site}_"):
            at[case.name.removeprefix(f"{case.site}_")].add(case.site)
    if same := sorted(name for name, some in at.items() if len(some) > 1):
        text = f"{counted(len(same), 'name')} {are(len(same))} used at several sites"
        text += f" ({some_of(same)}), for different patients."
        remedy = "If they are the same patients, correct “patients” in dataset.json."
        found.append(Finding("info", "", text, remedy))
    return found


def of_sources(
    cases: Sequence[Case], sources: Sequence[str], known_patients: Mapping[str, str] | None = None
) -> tuple[tuple[Case, ...], list[Finding]]:
    """Return the cases of the sources, and what is said of the others.

    Parameters
    ----------
    cases
        All cases, with their sites.
    sources
        Names of sites.
    known_patients
        Patient by case, where known; of the others, the name tells it.

    Raises
    ------
    UserError
        If a source does not exist or is the only site, a case has no site, or a patient or a file
        is on both sides.
    """
    found = sorted({case.site for case in cases if case.site})
    if not found:
        raise UserError(
            f"The cases of this dataset have no sites, so that {sources[0]} is not known.",
            f"Write {FILE} with the columns case and site into its folder, or name no sources.",
        )
    if unknown := [name for name in sources if name not in found]:
        raise UserError(
            f"{unknown[0]!r} is not a site of this dataset.", f"Its sites are {listed(found)}."
        )
    if nowhere := [case.name for case in cases if not case.site]:
        raise UserError(
            f"{counted(len(nowhere), 'case')} {'has' if len(nowhere) == 1 else 'have'} no site, "
            f"such as {nowhere[0]}.",
            f"Add them to {FILE}.",
        )
    if set(sources) == set(found):
        raise UserError(
            f"All cases are of {listed(found)}, so that there is no other site to report.",
            "Name fewer sources, or none.",
        )
    inside = [case for case in cases if case.site in sources]
    outside = [case for case in cases if case.site not in sources]
    _refuse_same_patient(inside, outside, known_patients or {})
    _refuse_same_file(inside, outside)
    others = listed(sorted({case.site for case in outside}))
    text = (
        f"{counted(len(outside), 'case')} of {others} {are(len(outside))} never used for "
        "training, only for the report."
    )
    return tuple(inside), [Finding("info", "", text)]


def _refuse_same_patient(
    inside: Sequence[Case], outside: Sequence[Case], known: Mapping[str, str]
) -> None:
    patient = patients((case.name for case in [*inside, *outside]), known)
    of_sources = {patient[case.name]: case.name for case in inside}
    for case in outside:
        if other := of_sources.get(patient[case.name]):
            raise UserError(
                f"The patient {patient[case.name]} is in a source and in a target site ({other} "
                f"and {case.name}).",
                f"Correct {FILE}, or exclude one of the cases.",
            )


def _refuse_same_file(inside: Sequence[Case], outside: Sequence[Case]) -> None:
    """Compare the contents of files of equal size."""
    sizes: dict[int, list[tuple[Case, Path, bool]]] = defaultdict(list)
    for side, cases in ((True, inside), (False, outside)):
        for case in cases:
            for path in case.images:
                if path.is_file():
                    sizes[path.stat().st_size].append((case, path, side))
    for files in sizes.values():
        if len({side for _, _, side in files}) < 2:
            continue
        seen: dict[tuple[str, bool], Case] = {}
        for case, path, side in files:
            with open_regular(path) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            seen[digest, side] = case
            if other := seen.get((digest, not side)):
                names = some_of(sorted((case.name, other.name)))
                raise UserError(
                    f"The same image is in a source and in a target site ({names}).",
                    f"Correct {FILE}, or exclude one of the cases.",
                )
