"""Settings that fit into memory, and what a run will take."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from training_cases import distillation

from napari_graphflow.config.methods import GraphFlowOptions
from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.estimate import Estimate, Measurements, OutOfMemory, _measure, estimate
from napari_graphflow.jobs.memory import Setting, is_out_of_memory, saved_setting
from napari_graphflow.system.events import Event, Phase, Progress
from napari_graphflow.training.trial import _trial


def test_settings_are_reduced_down_to_the_smallest() -> None:
    setting: Setting | None = Setting(4, (32, 48, 16))
    seen = []
    while setting is not None:
        seen.append((setting.batch_size, setting.patch_size))
        setting = setting.smaller()
    assert seen == [
        (4, (32, 48, 16)),
        (2, (32, 48, 16)),
        (1, (32, 48, 16)),
        (1, (32, 32, 16)),
        (1, (16, 16, 16)),
    ]
    assert Setting(1, (40, 17)).smaller() == Setting(1, (32, 17))


def test_a_reduced_setting_is_saved_with_the_job(tmp_path: Path) -> None:
    assert saved_setting(tmp_path) is None
    Setting(2, (16, 32)).save(tmp_path)
    assert saved_setting(tmp_path) == Setting(2, (16, 32))


def test_out_of_memory_errors_are_recognised() -> None:
    assert is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(OSError(28, "No space left on device"))


def test_an_estimate_is_printed_with_time_memory_and_device() -> None:
    found = Estimate(12_000, 6 << 30, 24 << 30, "cuda:0", Setting(2, (96, 96)), True)
    assert str(found) == "about 3 h 20 min, 6.0 of 24.0 GB free on cuda:0"
    less = Estimate(30, 1 << 30, 2 << 30, "cpu", Setting(1, (32, 32)), False)
    assert str(less) == (
        "about 30 s, 1.0 of 2.0 GB free on cpu, reduced to batch size 1 and patches of 32 x 32 "
        "voxels to fit"
    )


def small(dataset: Path, **changes: object) -> TrainingConfig:
    settings = {
        "dataset": dataset, "network": "unet", "width": 4, "steps": 1000, "validate_every": 100,
        "patch_size": (16, 16, 16), "batch_size": 2, "threads": 1, "device": "cpu",
    }  # fmt: skip
    return TrainingConfig(**(settings | changes))


@pytest.mark.parametrize(
    ("largest", "trials"),
    [
        (32, [32]),
        (31, [32, 16, 24, 28, 30, 31]),
        (6, [32, 16, 8, 4, 6, 7]),
        (1, [32, 16, 8, 4, 2, 1]),
    ],
)
def test_the_largest_batch_between_two_halvings_is_found(
    blobs: Path, monkeypatch: pytest.MonkeyPatch, largest: int, trials: list[int]
) -> None:
    tried = []

    def measure(kind: str, config: TrainingConfig, cancelled: object) -> Measurements | OutOfMemory:
        tried.append(config.batch_size)
        if config.batch_size > 2 * largest:
            return OutOfMemory()
        peak = 1 if config.batch_size <= largest else 1 << 60
        took = dict.fromkeys(("reading_s", "preparing_s", "step_s", "validating_s"), 1.0)
        return Measurements(patch_size=(16, 16, 16), peak_bytes=peak, **took)

    monkeypatch.setattr("napari_graphflow.jobs.estimate._measure", measure)
    found = estimate("train", small(blobs, batch_size=32, patch_size=()))
    assert (found.setting, found.fits) == (Setting(largest, (16, 16, 16)), largest == 32)
    assert tried == trials


def test_a_failed_measurement_keeps_the_sentence_and_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a dataset") as error:
        _measure("train", small(tmp_path / "missing"), lambda: False)
    assert error.value.remedy


@pytest.mark.slow
def test_an_estimate_measures_real_steps(blobs: Path) -> None:
    short = estimate("train", small(blobs))
    assert short.fits
    assert short.setting == Setting(2, (16, 16, 16))
    assert 1 < short.seconds < 3600
    assert 100 << 20 < short.peak_bytes < short.free_bytes
    longer = estimate("train", small(blobs, steps=100_000, validate_every=10_000))
    assert longer.seconds > 10 * short.seconds


def test_the_time_of_each_kind_of_phase_is_estimated_whatever_its_name(
    blobs: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only phases with a number of steps take longer with more steps."""
    clock = itertools.count()

    def timed(*_: object, **__: object) -> Iterator[Event]:
        for phase, seconds in (
            (Phase(kind="reading", name="opening the files"), 30),
            (Phase(kind="preparing", name="training", steps=4), 4),
            (Phase(kind="preparing", name="measuring"), 40),
        ):
            yield phase
            yield from [Progress(step=0, total=0)] * (seconds - 1)
        yield Phase(kind="training", name="learning")
        yield from [Progress(step=0, total=0)] * 5

    monkeypatch.setattr("napari_graphflow.training.trial.distill", timed)
    monkeypatch.setattr("napari_graphflow.training.trial.time.perf_counter", lambda: next(clock))
    config = distillation(blobs, teacher, method=GraphFlowOptions(paraphraser_steps=300))
    found = _trial("distill", config, blobs)
    assert found["reading_s"] == 30 / 3
    assert found["preparing_s"] == 4 * 300 / 4 + 40
    assert found["step_s"] == 1


@pytest.mark.slow
def test_the_largest_setting_that_fits_is_found(
    blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peak = estimate("train", small(blobs, width=16)).peak_bytes + (20 << 20)
    # Only the free memory is simulated; the trials and their peaks are real.
    monkeypatch.setattr("napari_graphflow.jobs.estimate.USABLE_FRACTION", 1.0)
    monkeypatch.setattr(
        "napari_graphflow.system.devices.psutil.virtual_memory", lambda: _Memory(peak)
    )
    tried: list[str] = []
    large = small(blobs, batch_size=32, patch_size=(32, 32, 32), width=16)
    found = estimate("train", large, tried.append)
    assert not found.fits
    assert tried[0] == "measuring with batch size 32"
    assert len(tried) > 1
    assert found.peak_bytes <= peak
    monkeypatch.setattr("napari_graphflow.system.devices.psutil.virtual_memory", lambda: _Memory(1))
    with pytest.raises(
        UserError, match="Even batch size 1 and patches of 16 x 16 x 16 voxels does not fit"
    ):
        estimate("train", small(blobs, batch_size=1))


class _Memory:
    def __init__(self, available: int) -> None:
        self.total, self.available = 1 << 40, available


@pytest.mark.slow
def test_an_invalid_dataset_is_reported_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({}))
    with pytest.raises(UserError):
        estimate("train", small(tmp_path))
