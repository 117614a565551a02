"""Save with a student how it describes the images it learnt from, for the site check."""

from collections.abc import Iterator

from napari_graphflow.inference.site_check import (
    MOST_IMAGES,
    image_code,
    image_quantiles,
    save_codes,
)
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.networks.bottleneck import BOTTLENECK, adapter_of
from napari_graphflow.networks.taps import evaluating
from napari_graphflow.system.events import Alive, Event, Phase
from napari_graphflow.training.state import Run


def describe_source(run: Run) -> Iterator[Event]:
    """Write the codes of source images into the folder of the saved student.

    Validation cases first, because the student has not learnt them by heart.
    """
    if run.method is None or not run.method.recorded:
        return
    if BOTTLENECK not in adapter_of(run.result).taps:
        return  # the site check reads it
    yield Phase(kind="converting", name="describing the images for the site check")
    data, codes, quantiles = run.plan.data, [], []
    cases = [*data.validation, *data.labelled, *data.unlabelled][:MOST_IMAGES]
    with evaluating(run.result):
        for case in cases:
            codes.append(image_code(run.result, case.image, run.plan.card.patch_size))
            quantiles.append(image_quantiles(case.image))
            yield Alive()
    save_codes(JobPaths(run.plan.folder).model, codes, quantiles)
