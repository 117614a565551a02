"""Labels and seconds of OpenVINO with 16 instead of 32 bits.

    python benchmarks/half_precision.py DATASET MODEL...

The test cases are segmented in turn with both; *equal* is the share of voxels with the same label
among those that are foreground in either.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from napari_graphflow.config.openvino_form import read_form
from napari_graphflow.dataset.cases import Dataset, read_case
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.openvino_engine import OpenVinoEngine
from napari_graphflow.inference.predict import LoadedModel, segment

CASES = 15


def loaded(folder: Path, precision: Literal["f32", "bf16"]) -> LoadedModel:
    form = read_form(folder)
    assert form is not None, f"{folder} has no OpenVINO form"
    engine = OpenVinoEngine(folder, form, precision=precision)
    return replace(load_for_inference(folder, "cpu"), engine=engine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    options = parser.parse_args()
    images = [read_case(case) for case in Dataset.open(options.dataset).labelled("test")[:CASES]]
    for folder in options.models:
        models = [loaded(folder, one) for one in ("f32", "bf16")]
        for model in models:
            segment(model, images[0])  # compiles
        equal = foreground = 0
        seconds = [0.0, 0.0]
        for image in images:
            masks = []
            for index, model in enumerate(models):
                started = time.perf_counter()
                masks.append(segment(model, image).labels.array)
                seconds[index] += time.perf_counter() - started
            where = (masks[0] > 0) | (masks[1] > 0)
            foreground += int(where.sum())
            equal += int(np.count_nonzero(masks[0][where] == masks[1][where]))
        share = seconds[1] / seconds[0]
        print(f"{folder}: {equal / foreground:.2%} equal, {share:.2f} of the time", flush=True)


if __name__ == "__main__":
    main()
