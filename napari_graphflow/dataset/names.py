"""Names of cases: the same name in every spelling, the patient of a case, one patient or two."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from itertools import zip_longest

#: Between the parts of a name.
SEPARATOR = r"[-_. ]"
_WORDS = (
    "seg segm segmentation segmentations mask masks label labels labelmap gt groundtruth ground "
    "truth annotation annotations annot anno roi rois manual contour contours 0000"
)
#: Words at the ends of the names of masks and of images; 0000 is the channel number of nnU-Net.
MASK_WORDS = frozenset(_WORDS.split())
IMAGE_WORDS = frozenset(("image", "img", "volume"))
_VISIT = re.compile(
    r"(ses|session|visit|tp|timepoint|followup|fu|baseline|bl|pre|post|day|week|month|year)\d*"
)
#: Too short to be sure: only part of a name whose rest has a number, such as P012_t2.
_SHORT = re.compile(r"([tvszmdwy]|slice|frame|series|scan|time)\d+|\d{8}")
_MANY_DIGITS = 3
#: Words that describe what a file is, not whose.
_ROLES = MASK_WORDS | {"pred", "prediction"}


def composed(name: str) -> str:
    """Return a name in Unicode normal form C; a Mac writes file names decomposed."""
    return unicodedata.normalize("NFC", name)


def same_name(name: str) -> str:
    """Normalise a name for comparison: composed, without capitals, one blank between words."""
    return " ".join(re.sub(r"[_\s]+", " ", composed(name)).split()).casefold()


def same_names(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first two names that are the same apart from their spelling, or None."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(same_name(name), name)) is not name:
            return other, name
    return None


def without_words(name: str, words: Collection[str]) -> list[str]:
    """Return a folded name without none, some or all of these words at its ends, longest first."""
    parts = re.split(f"({SEPARATOR}+)", composed(name).casefold())
    found = []
    for start in range(0, len(parts), 2):
        for end in range(start + 1, len(parts) + 1, 2):
            outer = parts[:start:2] + parts[end + 1 :: 2]
            if all(one in words for one in outer):
                found.append("".join(parts[start:end]))
    return sorted(found, key=len, reverse=True)


def patients(names: Iterable[str], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the patient of each case, if not `known` by its name.

    ``sub-07_ses-2`` is of ``sub-07``, ``P1_followup`` of ``P1`` and, if there are several of these
    beginnings, ``P1_2`` of ``P1``. Every other name is a patient of its own.
    """
    found = {name: _without_visit(name) for name in names}
    numbered = {
        name: match[1]
        for name, one in found.items()
        if (match := re.fullmatch(rf"(.*\d){SEPARATOR}\d{{1,{_MANY_DIGITS}}}", one))
    }
    # BraTS2021_001, BraTS2021_002, ... are not scans of one patient.
    if len(Counter(numbered.values())) > 1:
        found |= numbered
    return found | {name: str(one) for name, one in (known or {}).items() if name in found}


def compare_names(one: str, other: str) -> int:
    """Return what two names say about whether they are of one scan.

    Returns
    -------
    int
        2 for the same identification: the same numbers, or the same words beside ``seg``, ``mask``
        and the like. -1 for other numbers or visits, as ``P1`` and ``P2``, ``P1_baseline`` and
        ``P1_followup`` have. 0 if nothing is known.
    """
    same, parts = [], (_words(one), _words(other))
    for a, b in zip_longest(*parts, fillvalue=""):
        if a != b:
            visits = [bool(_VISIT.fullmatch(word)) for word in (a, b)]
            if (a.isdigit() and b.isdigit()) or all(visits):
                return -1
            if any(visits):
                return 0
            break
        same.append(a)
    identified = any(word.isdigit() for word in same) or parts[0] == parts[1]
    return 2 if same and identified else 0


def has_number(name: str) -> bool:
    """Whether a name has a number, which may identify a patient."""
    return any(word.isdigit() for word in _words(name))


def _words(name: str) -> list[str]:
    """Split a name into words, without those of roles, and numbers without leading zeros."""
    found = re.findall(r"\d+|[^\W\d_]+", composed(name).casefold())
    words = [word.lstrip("0") or "0" if word.isdigit() else word for word in found]
    return [word for word in words if word not in _ROLES]


def _without_visit(name: str) -> str:
    if subject := re.match(r"sub-[A-Za-z0-9]+", name):
        return subject[0]
    while match := re.fullmatch(rf"(.+?){SEPARATOR}+([^-_. ]+)", name):
        # The lazy group is extended to the last separator.
        rest, last = name[: match.start(2)].rstrip("-_. "), match[2].casefold()
        certain = _VISIT.fullmatch(last)
        if not rest or not (certain or (_SHORT.fullmatch(last) and re.search(r"\d", rest))):
            break
        name = rest
    return name
