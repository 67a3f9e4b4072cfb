"""Contact sheets are pictures another program opens, with crisp frames in their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multidiff.errors import MultidiffError
from multidiff.video.media import Video
from multidiff.video.plot import contact_sheet
from multidiff.video.synth import scene


def test_a_sheet_shows_every_frame_enlarged_and_crisp(tmp_path: Path) -> None:
    video = scene(9).render()
    sheet = np.array(Image.open(contact_sheet(video, tmp_path / "sheet.png", scene(9).text)))
    assert sheet.shape[1] > 8 * 128
    for frame in (video.frames[0], video.frames[15]):
        doubled = frame.repeat(2, 0).repeat(2, 1)
        windows = np.lib.stride_tricks.sliding_window_view(sheet, (1, 128, 3))[:, :, 0, 0]
        rows = (windows == doubled[64]).all((2, 3))
        assert rows.any()


@pytest.mark.parametrize(
    ("frames", "height", "width"), [(1, 64, 64), (3, 33, 51), (100, 16, 16), (20, 300, 700), (5, 4, 400)]
)
def test_any_length_and_shape_fits(tmp_path: Path, frames: int, height: int, width: int) -> None:
    video = Video(np.full((frames, height, width, 3), 77, np.uint8), 8)
    title = "a very long caption that goes on and on until it has to be broken into lines " * 2
    with Image.open(contact_sheet(video, tmp_path / "sheet.png", title)) as image:
        assert image.format == "PNG"
        assert max(image.size) < 2000


def test_a_sheet_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(MultidiffError, match="cannot be written"):
        contact_sheet(scene(0).render(), tmp_path / "no" / "sheet.png")
    assert not list(tmp_path.iterdir())
