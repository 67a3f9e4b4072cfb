"""Ogg pages (RFC 3533, section 6): whether a stream is whole, and equal bytes for equal sounds."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

_END = 4
_HEADER = 27
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def ends_with_last_page(data: bytes) -> bool:
    """Whether the last page in `data` is whole and marked as the end of its stream."""
    start = data.rfind(b"OggS")
    if start < 0 or len(data) < start + _HEADER:
        return False
    return bool(data[start + 5] & _END) and start + _length(data, start) <= len(data)


def with_fixed_serial(data: bytes) -> bytes:
    """The same stream with serial number 1: libsndfile draws it from the clock."""
    pages = []
    for start, stop in _pages(data):
        page = bytearray(data[start:stop])
        page[14:18] = (1).to_bytes(4, "little")
        page[22:26] = bytes(4)
        page[22:26] = _checksum(page).to_bytes(4, "little")
        pages.append(page)
    return b"".join(pages)


def _pages(data: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(data):
        stop = start + _length(data, start)
        yield start, stop
        start = stop


def _length(data: bytes, start: int) -> int:
    """Bytes of the page at `start`: header, table of segments, segments."""
    table = data[start + _HEADER : start + _HEADER + data[start + 26]]
    return _HEADER + len(table) + sum(table)


def _checksum(page: bytes | bytearray) -> int:
    """CRC-32 with the usual polynomial, but bits not reversed and nothing inverted, which zlib's is."""
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)
