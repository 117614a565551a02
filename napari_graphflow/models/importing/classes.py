"""Which class of a student each class of a teacher is: several to one, some to none."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from napari_graphflow.errors import UserError

BACKGROUND = 0
#: Names in an error.
_LISTED = 12


def read_table(entries: Sequence[str]) -> dict[str, list[str]]:
    """Return a table of classes from texts such as ``lung=lung_left,lung_right``.

    A name alone stands for the teacher's class of the same name; ``NAME=`` for none.

    Raises
    ------
    UserError
        If a class is repeated, or an entry has no name.
    """
    table: dict[str, list[str]] = {}
    for entry in entries:
        name, equals, sources = entry.partition("=")
        name = name.strip()
        if not name or name.lower() in (one.lower() for one in table):
            raise UserError(
                f"{entry!r} {'repeats a class' if name else 'names no class'}.",
                "Write NAME=OTHER,OTHER once for each class.",
            )
        listed = [one.strip() for one in sources.split(",") if one.strip()]
        table[name] = listed if equals else [name]
    return table


def map_classes(
    known: Sequence[str],
    table: Mapping[str, Sequence[str]],
    wanted: Mapping[str, int] | None,
    inside: Mapping[str, Sequence[str]] | None = None,
) -> tuple[dict[str, int], dict[str, str]]:
    """Return the classes of a model, and the class of each of the teacher's.

    Parameters
    ----------
    known
        Names of the teacher's classes by index; the first is the background.
    table
        Names of the teacher's classes by class; upper and lower case are the same.
    wanted
        Classes of the dataset; those without an entry in `table` have the name of a teacher's
        class. Default: those of the table, in its order.
    inside
        The regions that contain a region, the smallest first: one that is not named is part of the
        first of them that is. Default: the teacher's classes exclude each other.

    Returns
    -------
    classes, mapping
        Class indices by name, and the class by the teacher's name for it; what is not named is
        background. The mapping is empty if both have the same classes.

    Raises
    ------
    UserError
        If a name is unknown, or one of the teacher's classes is named twice.
    """
    classes = dict(wanted) if wanted else {"background": 0}
    if not wanted:
        classes |= {name: index for index, name in enumerate(table, start=1)}
    by_lower = {name.lower(): name for name in classes}
    named: dict[str, Sequence[str]] = {}
    for name, sources in table.items():
        if name.lower() not in by_lower:
            raise UserError(
                f"{name!r} is not a class of the dataset.",
                f"Its classes are {', '.join(one for one in classes if classes[one])}.",
            )
        named[by_lower[name.lower()]] = sources
    background = next(name for name, index in classes.items() if index == BACKGROUND)
    mapping = dict.fromkeys(known, background)
    teachers = {name.lower(): name for name in known[1:]}
    used: dict[str, str] = {}
    for name, index in classes.items():
        if index == BACKGROUND:
            continue
        for source in named.get(name, [name]):
            own = teachers.get(source.lower())
            if own is None:
                unknown = _unknown(source, name, list(known[1:]))
                raise UserError(unknown, _write(name), "unknown_class")
            if own in used:
                raise UserError(
                    f"The teacher's class {own!r} is named for {used[own]} and for {name}.",
                    "Name each of its classes once.",
                )
            mapping[own] = used[own] = name
    mapping |= _enclosed(inside or {}, used)
    same = [mapping[name] for name in known[1:]] == [
        name for name in sorted(classes, key=classes.__getitem__) if classes[name]
    ]
    return classes, {} if same and len(known) == len(classes) else mapping


def _enclosed(inside: Mapping[str, Sequence[str]], used: Mapping[str, str]) -> dict[str, str]:
    """Return the class of each region that is not named, but lies in one that is."""
    named = {
        name: [used[one] for one in regions if one in used] for name, regions in inside.items()
    }
    return {name: found[0] for name, found in named.items() if found and name not in used}


def _unknown(source: str, name: str, known: list[str]) -> str:
    near = get_close_matches(source.lower(), [one.lower() for one in known], n=3, cutoff=0.5)
    others = ", ".join(known[:_LISTED]) + f" and {len(known) - _LISTED} more" * (
        len(known) > _LISTED
    )
    similar = f"similar ones are {', '.join(near)}" if near else f"it has {others}"
    where = "" if source == name else f" for {name}"
    return f"The teacher has no class {source!r}{where}; {similar}."


def _write(name: str) -> str:
    return (
        f"Write --classes {name}=OTHER with the teacher's name for it, several separated by "
        f"commas, or {name}= if it does not know it."
    )
