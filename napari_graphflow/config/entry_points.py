"""Networks and methods of other installed packages, found by their entry points.

Groups: ``napari_graphflow.networks``, each entry the function that builds a network; and
``napari_graphflow.methods``, each entry a `MethodInfo`.
"""

import re
import sys
import warnings
from collections.abc import Collection, Iterator
from functools import cache
from importlib.metadata import EntryPoint, distribution, distributions

from napari_graphflow.config.method_info import MethodInfo

_GROUPS = "napari_graphflow."


def network_entries(taken: Collection[str]) -> Iterator[EntryPoint]:
    """Yield the networks of other packages, without importing them; warn of a name in use."""
    yield from _free("networks", taken)


def method_entries(taken: Collection[str]) -> Iterator[tuple[str, MethodInfo]]:
    """Yield the methods of other packages; warn of one that cannot be loaded."""
    for entry in _free("methods", taken):
        try:
            info = entry.load()
            options = info.options.model_fields["name"]
            if options.default != entry.name:
                raise ValueError(f"its options are named {options.default!r}")
        except Exception as error:  # whatever another package does must not end this program
            _warn(entry, f"cannot be loaded: {error}")
            continue
        yield entry.name, info


@cache
def _installed(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return the entry points of the packages that extend this one.

    `importlib.metadata.entry_points` parses those of all packages, hundreds of them.
    """
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for package in distributions():
        text = package.read_text("entry_points.txt") or ""
        # One that comes first hides others of its name, as from `import`.
        if _GROUPS in text and distribution(package.name).read_text("entry_points.txt") == text:
            name = re.sub(r"[-_.]+", "-", package.name).lower()
            found.setdefault(name, tuple(package.entry_points))
    return tuple(entry for entries in found.values() for entry in entries)


def _free(group: str, taken: Collection[str]) -> Iterator[EntryPoint]:
    for entry in _installed(tuple(sys.path)):
        if entry.group != _GROUPS + group:
            continue
        if entry.name in taken or not entry.name.isidentifier():
            _warn(entry, "is left out: its name is in use, or is not a Python name")
        else:
            yield entry


def _warn(entry: EntryPoint, problem: str) -> None:
    where = entry.dist.name if entry.dist else "another package"
    warnings.warn(f"{entry.name} ({entry.value}) of {where} {problem}.", stacklevel=4)
