"""What is done with an open case on the background thread: put away, finished, decided."""

from napari_graphflow.labelling.masks import keep_new_version
from napari_graphflow.labelling.opened import OpenedCase
from napari_graphflow.labelling.records import CaseFacts
from napari_graphflow.labelling.rereads import save_blind
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.plugin.dataset.open_case import Unsaved
from napari_graphflow.plugin.dataset.readers_presenter import reread_text
from napari_graphflow.system.failures import in_words


def put_away(labelling: Labelling, unsaved: Unsaved) -> tuple[str, None]:
    """Store the changes as a draft, and release the case."""
    text = ""
    if unsaved.blind:
        text = _keep_unfinished(labelling, unsaved) if unsaved.painted else ""
    elif unsaved.painted or unsaved.marked:
        labelling.save_draft(
            unsaved.opened,
            unsaved.labels,
            slices=unsaved.done,
            axis=unsaved.axis,
            source=unsaved.source,
        )
        text = f"{unsaved.name} was put away as your draft."
    labelling.release(unsaved.name)
    return text, None


def finish(
    labelling: Labelling, unsaved: Unsaved, *, kept_open: bool
) -> tuple[str, OpenedCase | None]:
    """Store the mask as finished, or accept the untouched proposal."""
    opened, name = unsaved.opened, unsaved.name
    if unsaved.blind:
        rows = save_blind(labelling, opened, unsaved.labels, seconds=unsaved.seconds)
        labelling.release(name)
        return reread_text(name, rows), None
    untouched = opened.origin == "proposal" and unsaved.slices is None and not unsaved.painted
    found: OpenedCase | None = None
    if untouched and opened.proposal is not None:
        labelling.accept(name, proposal=opened.proposal.sha256, seconds=unsaved.seconds)
        found = labelling.open_case(name) if kept_open else None
        text = f"{name} was accepted as proposed."
    else:
        found = labelling.save(
            opened,
            unsaved.labels,
            slices=unsaved.done,
            axis=unsaved.axis,
            seconds=unsaved.seconds,
            source=unsaved.source,
        )
        slices = "" if unsaved.slices is None else f" in {len(unsaved.slices)} slices"
        text = f"{name} was saved as finished{slices}."
    if not kept_open:
        labelling.release(name)
    return text, found


def _keep_unfinished(labelling: Labelling, unsaved: Unsaved) -> str:
    """Keep a second reading that was not finished among the versions; it counts for nothing."""
    opened, case = unsaved.opened, labelling.case(unsaved.name)
    with in_words():
        labelling.paths.create()
        sha256 = keep_new_version(
            labelling.paths, labelling.dataset, case, unsaved.labels, opened.image
        )
    path = labelling.paths.version(sha256)
    return f"The second reading of {unsaved.name} was not finished; it is kept as {path.name}."


def act(labelling: Labelling, unsaved: Unsaved, action: str, note: str) -> CaseFacts:
    """Store the changes, and change the status."""
    name, useless = unsaved.name, unsaved.opened.facts.status == "proposed"
    if (unsaved.painted or unsaved.marked) and not (action == "reject" and useless):
        save = labelling.save if action in ("approve", "review") else labelling.save_draft
        save(
            unsaved.opened,
            unsaved.labels,
            slices=unsaved.done,
            axis=unsaved.axis,
            source=unsaved.source,
        )
    if action == "reject":
        facts = labelling.reject(name, seconds=unsaved.seconds, note=note)
    else:
        facts = labelling.step(name, action, note=note)  # type: ignore[arg-type]
    labelling.release(name)
    return facts
