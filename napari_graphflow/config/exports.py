"""The kinds of export, and ``parity.json`` of an exported folder; nothing here imports torch."""

from typing import Literal, NamedTuple

from napari_graphflow.config.settings import Frozen

Kind = Literal["onnx", "openvino", "openvino-int8", "monai-bundle", "nnunet"]
#: File of the comparison with PyTorch in an exported folder.
PARITY = "parity.json"


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


#: Weights and feature maps in 8 bits.
ROUNDED = Limits(probability_difference=None, equal_labels=0.95, dice=0.95)
#: nnU-Net clips before it resamples, and interpolates logits.
SIMILAR = Limits(probability_difference=None, equal_labels=0.99, dice=0.99)


class ExportInfo(NamedTuple):
    """A kind of export.

    Attributes
    ----------
    title, runs_in
        Its name, and the program that runs it.
    packages, extra
        Modules needed to write and compare it, and the extra that installs them.
    needs
        Packages needed to run it.
    note
        Sentences for its users.
    limits
        What it must reach.
    windows
        How it cuts windows itself, as in a model card; None if as the model does.
    """

    title: str
    runs_in: str
    packages: tuple[str, ...]
    extra: str
    needs: tuple[str, ...]
    note: str
    limits: Limits = SAME
    windows: Literal["patch", "even"] | None = None

    @property
    def keeps_largest_parts(self) -> bool:
        """Whether its script has the model's post-processing."""
        return self.note.startswith(_STEPS)

    @property
    def returns_probabilities(self) -> bool:
        """Whether class probabilities are compared, too."""
        return self.limits.probability_difference is not None


_STEPS = (
    "`settings.json` holds all steps before and after the network, `steps` the code of "
    "napari-graphflow that computes them (BSD-3-Clause)."
)

EXPORTS: dict[Kind, ExportInfo] = {
    "onnx": ExportInfo(
        "ONNX",
        "ONNX Runtime",
        ("onnx", "onnxruntime"),
        "export",
        ("numpy", "SimpleITK", "onnxruntime"),
        _STEPS,
    ),
    "openvino": ExportInfo(
        "OpenVINO",
        "OpenVINO",
        ("openvino",),
        "openvino",
        ("numpy", "SimpleITK", "openvino"),
        _STEPS,
    ),
    "openvino-int8": ExportInfo(
        "OpenVINO int8",
        "OpenVINO",
        ("openvino", "nncf"),
        "int8",
        ("numpy", "SimpleITK", "openvino"),
        _STEPS + " Weights and feature maps have 8 bits, with ranges measured on the cases of the "
        "comparison: they must be like those that will be segmented.",
        ROUNDED,
    ),
    "monai-bundle": ExportInfo(
        "MONAI bundle",
        "MONAI",
        ("monai", "nibabel", "ignite"),
        "export",
        ("torch", "monai", "nibabel", "pytorch-ignite"),
        "`python -m monai.bundle run --config_file configs/inference.json --meta_file "
        "configs/metadata.json --dataset_dir DATA --output_dir MASKS` segments a folder. Values "
        "that are no intensities, such as NaN, are not replaced. MONAI misplaces a resampled "
        "image by up to a voxel if its first voxel lies near the origin of the coordinates.",
        SIMILAR,
        "patch",
    ),
    "nnunet": ExportInfo(
        "nnU-Net",
        "nnU-Net",
        ("nnunetv2",),
        "nnunet",
        ("nnunetv2", "SimpleITK"),
        "The folder is that of a training by nnU-Net: `nnUNetv2_predict_from_modelfolder -m . -f "
        "all` runs it on images that are stored in the orientation in `settings.json`, and "
        "`segment.py` reorients any image. Do not open `checkpoint_final.pth` from a stranger: "
        "nnU-Net's checkpoints are pickles, which can run code.",
        SIMILAR,
        "even",
    ),
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
    equal_to_own_windows
        The same share, compared with this program's own windows, if the export cuts others; None
        if it does not.
    export_seconds, torch_seconds
        From the image to the mask, without starting and loading.
    """

    case: str
    shape: tuple[int, ...]
    probability_difference: float | None
    equal_labels: float
    equal_to_own_windows: float | None = None
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
        differences = [
            one.probability_difference
            for one in self.cases
            if one.probability_difference is not None
        ]
        soft = f"probabilities differ by up to {max(differences):.2g}, " if differences else ""
        own = [
            one.equal_to_own_windows for one in self.cases if one.equal_to_own_windows is not None
        ]
        if own:
            soft += (
                f"{min(own):.1%} equal labels where this program segments small images in one "
                "window, "
            )
        ours = sum(one.export_seconds for one in self.cases)
        torch = sum(one.torch_seconds for one in self.cases)
        return (
            f"{len(self.cases)} cases: {worst.equal_labels:.3%} equal labels at least, "
            f"{soft}{ours:.2f} s instead of {torch:.2f} s in PyTorch"
        )
