"""Settings of the distillation methods that their own benchmarks chose on validation cases."""

#: Of the logits term.
LOGITS = ("temperature", "1"), ("weight", "10")
GRAPH = (
    *("--method", "graph_flow", "--graph-flow.vertex-weight", "0.1"),
    *("--graph-flow.edge-weight", "0.1", "--graph-flow.paraphraser-steps", "0"),
    *("--graph-flow.peaks", "teacher", "--graph-flow.tap-pairs", "3"),
)
EMKD = (
    *("--method", "emkd", "--emkd.prediction-weight", "10", "--emkd.temperature", "1"),
    *("--emkd.importance-weight", "0.1", "--emkd.affinity-weight", "0.1"),
)


def _logits(group: str) -> tuple[str, ...]:
    return tuple(word for name, value in LOGITS for word in (f"--{group}.{name}", value))


METHODS: dict[str, tuple[str, ...]] = {
    "logits": ("--method", "logits", *_logits("logits")),
    "dist": ("--method", "dist", "--dist.weight", "3"),
    "channel_wise": ("--method", "channel_wise", "--channel-wise.weight", "3"),
    "graph_flow": (*GRAPH, *_logits("graph-flow.logits")),
    "graph_flow_dist": (
        *GRAPH,
        *("--graph-flow.logits.loss", "dist", "--graph-flow.logits.weight", "3"),
    ),
    "emkd": EMKD,
    "attention": ("--method", "attention"),
}
