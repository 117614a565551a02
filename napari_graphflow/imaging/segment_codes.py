"""SNOMED CT codes of anatomical structures by name, from the dictionary of pydicom."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

#: Context groups of the standard in which a name is looked up, in this order, with its category:
#: lesions (7159), tissues (7166), common anatomical structures (7151).
_GROUPS = (
    ("cid7159", "MorphologicallyAbnormalStructure"),
    ("cid7166", "Tissue"),
    ("cid7151", "AnatomicalStructure"),
)

_SYNONYMS = {
    "tumor": "neoplasm", "tumour": "neoplasm", "oedema": "edema", "oesophagus": "esophagus",
    "urinarybladder": "bladder", "thyroidgland": "thyroid",
}  # fmt: skip
#: Members of the group of lesions that are not lesions.
_NOT_LESIONS = ("normal", "background")
_SIDES = {"left": "Left", "right": "Right"}


def code_of(name: str) -> "tuple[Code, Code, Code | None] | None":
    """Look up a name such as ``liver``, ``Left kidney`` or ``tumour``.

    Returns
    -------
    category, structure, side
        Or None if the dictionary does not contain exactly this name, in the singular or plural.
    """
    from pydicom.sr.codedict import codes  # takes half a second

    words = re.findall(r"[^\W_]+", name.casefold())
    sides = [word for word in words if word in _SIDES]
    plain = "".join(word for word in words if word not in _SIDES)
    if len(sides) > 1:
        return None
    # The left ventricle has its own code, the left kidney is a kidney with the side left.
    tries: list[tuple[str, str | None]] = [
        ("".join(words), None),
        (plain, _SIDES[sides[0]] if sides else None),
    ]
    for key, side in tries:
        for one in (key, key.removesuffix("s")):
            if found := _find(_SYNONYMS.get(one, one)):
                return *found, getattr(codes.SCT, side) if side else None
    return None


def _find(key: str) -> "tuple[Code, Code] | None":
    from pydicom.sr.codedict import codes

    for group, category in _GROUPS:
        for keyword, code in getattr(codes, group).concepts.items():
            if keyword.casefold() == key not in _NOT_LESIONS and code.scheme_designator == "SCT":
                return getattr(codes.SCT, category), code
    return None
