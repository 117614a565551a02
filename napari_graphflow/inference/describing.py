"""Save with any model how it describes the images of a dataset."""

from collections.abc import Callable
from pathlib import Path

from napari_graphflow.dataset.cases import Dataset, read_case
from napari_graphflow.dataset.compatibility import check_fits
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.preprocessing import prepare
from napari_graphflow.inference.site_check import (
    MOST_IMAGES,
    image_code,
    image_quantiles,
    save_codes,
)
from napari_graphflow.models.devices import resolve_device
from napari_graphflow.models.saved import load_model


def describe_dataset(
    folder: Path,
    dataset: Path,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the codes of the training and validation images into a model's folder.

    Validation images first, because the model has not learnt them by heart. Images of sites that
    were no source of the model are left out.

    Returns
    -------
    int
        Number of described images.

    Raises
    ------
    UserError
        If the dataset has no such image, an image does not fit the model, or the model has no
        tap named ``bottleneck``.
    """
    model = load_model(folder, resolve_device(device))
    made = model.card.provenance
    sources = made.run.sources if made is not None and made.run is not None else ()
    known = Dataset.open(dataset).cases
    if sources and any(case.site for case in known):
        known = tuple(case for case in known if case.site in sources)
    cases = [case for split in ("val", "train") for case in known if case.split == split]
    cases = cases[:MOST_IMAGES]
    if not cases:
        raise UserError(
            f"{dataset} has no training or validation image.", "Choose another dataset."
        )
    codes, quantiles = [], []
    for done, case in enumerate(cases, 1):
        volume = read_case(case)
        check_fits(volume, model.card)
        prepared = prepare(volume, model.card.preprocessing)
        codes.append(image_code(model.module, prepared.array, model.card.patch_size))
        quantiles.append(image_quantiles(prepared.array))
        if progress is not None:
            progress(done, len(cases))
    save_codes(folder, codes, quantiles)
    return len(codes)
