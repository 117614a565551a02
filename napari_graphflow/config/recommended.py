"""The method and settings that the benchmarks support, by what is segmented."""

from typing import Literal, NamedTuple

from napari_graphflow.config.methods import GraphFlowOptions, LogitsOptions, SoftLabels
from napari_graphflow.config.model_card import ModelCard

Task = Literal["organs", "vessels", "lesions"]
#: Weight of the comparison of class probabilities, alone or within Graph Flow.
LOGITS_WEIGHT = 10.0
MOST_WARMUP = 1000
#: Tap pairs of Graph Flow in the order in which it compares them.
_PAIRS = (("encoder", "decoder"), ("encoder_2", "decoder_2"), ("encoder_3", "decoder_3"))


class Recommended(NamedTuple):
    """What is best for a task.

    Attributes
    ----------
    title
        What is segmented.
    text
        The evidence, in a sentence.
    graph_weight
        Weight of the vertices and of the edges of Graph Flow; 0 is logits distillation.
    """

    title: str
    text: str
    graph_weight: float


#: By ``benchmarks/graph_flow``, three seeds of each network, and ``benchmarks/students``, of ENet
#: on organs. Weights were chosen on validation cases; the shares are those of test cases, with
#: exactly these settings. On vessels the best weights of the graph differ from network to network
#: (0.02 to 1), and 0.1 was worse than none for ERFNet.
RECOMMENDED: dict[Task, Recommended] = {
    "organs": Recommended(
        "Organs in volumes",
        "Graph Flow closed 66 to 93 % of the gap to the teacher on the hippocampus, logits "
        "distillation 68 to 78 %.",
        0.1,
    ),
    "vessels": Recommended(
        "Vessels in 2D images",
        "Logits distillation closed 13 to 29 % of the gap to the teacher on vessels of the retina, "
        "Graph Flow 14 to 36 % with weights found for each network.",
        0.0,
    ),
    "lesions": Recommended(
        "Lesions in 2D images",
        "Graph Flow closed 19 to 61 % of the gap to the teacher on polyps, logits distillation 9 "
        "to 23 %.",
        1.0,
    ),
}


def recommended_for(task: Task, card: ModelCard | None = None) -> GraphFlowOptions | LogitsOptions:
    """Return the method's settings for a task.

    Parameters
    ----------
    task
        What is segmented.
    card
        The teacher, if it is known: one that has class probabilities only is distilled by them, and
        fewer tap pairs are compared where its card lists some of them only.
    """
    weight, taps = RECOMMENDED[task].graph_weight, card.taps if card is not None else {}
    if not weight or (card is not None and not card.gives_features):
        return LogitsOptions(weight=LOGITS_WEIGHT)
    pairs = [pair for pair in _PAIRS if not taps or taps.keys() >= set(pair)]
    return GraphFlowOptions(
        vertex_weight=weight,
        edge_weight=weight,
        paraphraser_steps=0,
        tap_pairs=max(1, len(pairs)),
        logits=SoftLabels(weight=LOGITS_WEIGHT),
    )


def warmup_for(steps: int) -> int:
    """Return the steps over which the teacher's weight rises: half of all, at most 1,000.

    Class probabilities of this weight keep a student that has learnt nothing yet from small
    structures: without a warm-up, ERFNet reached a Dice of 0.55 instead of 0.81 on the hippocampus.
    """
    return min(steps // 2, MOST_WARMUP)


def usual_task(dims: int) -> Task:
    """Return what is most likely segmented in volumes or in 2D images."""
    return "organs" if dims == 3 else "lesions"
