"""Find the pixels of a DICOM file, and whether they are complete, without decoding them."""

import struct
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:  # takes half a second
    from pydicom.dataset import Dataset

#: Values of a header by keyword.
Fields = dict[str, Any]
#: Encoded tags of PixelData, FloatPixelData and DoubleFloatPixelData.
_PIXELS = {
    order: [struct.pack(order + "HH", 0x7FE0, element) for element in (0x10, 0x08, 0x09)]
    for order in "<>"
}


def find_pixels(file: BinaryIO, found: "Dataset", header: Fields) -> tuple[bool, int]:
    """Find the pixels of a file that was read up to them.

    Returns
    -------
    cut, start
        Whether the file is truncated, and the byte offset of uncompressed grey pixels; 0 if they
        need a decoder.
    """
    from pydicom.uid import (
        DeflatedExplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
    )

    syntax = found.file_meta.get("TransferSyntaxUID") if hasattr(found, "file_meta") else None
    if syntax == DeflatedExplicitVRLittleEndian:
        return False, 0
    implicit, little = found.original_encoding
    order = ">" if little is False else "<"
    start = file.read(8 if implicit else 12)
    if len(start) < (8 if implicit else 12) or start[:4] not in _PIXELS[order]:
        return True, 0
    (length,) = struct.unpack(order + "I", start[-4:])
    if length == 0xFFFFFFFF:
        return not _fragments_end(file), 0
    begin = file.tell()
    present = file.seek(0, 2) - begin
    plain = (
        order == "<"
        and syntax in (None, ImplicitVRLittleEndian, ExplicitVRLittleEndian)
        and start[:4] == _PIXELS["<"][0]
        and header.get("SamplesPerPixel", 1) == 1
        and header.get("BitsAllocated") in (8, 16, 32)
        and header.get("HighBit") == header.get("BitsStored", 0) - 1
        and str(header.get("PhotometricInterpretation")).startswith("MONOCHROME")
    )
    return bool(present < length or length < _least_length(header)), begin if plain else 0


def _least_length(header: Fields) -> int:
    """Return the smallest number of bytes of uncompressed pixels."""
    values = int(header["Rows"]) * int(header["Columns"])
    values *= int(header.get("SamplesPerPixel") or 1) * int(header.get("NumberOfFrames") or 1)
    bits = values * int(header.get("BitsAllocated") or 16)
    subsampled = str(header.get("PhotometricInterpretation")) == "YBR_FULL_422"
    return (bits * 2 // 3 if subsampled else bits) // 8


def _fragments_end(file: BinaryIO) -> bool:
    """Whether the fragments of compressed pixels are complete, up to their end marker."""
    begin = file.tell()
    end = file.seek(0, 2)
    file.seek(begin)
    while len(head := file.read(8)) == 8:
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == (0xFFFE, 0xE0DD):
            return True
        if (group, element) != (0xFFFE, 0xE000) or file.tell() + length > end:
            return False
        file.seek(length, 1)
    return False
