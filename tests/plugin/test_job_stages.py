"""The stages of a generalisable distillation in the Jobs dock."""

from napari_graphflow.config.generalisable import IMAGE_STAGES, STAGES
from napari_graphflow.plugin.jobs.stage_list import StageList
from napari_graphflow.plugin.jobs.stages import StageLog
from napari_graphflow.system.events import Event, Metric, ModelSaved, Phase


def gate(**numbers: float) -> list[Event]:
    return [
        Metric(name=f"gate/{name}", value=n, step=0, split="val") for name, n in numbers.items()
    ]


def aligned(role: str, r2: float, loss: float, spread: float = 0.8) -> list[Event]:
    numbers = {"r2": r2, "dice": 0.8, "dice_through_header": 0.8 - loss, "code_spread": spread}
    return gate(**{f"{role}_{name}": value for name, value in numbers.items()})


def begun(stage: str, word: str = "training") -> Phase:
    return Phase(kind="preparing", name=f"{word} {STAGES[stage]}")


def states(events: list[Event]) -> list[str]:
    log = StageLog()
    for event in events:
        log.add(event)
    return [stage.state for stage in log.stages()]


TO_STUDENT = [
    Phase(kind="reading", name="reading the data"),
    begun("masks"), begun("codes", "fitting"), begun("codes"), begun("codes", "measuring"),
    *gate(masks_dice=0.43),
    begun("student"), begun("student", "measuring"),
    *gate(teacher_bottleneck_reliance=0.31, student_bottleneck_reliance=0.2),
]  # fmt: skip


def test_other_jobs_have_no_stages() -> None:
    assert states([Phase(kind="training", name="training"), *gate(r2=1.0)]) == []
    assert states([Phase(kind="preparing", name="measuring the teacher's features")]) == []


def test_each_stage_is_weak_if_its_numbers_are_below_what_is_wanted() -> None:
    events: list[Event] = [*TO_STUDENT, begun("teacher_alignment")]
    # There is no number of the first phase of the auto-encoder alone.
    assert states(events) == ["done", "weak", "done", "running", "waiting", "waiting"]
    events += aligned("teacher", 0.61, 0.01)
    events += [begun("student_alignment"), *aligned("student", 0.61, 0.03)]
    events += [Phase(kind="training", name="training")]
    assert states(events) == ["done", "weak", "done", "done", "weak", "running"]
    events += [Metric(name="dice", value=0.8, step=5, split="val"), ModelSaved(path="m", name="s")]
    assert states(events)[-1] == "done"


def test_stages_of_an_auto_encoder_of_images_say_so() -> None:
    log = StageLog()
    begin = [Phase(kind="preparing", name=f"training {IMAGE_STAGES[one]}") for one in IMAGE_STAGES]
    for event in [*begin, *gate(images_r2=0.4), begun("student"), begun("teacher_alignment")]:
        log.add(event)
    for event in aligned("teacher", 0.61, 0.01):
        log.add(event)
    first, second, _, aligning, *_ = log.stages()
    assert (first.title, first.state) == ("Image auto-encoder", "done")
    assert (second.title, second.state) == ("Codes of images", "weak")
    assert second.text == "images from their codes: R² 0.40"
    assert aligning.text == "codes explain 0.61 of the images' codes; Dice lost 0.010"


def test_a_network_that_does_not_use_its_bottleneck_is_weak() -> None:
    numbers = {"teacher_bottleneck_reliance": 0.0, "student_bottleneck_reliance": 0.2}
    events = [begun("student"), *gate(**numbers)]
    assert states([*events, begun("teacher_alignment")])[2] == "weak"


def test_narrow_codes_are_weak_although_they_explain_those_of_the_masks() -> None:
    events = [*TO_STUDENT, *aligned("teacher", 0.9, 0.0, spread=0.1), begun("student_alignment")]
    assert states(events)[3] == "weak"


def test_a_resumed_job_repeats_its_stage() -> None:
    events = [*TO_STUDENT, begun("student"), *TO_STUDENT[-2:]]
    assert states(events) == ["done", "weak", "running", "waiting", "waiting", "waiting"]


def test_a_job_that_also_trains_the_student_alone_has_the_same_stages() -> None:
    named = [
        event.model_copy(update={"name": f"student (1 of 2): {event.name}"})
        if isinstance(event, Phase)
        else event
        for event in TO_STUDENT
    ]
    assert states(named) == states(TO_STUDENT)


def test_the_list_shows_signs_titles_and_numbers(qtbot) -> None:
    log, shown = StageLog(), StageList()
    qtbot.addWidget(shown)
    shown.show_stages(log.stages())
    assert not shown.isVisibleTo(None)
    for event in (*TO_STUDENT, begun("teacher_alignment")):
        log.add(event)
    shown.show_stages(log.stages())
    assert shown.text().splitlines() == [
        "✓ Mask auto-encoder",
        "! Codes of masks: masks from their codes: Dice 0.43",
        "✓ Student alone: Dice that depends on the compared layer: teacher 0.31, student 0.20",
        "▶ Alignment of the teacher",
        "○ Alignment of the student",
        "○ Distillation",
    ]
    shown.show_stages([])
    assert shown.text() == ""
