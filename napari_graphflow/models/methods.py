"""Rebuild the distillation method of a student from its saved model."""

from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.method import Method, build_method
from napari_graphflow.models.saved import METHOD, Model, load_weights


def load_method(student: Model) -> Method | None:
    """Rebuild the method that distilled a student, frozen and on the student's device.

    Returns
    -------
    method
        None if the model was not distilled, or if the weights of its method are missing.

    Raises
    ------
    UserError
        If these weights are damaged or belong to another method.
    """
    made = student.card.provenance
    if made is None or made.shapes is None or not isinstance(made.run, DistillationConfig):
        return None
    method = build_method(made.run, made.shapes)
    if method.state_dict():
        if not (student.folder / METHOD).is_file():
            return None
        load_weights(method, student.folder / METHOD)
    return method.requires_grad_(False).eval().to(student.device)
