"""The control of a distillation: the same student without its teacher."""

from napari_graphflow.config.model_card import ModelCard, answers_whole_cases
from napari_graphflow.config.run import DistillationConfig, TrainingConfig


def student_alone(config: DistillationConfig, teacher: ModelCard) -> TrainingConfig:
    """Return the same student without its teacher: same seed, batches, steps and preprocessing."""
    same = {name: getattr(config, name) for name in TrainingConfig.model_fields}
    given: dict[str, object] = {}
    if not answers_whole_cases(teacher, config):  # then the student has its own
        given = {
            "preprocessing": teacher.preprocessing,
            "patch_size": config.patch_size or teacher.patch_size,
        }
    return TrainingConfig(
        **same
        | given
        | {
            "name": f"{config.name} without a teacher" if config.name else "",
        }
    )
