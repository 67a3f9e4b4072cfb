"""PCD, the Point Cloud Library's format: ASCII, binary and LZF-compressed.

A header of text lines names the fields of a point, their sizes and types; the data follow as rows of text, as packed
records, or compressed and then field by field. Points without a measurement are NaN, and left out here. Colours are
0xRRGGBB packed into a 4-byte field `rgb` or `rgba`, whatever type it claims to be.
Source: the Point Cloud Library's documentation, "The PCD (Point Cloud Data) file format", version 0.7.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multidiff.errors import MediaError
from multidiff.points.arrays import Arrays

KINDS = {"F": "f", "U": "u", "I": "i"}


def read_pcd(path: Path) -> Arrays:
    """The measured points of a file with their colours and normals. Raises MediaError, ValueError, KeyError."""
    header, data = _split(path.read_bytes())
    names, count = header["FIELDS"], int(header.get("POINTS", header.get("WIDTH", ["0"]))[0])
    each = [int(n) for n in header.get("COUNT", ["1"] * len(names))]
    columns = zip(names, header["TYPE"], header["SIZE"], each, strict=True)
    record = np.dtype(
        [(f"{name}/{i}", f"<{KINDS[kind]}{size}", (n,)) for i, (name, kind, size, n) in enumerate(columns)]
    )
    stored = header["DATA"][0]
    if stored == "ascii":
        table = _from_text(data, record, count)
    elif stored == "binary":
        table = np.frombuffer(_of_length(data, count * record.itemsize), record)
    elif stored == "binary_compressed":
        table = _from_columns(data, record, count)
    else:
        raise MediaError(f"has data of an unknown kind '{stored}'")
    fields = {str(name).split("/")[0]: table[name][:, 0] for name in record.names or ()}
    missing = [axis for axis in "xyz" if axis not in fields]
    if missing:
        raise MediaError(f"has no field '{missing[0]}'; it has {', '.join(names)}")
    points = np.stack([fields[axis] for axis in "xyz"], axis=1)
    measured = np.isfinite(points).all(axis=1)
    axes = ("normal_x", "normal_y", "normal_z")
    normals = np.stack([fields[axis] for axis in axes], axis=1)[measured] if set(axes) <= set(fields) else None
    packed = fields.get("rgb", fields.get("rgba"))
    return Arrays(points[measured], None if packed is None else _unpacked(packed)[measured], normals)


def _split(content: bytes) -> tuple[dict[str, list[str]], bytes]:
    """The header's entries, up to and with DATA, and what follows."""
    header, place = {}, 0
    while "DATA" not in header:
        end = content.find(b"\n", place)
        if end < 0:
            raise MediaError("has no line DATA; the file is truncated or no PCD file")
        line = content[place:end].decode("ascii").split("#")[0].split()
        place = end + 1
        if line:
            header[line[0].upper()] = line[1:]
    return header, content[place:]


def _of_length(data: bytes, length: int) -> bytes:
    if len(data) < length:
        raise MediaError(f"has {len(data)} of {length} bytes of data; the file is truncated")
    return data[:length]


def _from_text(data: bytes, record: np.dtype[Any], count: int) -> NDArray[Any]:
    rows = np.loadtxt(data.decode("ascii").splitlines(), dtype=np.float64, ndmin=2)
    if len(rows) < count:
        raise MediaError(f"has {len(rows)} of {count} points; the file is truncated")
    table, column = np.zeros(count, record), 0
    for name in record.names or ():
        kind, shape = record[name].subdtype or (record[name], (1,))
        table[name] = rows[:count, column : column + shape[0]].astype(kind)
        column += shape[0]
    return table


def _from_columns(data: bytes, record: np.dtype[Any], count: int) -> NDArray[Any]:
    """Compressed data: two sizes, then all values of the first field, all of the second and so on."""
    small, large = np.frombuffer(_of_length(data, 8), "<u4")
    unpacked = _of_length(lzf_decompress(_of_length(data[8:], int(small)), int(large)), count * record.itemsize)
    table, place = np.zeros(count, record), 0
    for name in record.names or ():
        kind, shape = record[name].subdtype or (record[name], (1,))
        size = kind.itemsize * shape[0] * count
        table[name] = np.frombuffer(unpacked[place : place + size], kind).reshape(count, shape[0])
        place += size
    return table


def lzf_decompress(data: bytes, length: int) -> bytes:
    """Marc Lehmann's LZF: a byte below 32 is followed by so many literals and one; else its upper 3 bits (7: and the
    next byte) are the length less 2, and its lower 5 with the next byte the distance less 1, of a repetition.

    Raises MediaError where that does not give `length` bytes.
    """
    out, place = bytearray(), 0
    try:
        while place < len(data):
            control = data[place]
            place += 1
            if control < 32:
                out += data[place : place + control + 1]
                place += control + 1
                continue
            run = control >> 5
            if run == 7:
                run += data[place]
                place += 1
            start = len(out) - ((control & 31) << 8) - data[place] - 1
            place += 1
            if start < 0:
                raise IndexError
            run += 2
            repeated = out[start : start + run]
            # A repetition may reach into what it writes itself.
            out += (repeated * (run // len(repeated) + 1))[:run]
    except IndexError:
        raise MediaError("its compressed data are broken; the file is truncated") from None
    if len(out) != length:
        raise MediaError(f"its compressed data give {len(out)} of {length} bytes; the file is truncated")
    return bytes(out)


def _unpacked(packed: NDArray[Any]) -> NDArray[np.uint8]:
    """Red, green and blue (N, 3) of 4-byte values; a float holds the same bits."""
    if packed.dtype.itemsize != 4:
        raise MediaError(f"its colours have {packed.dtype.itemsize} bytes instead of 4")
    bits = np.ascontiguousarray(packed).view("<u4")
    return np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], axis=1).astype(np.uint8)
