"""Options of segmenting that the user chooses, besides what the model's card fixes."""

from collections.abc import Mapping

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.settings import Frozen
from napari_graphflow.errors import UserError


class PredictionOptions(Frozen):
    """How a model is applied to an image.

    Parameters
    ----------
    mirror
        Whether each window is also segmented mirrored, along all axes along which training images
        were mirrored; the logits are averaged. Twice as slow for each axis. None does what the
        model's card says, which is not to mirror, except for some imported models.
    postprocess
        Whether only the largest part is kept of the structures for which the validation cases
        showed that it helps.
    """

    mirror: bool | None = None
    postprocess: bool = True

    def mirror_axes(self, card: ModelCard) -> tuple[int, ...]:
        """Return the axes of the network's input along which windows are mirrored.

        Raises
        ------
        UserError
            If the model is to mirror, but was not trained on mirrored images.
        """
        if self.mirror is None:
            return card.mirror
        if not self.mirror:
            return ()
        axes = card.mirror or card.trained_mirrored
        if not axes:
            raise UserError(
                f"{card.name} was not trained on mirrored images, so that it would confuse left "
                "and right.",
                "Segment without mirroring, or train with --mirror y x.",
            )
        return axes

    def kept(self, card: ModelCard) -> dict[str, int]:
        """Return name and value of the structures of which only the largest part is kept."""
        return {name: card.classes[name] for name in card.largest_part if self.postprocess}


#: What a model does without a choice of the user.
DEFAULTS = PredictionOptions()


def removed_text(removed: Mapping[str, int]) -> str:
    """Return in words what the post-processing removed, by structure; empty if nothing."""
    some = {name: count for name, count in removed.items() if count}
    parts = ", ".join(f"{name} ({count:,} voxels removed)" for name, count in some.items())
    return f"Only the largest part was kept of {parts}." if some else ""
