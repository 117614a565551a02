"""Checks the size of each extra, and the time to import what it is for.

Measured in the environment of the checkout, which has all of them, so that nothing is installed
again: an extra counts its packages and all that these require, without those of CUDA.
"""

import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "napari-graphflow"
#: MB of what an extra adds to the base install, seconds on a busy machine, and what is timed.
LIMITS = {
    "window": (500, 60, "import napari_graphflow.plugin.distil.widget"),
    "train": (2000, 60, "import torch, monai, openvino, napari_graphflow.training"),
}
NOT_COUNTED = ("nvidia-", "cuda-", "triton")


def required(name: str, extras: Iterable[str]) -> set[str]:
    """Return all packages that a package with some of its extras requires."""
    found, waiting = set(), [(name, frozenset(extras))]
    seen = set(waiting)
    while waiting:
        package, wanted = waiting.pop()
        try:
            lines = ours(wanted) if package == PROJECT else distribution(package).requires or []
        except PackageNotFoundError:  # such as one for another system
            continue
        found.add(package)
        for line in lines:
            needed = Requirement(line)
            markers = [{"extra": one} for one in ("", *wanted)]
            if needed.marker and not any(needed.marker.evaluate(one) for one in markers):
                continue
            one = canonicalize_name(needed.name), frozenset(needed.extras)
            if one not in seen and not one[0].startswith(NOT_COUNTED):
                seen.add(one)
                waiting.append(one)
    return found


def ours(extras: Iterable[str]) -> list[str]:
    """Return what the checkout requires, which may be more than what was installed of it."""
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8")
    project = tomllib.loads(text)["project"]
    return project["dependencies"] + [
        line for extra in extras if extra for line in project["optional-dependencies"][extra]
    ]


def megabytes(packages: Iterable[str]) -> float:
    """Return the size of the installed files of packages."""
    files = {file.locate() for one in packages for file in distribution(one).files or []}
    return sum(file.stat().st_size for file in files if file.is_file()) / 2**20


def seconds(code: str) -> float:
    """Return how long a new process takes to run something."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def main() -> None:
    base = required(PROJECT, ())
    for extra, (largest, slowest, code) in LIMITS.items():
        added = required(PROJECT, [extra]) - base
        size, took = megabytes(added), seconds(code)
        print(f"{extra}: {size:.0f} MB in {len(added)} packages, imported in {took:.1f} s")
        assert size < largest, f"the extra {extra} adds {size:.0f} MB"
        assert took < slowest, f"importing what {extra} is for took {took:.1f} s"


if __name__ == "__main__":
    main()
