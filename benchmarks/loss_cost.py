"""Time and memory of the loss terms of Graph Flow, relative to a minimal distillation step.

    python benchmarks/loss_cost.py                  # CPU, some four minutes
    python benchmarks/loss_cost.py --device cuda

The lower bound of a distillation step is the teacher's forward pass and the student's supervised
step (forward, cross-entropy, backward, optimiser). Every term is measured alone on the taps and
logits of that step, forward and backward, and every whole step as well, all in turn within each
round. Ratios are computed within a round; seconds and ratios are medians over rounds: CPU time on
a CPU, which depends less on other programs, wall time on a GPU. The graph terms have the default
settings.
"""

import argparse
import ctypes
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from napari_graphflow.config.methods import GraphFlowOptions
from napari_graphflow.distillation.graph_flow.loss import (
    channel_energy,
    graph_flow_loss,
    variation_graph,
)
from napari_graphflow.distillation.graph_flow.paraphraser import Paraphraser
from napari_graphflow.distillation.logits import logits_loss
from napari_graphflow.networks import build
from napari_graphflow.networks.layers import norms_without_copies

NORMALISE, PEAKS = GraphFlowOptions().normalise, GraphFlowOptions().peaks
BOUND, TARGET = "teacher forward + student step", 0.05
LOGITS, GRAPH_FLOW = "bound + logits", "bound + logits + Graph Flow"
GRAPHS, PARAPHRASERS = "alone: graph terms", "alone: paraphrasers"
MEMORY_ROUNDS = 3
TAPS = ("encoder", "decoder")


class Step:
    """One distillation step and its parts, on one fixed batch."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(0)
        device, size = torch.device(options.device), [options.size] * 2
        self.patch = options.patch
        teacher = norms_without_copies(build(options.teacher, 1, 2, 2))
        self.teacher = teacher.to(device).eval().requires_grad_(False)
        self.student = build(options.student, 1, 2, 2).to(device)
        self.optimiser = torch.optim.AdamW(self.student.parameters())
        self.image = torch.randn(options.batch, 1, *size, device=device)
        self.labels = torch.randint(2, (options.batch, *size), device=device)
        with torch.no_grad():
            self.of_teacher, self.of_student = self.teacher(self.image), self.student(self.image)
        self.paraphrasers = {
            tap: Paraphraser(self.of_teacher.taps[tap].shape[1], self.of_student.taps[tap].shape[1])
            .to(device)
            .requires_grad_(False)
            for tap in TAPS
        }
        self.codes = self.paraphrase(self.of_teacher)
        self.energy = channel_energy(variation_graph(*self.codes, self.patch))
        self.leaves = [self.of_student.taps[tap].clone().requires_grad_() for tap in TAPS]
        self.logits = self.of_student.logits.clone().requires_grad_()

    @torch.no_grad()
    def paraphrase(self, output):
        return [self.paraphrasers[tap].encode(output.taps[tap]) for tap in TAPS]

    def graph_terms(self, student_taps, codes):
        with torch.no_grad():
            teacher_graph = variation_graph(*codes, self.patch)
        peaks_of = teacher_graph if PEAKS == "teacher" else None
        graphs = variation_graph(*student_taps, self.patch, peaks_of=peaks_of), teacher_graph
        return sum(graph_flow_loss(*graphs, energy=self.energy, normalise=NORMALISE))

    def whole(self, logits: bool = False, graphs: bool = False) -> None:
        with torch.no_grad():
            teacher = self.teacher(self.image)
        student = self.student(self.image)
        loss = cross_entropy(student.logits, self.labels)
        if logits:
            loss = loss + logits_loss(student.logits, teacher.logits)
        if graphs:
            taps = [student.taps[tap] for tap in TAPS]
            loss = loss + self.graph_terms(taps, self.paraphrase(teacher))
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def parts(self) -> dict[str, Callable[[], object]]:
        """Return the name of each measured part, and a function that runs it once."""
        return {
            BOUND: self.whole,
            LOGITS: lambda: self.whole(logits=True),
            GRAPH_FLOW: lambda: self.whole(logits=True, graphs=True),
            "alone: logits term": lambda: torch.autograd.grad(
                logits_loss(self.logits, self.of_teacher.logits), self.logits
            ),
            GRAPHS: lambda: torch.autograd.grad(
                self.graph_terms(self.leaves, self.codes), self.leaves
            ),
            PARAPHRASERS: lambda: self.paraphrase(self.of_teacher),
        }


def processor() -> str:
    """Return the name of the processor."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def seconds(run: Callable[[], object], device: str) -> float:
    if device == "cpu":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_bytes(run: Callable[[], object], device: str) -> int | None:
    """Return the peak of additionally allocated memory; None if the system cannot measure it."""
    if device != "cpu":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() - before
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return None

    def resident(line: str) -> int:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split(f"{line}:")[1].split()[0])

    # Freed memory that the allocator keeps would hide later allocations.
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back
    run()
    return max(0, resident("VmHWM") - before)


def measure(options: argparse.Namespace) -> dict[str, object]:
    torch.set_num_threads(options.threads)
    step = Step(options)
    parts = step.parts()
    step.whole(logits=True, graphs=True)
    peaks = [
        {name: peak_bytes(run, options.device) for name, run in parts.items()}
        for _ in range(MEMORY_ROUNDS)
    ]
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(options.rounds):
        for name, run in parts.items():
            # Short parts are repeated because of the resolution of the clock.
            repeats = 10 if name.startswith("alone") else 1
            spent = seconds(lambda run=run, n=repeats: [run() for _ in range(n)], options.device)
            times[name].append(spent / repeats)

    memory = {
        name: None if peaks[0][name] is None else statistics.median(one[name] for one in peaks)
        for name in parts
    }

    def ratios(to: str) -> dict[str, float]:
        return {
            name: statistics.median(a / b for a, b in zip(values, times[to], strict=True))
            for name, values in times.items()
        }

    return {
        "options": vars(options) | {"out": None},
        "machine": f"{processor()}, torch {torch.__version__}",
        "student_taps": [list(tap.shape) for tap in step.leaves],
        "teacher_taps": [list(step.of_teacher.taps[tap].shape) for tap in TAPS],
        "seconds": {name: statistics.median(values) for name, values in times.items()},
        "ratio_to_bound": ratios(BOUND),
        "ratio_to_logits": ratios(LOGITS),
        "peak_bytes": memory,
    } | {
        f"memory_ratio_to_{key}": {
            name: size and size / memory[to] for name, size in memory.items()
        }
        for key, to in (("bound", BOUND), ("logits", LOGITS))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--teacher", default="unet")
    parser.add_argument("--student", default="enet")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--patch", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    result = measure(options)
    print(f"{options.teacher} {result['teacher_taps'][0]} -> {options.student}", end=" ")
    print(f"{result['student_taps'][0]}, patch {options.patch}, {options.device}")
    print(f"{'':32}{'seconds':>9}{'/ bound':>9}{'/ logits':>9}{'peak MB':>9}{'/ bound':>9}")
    peaks = result["peak_bytes"]
    for name, value in result["seconds"].items():
        memory = ("-", "-")
        if peaks[name] is not None:
            ratio = result["memory_ratio_to_bound"][name]
            memory = f"{peaks[name] / 2**20:.0f}", f"{ratio:.3f}"
        times = [result[f"ratio_to_{to}"][name] for to in ("bound", "logits")]
        print(f"{name:32}{value:9.4f}{times[0]:9.4f}{times[1]:9.4f}{memory[0]:>9}{memory[1]:>9}")
    shares = result["ratio_to_bound"]
    print(f"graph terms: {shares[GRAPHS]:.2%} of the bound, target at most {TARGET:.0%};")
    print(f"with paraphrasers: {shares[GRAPHS] + shares[PARAPHRASERS]:.2%}")
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
