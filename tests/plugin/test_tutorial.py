"""The dock Tutorial: each step shows its button, the sample is copied and offered."""

from operator import attrgetter

import pytest
from clicking import click, in_view
from qtpy.QtWidgets import QWidget

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.plugin.tutorial.steps import TUTORIALS
from napari_graphflow.plugin.viewer.preferences import OPENING_MS
from napari_graphflow.plugin.widgets.docks import find_dock, show_dock
from napari_graphflow.plugin.widgets.recent import recent
from napari_graphflow.plugin.widgets.saved_models import listed_datasets

#: As a person needs at least; Qt keeps a dock behind that is raised while another is being added.
PAUSE_MS = 300


def test_each_step_shows_its_button(viewer, qtbot):
    dock = show_dock(viewer, "Tutorial")
    viewer.window._qt_window.resize(1000, 500)  # where most buttons are out of view
    for number, tutorial in enumerate(TUTORIALS.values()):
        dock.tutorial.setCurrentIndex(number)
        for place, step in enumerate(tutorial.steps):
            assert dock.heading.text() == step.title
            assert dock.count.text() == f"Step {place + 1} of {len(tutorial.steps)}"
            if step.dock:
                dock.parent().raise_()
                qtbot.waitUntil(lambda: in_view(dock.show_me))
                click(qtbot, dock.show_me)
                target = attrgetter(step.target)(find_dock(viewer, step.dock))
                assert isinstance(target, QWidget)
                assert target.graphicsEffect() is not None
                qtbot.waitUntil(lambda shown=target: in_view(shown))
                qtbot.wait(PAUSE_MS)
            else:
                assert not dock.show_me.isEnabled()
            if dock.forward.isEnabled():
                dock.parent().raise_()
                qtbot.waitUntil(lambda: in_view(dock.forward))
                click(qtbot, dock.forward)
        assert not dock.forward.isEnabled()
    # Without a case the dock Dataset holds these outside of its window.
    dataset = find_dock(viewer, "Dataset")
    dataset.keys.stop()
    qtbot.wait(2 * OPENING_MS)  # the keys of the preferences are written on them until then
    dataset.box.buttons.clear()


@pytest.mark.parametrize("sample", ["abdomen", "cell_pictures"])
def test_the_sample_is_copied_once_and_offered(viewer, qtbot, home, sample):
    dock = show_dock(viewer, "Tutorial")
    samples = [one.sample for one in TUTORIALS.values()]
    dock.tutorial.setCurrentIndex(samples.index(sample))
    click(qtbot, dock.copy)
    copied = home / "tutorial" / sample
    assert recent("datasets")[0] == copied
    names = [folder.name for folder in listed_datasets()]
    assert names.count(sample) == 1, "the sample beside its copy"
    assert Dataset.open(copied).unlabelled("train")
    (copied / "mine.txt").write_text("kept", "utf-8")
    click(qtbot, dock.copy)
    assert (copied / "mine.txt").is_file()


@pytest.mark.slow
def test_the_results_of_nnunet_are_copied_and_become_the_teacher(viewer, qtbot, home):
    dock = show_dock(viewer, "Tutorial")
    dock.tutorial.setCurrentIndex(list(TUTORIALS).index("nnunet"))
    click(qtbot, dock.copy)
    results = home / "tutorial" / "nnunet_results"
    assert str(results) in dock.status.text()
    distil = show_dock(viewer, "Distil")
    distil.dataset.choose(home / "tutorial" / "abdomen")
    qtbot.waitUntil(distil.dataset.checked)
    distil.teacher.choose(results)
    qtbot.waitUntil(lambda: distil.teacher.folder() is not None, timeout=60_000)
    assert read_model_card(distil.teacher.folder()).network == "nnunet:PlainConvUNet"
    qtbot.waitUntil(distil.button.isEnabled)
    assert "distillation" in distil.button.text()
