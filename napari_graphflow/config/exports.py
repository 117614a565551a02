"""The kinds of export, and ``parity.json`` of an exported folder; nothing here imports torch."""

from typing import Literal, NamedTuple

from napari_graphflow.config.settings import Frozen

Kind = Literal["onnx", "openvino"]
#: File of the comparison with PyTorch, and of the model's settings, in an exported folder.
PARITY, SETTINGS = "parity.json", "settings.json"


class Limits(Frozen):
    """What an export must reach on each case.

    Parameters
    ----------
    probability_difference
        Largest difference of a class probability; None if any.
    equal_labels
        Smallest share of equal labels.
    dice
        Smallest mean Dice of the structures.
    """

    probability_difference: float | None
    equal_labels: float
    dice: float


#: float16, in which both probabilities are stored, rounds by up to 2.5e-4.
SAME = Limits(probability_difference=2e-3, equal_labels=0.999, dice=0.999)


class ExportInfo(NamedTuple):
    """Title of a kind of export, what runs it, the packages that this needs, and its limits."""

    title: str
    runs_in: str
    packages: tuple[str, ...]
    limits: Limits = SAME


EXPORTS: dict[Kind, ExportInfo] = {
    "onnx": ExportInfo("ONNX", "ONNX Runtime", ("onnxruntime",)),
    "openvino": ExportInfo("OpenVINO", "OpenVINO", ("openvino",)),
}


class CaseParity(Frozen):
    """An exported model compared with PyTorch on one case.

    Parameters
    ----------
    case
        Name of the case; generated ones are called so.
    shape
        Size of the image in voxels.
    probability_difference
        Largest difference of a class probability; None if the export returns none.
    equal_labels
        Share of equal labels among the voxels that are a structure in either mask.
    dice
        Dice of each structure that is in either mask.
    export_seconds, torch_seconds
        From the image to the mask, without starting and loading.
    """

    case: str
    shape: tuple[int, ...]
    probability_difference: float | None
    equal_labels: float
    dice: dict[str, float]
    export_seconds: float
    torch_seconds: float

    @property
    def mean_dice(self) -> float:
        """Mean Dice of the structures; 1 if there is none in either mask."""
        return sum(self.dice.values()) / len(self.dice) if self.dice else 1.0

    def problem(self, limits: Limits) -> str:
        """Return what exceeds the limits as half a sentence; empty if nothing does."""
        if (
            limits.probability_difference is not None
            and self.probability_difference is not None
            and not self.probability_difference <= limits.probability_difference
        ):
            return f"differs by {self.probability_difference:.2g} in a class probability"
        if not self.equal_labels >= limits.equal_labels:
            return f"has {self.equal_labels:.2%} equal labels"
        if not self.mean_dice >= limits.dice:
            return f"has a Dice of {self.mean_dice:.4f}"
        return ""


class ExportParity(Frozen):
    """``parity.json``: an exported model compared with the same model in PyTorch.

    Parameters
    ----------
    kind
        Kind of the export.
    device
        What ran the export.
    limits
        What each case had to reach.
    cases
        The comparisons.
    """

    kind: Kind
    device: str
    limits: Limits
    cases: tuple[CaseParity, ...]

    @property
    def problem(self) -> str:
        """The first case that exceeds the limits, as half a sentence; empty if none does."""
        found = ((one.case, one.problem(self.limits)) for one in self.cases)
        return next((f"on {case} it {problem}" for case, problem in found if problem), "")

    def __str__(self) -> str:
        worst = min(self.cases, key=lambda one: one.equal_labels)
        difference = max((one.probability_difference or 0.0) for one in self.cases)
        ours = sum(one.export_seconds for one in self.cases)
        torch = sum(one.torch_seconds for one in self.cases)
        return (
            f"{len(self.cases)} cases: {worst.equal_labels:.3%} equal labels at least, "
            f"probabilities differ by up to {difference:.2g}, "
            f"{ours:.2f} s instead of {torch:.2f} s in PyTorch"
        )
