"""The method and settings that the benchmarks support, by what is segmented."""

from typing import Literal, NamedTuple

from napari_graphflow.config.methods import GraphFlowOptions, LogitsOptions, SoftLabels
from napari_graphflow.config.run import Effort

Task = Literal["organs", "vessels", "lesions"]
#: Weight of the comparison of class probabilities, alone or within Graph Flow.
LOGITS_WEIGHT = 10.0
MOST_WARMUP = 1000
#: Tap pairs of Graph Flow, at three strides.
MOST_PAIRS = 3


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
#: these options of the method, most of them without a warm-up. On vessels the best weights of the
#: graph differ from network to network (0.02 to 1), and 0.1 was worse than none for ERFNet.
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

#: What the steps of an effort reached in ``benchmarks/students``: ENet on the hippocampus with 12
#: masks, two seeds, and what is recommended for organs.
REACHED: dict[Effort, str] = {
    "quick": "For a first look: on the hippocampus an ENet kept 91 % of its teacher's Dice, "
    "without a teacher 16 %.",
}


def recommended_for(task: Task, pairs: int = MOST_PAIRS) -> GraphFlowOptions | LogitsOptions:
    """Return the method's settings for a task.

    Parameters
    ----------
    task
        What is segmented.
    pairs
        Tap pairs of Graph Flow that both networks have; without any, class probabilities alone are
        compared.
    """
    weight = RECOMMENDED[task].graph_weight if pairs else 0.0
    if not weight:
        return LogitsOptions(weight=LOGITS_WEIGHT)
    return GraphFlowOptions(
        vertex_weight=weight,
        edge_weight=weight,
        paraphraser_steps=0,
        tap_pairs=pairs,
        logits=SoftLabels(weight=LOGITS_WEIGHT),
    )


def warmup_for(steps: int) -> int:
    """Return the steps over which the teacher's weight rises: half of all, at most 1,000.

    Class probabilities of this weight keep a student that has learnt nothing yet from small
    structures: without a warm-up, ERFNet reached a Dice of 0.55 instead of 0.81 on the hippocampus.
    """
    return min(steps // 2, MOST_WARMUP)
