"""The line of Segment says whether images are like those that the model learnt from."""

from typing import Any

from napari_graphflow.plugin.segment.presenter import segmented


def reply(**more: Any) -> dict[str, Any]:
    return {"seconds": 1.0, "device": "CPU", **more}


def test_too_few_images_are_mentioned_without_a_warning() -> None:
    text = "Too few images (1) to say whether these are like what it learnt from: 8 are needed."
    message = segmented("case 1", reply(site={"text": text, "unlike": False}))
    assert text in message.text
    assert message.level == "done"


def test_images_of_another_site_are_a_warning() -> None:
    text = "These images are unlike what this model learnt from (site gap 0.31, same site 0.06)."
    site = {"text": text, "unlike": True}
    message = segmented("case 1", reply(site=site, cautions=[text]))
    assert message.text.count(text) == 1
    assert message.level == "warn"


def test_a_model_without_source_codes_adds_nothing() -> None:
    assert segmented("case 1", reply(site=None)) == segmented("case 1", reply())
