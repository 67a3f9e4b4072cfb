"""What a file of points holds, before anything is checked."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray


class Arrays(NamedTuple):
    """points (N, 3), colors (N, 3), normals (N, 3) and confidence (N,), as a file holds them; not yet checked."""

    points: NDArray[Any]
    colors: NDArray[Any] | None = None
    normals: NDArray[Any] | None = None
    confidence: NDArray[Any] | None = None
