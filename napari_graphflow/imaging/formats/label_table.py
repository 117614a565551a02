"""The table of labels in the header of a NIfTI mask, as TotalSegmentator and Workbench write it.

A NIfTI extension in XML (`CaretExtension`) between the header and the voxels, which gives each
label a name: ``<Label Key="5" ...><![CDATA[liver]]></Label>``. TotalSegmentator stores it with the
code 0, Connectome Workbench with the code 30 (NIFTI_ECODE_CARET).
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from napari_graphflow.imaging.formats.nifti import peek, read_start

_CODES = (0, 30)
#: Bytes of a header with its extensions that are read; a table of 1,000 labels takes 100 kB.
_MOST = 1 << 20


def label_names(path: Path) -> list[tuple[str, int]]:
    """Return the pairs of name and label in a NIfTI file, without background; empty if none.

    A table that is damaged, or that defines entities of its own, is no table.
    """
    for content in _extensions(path):
        if b"<LabelTable" not in content or b"<!" in content.replace(b"<![CDATA[", b""):
            continue
        try:
            # Without definitions (`<!`, above), XML cannot grow or refer to other files.
            table = ElementTree.fromstring(content.rstrip(b"\0 \r\n"))  # noqa: S314
            found = [(one.text or "", int(one.get("Key", ""))) for one in table.iter("Label")]
        except (ElementTree.ParseError, ValueError):
            continue
        return [(name.strip(), key) for name, key in found if key > 0 and name.strip()]
    return []


def _extensions(path: Path) -> Iterator[bytes]:
    """Yield the extensions of a single NIfTI file that may hold a table of labels."""
    parsed = read_start(path)
    if parsed is None:
        return
    size, order, end = parsed
    content = peek(path, min(end, _MOST))
    at = size + 4
    if end <= at or not content[size : size + 1].strip(b"\0"):
        return
    while at + 8 <= len(content):
        length, code = struct.unpack_from(f"{order}2i", content, at)
        if length < 8 or at + length > len(content):
            return
        if code in _CODES:
            yield content[at + 8 : at + length]
        at += length
