"""PCD files, written here by the specification."""

import struct
from pathlib import Path

import numpy as np
import pytest

from multidiff.errors import MediaError
from multidiff.points.media import PointCloud
from multidiff.points.pcd import lzf_decompress

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(200, 3)).astype(np.float32)
COLORS = RNG.integers(0, 256, (200, 3)).astype(np.uint8)
NORMALS = (POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)).astype(np.float32)
BITS = np.array([r << 16 | g << 8 | b for r, g, b in COLORS.astype(np.uint32)], np.uint32)
FIELDS = "x y z rgb normal_x normal_y normal_z curvature"


def header(data: str, fields: str = FIELDS, kinds: str = "F F F U F F F F", points: int = 200) -> bytes:
    sizes = " ".join("4" for _ in fields.split())
    lines = ["# .PCD v0.7 - Point Cloud Data file format", "VERSION 0.7", f"FIELDS {fields}", f"SIZE {sizes}"]
    lines += [f"TYPE {kinds}", f"WIDTH {points}", "HEIGHT 1", "VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {points}"]
    return "\n".join([*lines, f"DATA {data}", ""]).encode()


def columns() -> list[np.ndarray]:
    return [*POINTS.T, BITS, *NORMALS.T, np.zeros(200, np.float32)]


def lzf(data: bytes) -> bytes:
    """A simple compressor: the nearest earlier occurrence of the next three bytes, at least three bytes away or not."""
    out, pending, place = bytearray(), bytearray(), 0

    def flush() -> None:
        for start in range(0, len(pending), 32):
            block = pending[start : start + 32]
            out.append(len(block) - 1)
            out.extend(block)
        pending.clear()

    while place < len(data):
        found = data.rfind(data[place : place + 3], max(0, place - 8191), place + 2) if place + 3 <= len(data) else -1
        if found < 0:
            pending.append(data[place])
            place += 1
            continue
        run = 3
        while place + run < len(data) and run < 264 and data[found + run] == data[place + run]:
            run += 1
        flush()
        distance, size = place - found - 1, run - 2
        out.extend([min(size, 7) << 5 | distance >> 8] + ([size - 7] if size >= 7 else []) + [distance & 255])
        place += run
    flush()
    return bytes(out)


def as_ascii() -> bytes:
    rows = [
        " ".join(f"{v:.9g}" if c != 3 else str(int(v)) for c, v in enumerate(row))
        for row in zip(*columns(), strict=True)
    ]
    return header("ascii") + "\n".join(rows).encode() + b"\n"


def as_binary() -> bytes:
    return header("binary") + b"".join(struct.pack("<3fI4f", *row) for row in zip(*columns(), strict=True))


def as_compressed() -> bytes:
    raw = b"".join(column.tobytes() for column in columns())
    packed = lzf(raw)
    return header("binary_compressed") + struct.pack("<2I", len(packed), len(raw)) + packed


@pytest.mark.parametrize("content", [as_ascii(), as_binary(), as_compressed()], ids=["ascii", "binary", "compressed"])
def test_points_colours_and_normals_are_read_from_every_kind_of_data(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pcd").write_bytes(content)
    cloud = PointCloud.read(tmp_path / "a.pcd")
    np.testing.assert_array_equal(cloud.points, POINTS)
    np.testing.assert_array_equal(cloud.colors, COLORS)
    np.testing.assert_array_equal(cloud.normals, NORMALS)


def test_colours_that_claim_to_be_floats_are_the_same_bits(tmp_path: Path) -> None:
    rows = b"".join(struct.pack("<3fI", *row) for row in zip(*POINTS.T, BITS, strict=True))
    (tmp_path / "a.pcd").write_bytes(header("binary", "x y z rgb", "F F F F") + rows)
    np.testing.assert_array_equal(PointCloud.read(tmp_path / "a.pcd").colors, COLORS)


def test_points_without_a_measurement_are_left_out(tmp_path: Path) -> None:
    holes = POINTS.copy()
    holes[::4, 1] = np.nan
    (tmp_path / "a.pcd").write_bytes(header("binary", "x y z", "F F F") + holes.tobytes())
    np.testing.assert_array_equal(PointCloud.read(tmp_path / "a.pcd").points, POINTS[np.arange(200) % 4 > 0])


def test_fields_of_several_values_are_passed_over(tmp_path: Path) -> None:
    head = header("binary", "descriptor x y z", "F F F F").replace(b"WIDTH", b"COUNT 5 1 1 1\nWIDTH")
    rows = np.concatenate([RNG.normal(size=(200, 5)), POINTS], axis=1).astype("<f4")
    (tmp_path / "a.pcd").write_bytes(head + rows.tobytes())
    np.testing.assert_array_equal(PointCloud.read(tmp_path / "a.pcd").points, POINTS)


@pytest.mark.parametrize("data", [b"", b"abc", b"abc" * 500, bytes(1000), RNG.bytes(3000), b"a" * 270 + b"b"])
def test_lzf_is_undone(data: bytes) -> None:
    assert lzf_decompress(lzf(data), len(data)) == data


BROKEN = {
    "cut binary": (as_binary()[:-10], "truncated"),
    "cut ascii": (as_ascii()[:-900], "truncated"),
    "cut compressed": (as_compressed()[:-10], "truncated"),
    "wrong size": (header("binary_compressed") + struct.pack("<2I", 4, 6400) + b"\x02abc", "3 of 6400 bytes"),
    "outside": (header("binary_compressed") + struct.pack("<2I", 2, 6400) + b"\x20\x05", "broken"),
    "no data": (b"# .PCD v0.7\nVERSION 0.7\nFIELDS x y z\n", "no line DATA"),
    "other data": (header("zip"), "unknown kind 'zip'"),
    "no z": (header("binary", "x y w", "F F F") + POINTS.tobytes(), "no field 'z'"),
    "no fields": (b"VERSION 0.7\nPOINTS 3\nDATA ascii\n1 2 3\n", "FIELDS"),
    "a picture": (b"\x89PNG\r\n" + bytes(200), "another kind"),
    "missing type": (header("ascii", kinds="F F"), "another kind"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_one_clear_line(tmp_path: Path, name: str) -> None:
    content, fault = BROKEN[name]
    (tmp_path / "a.pcd").write_bytes(content)
    with pytest.raises(MediaError) as caught:
        PointCloud.read(tmp_path / "a.pcd")
    assert str(caught.value).startswith(str(tmp_path / "a.pcd"))
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)
