"""Our optical flow beside that of pysteps, on fields whose motion is known; only where pysteps is installed."""

import numpy as np
import pytest

from multidiff.video import nowcast
from multidiff.video.advection import advected
from multidiff.video.media import Video
from multidiff.video.metrics import copy_last
from multidiff.video.trials import completion_metrics, trials
from tests.video.moving import drifting

pytestmark = pytest.mark.skipif(not nowcast.installed(), reason="pysteps is not installed")


def error(made: Video, truth: Video) -> float:
    """Of the middle, where nothing has come in from outside."""
    inner = np.s_[:, 12:-12, 12:-12]
    return float(np.square(made.frames[inner].astype(float) - truth.frames[inner]).mean())


@pytest.mark.parametrize(("down", "right"), [(1.5, -1.0), (0.0, 2.0), (-0.7, 0.4)])
def test_both_go_on_as_a_drifting_field_does_and_ours_is_no_worse(down: float, right: float) -> None:
    whole = drifting(9, down, right, size=64)
    known, truth = Video(whole.frames[:4], 8), Video(whole.frames[4:], 8)
    ours, theirs, still = (way(known, 5) for way in (advected, nowcast.extrapolated, copy_last))
    assert error(ours, truth) < error(still, truth) / 10
    assert error(theirs, truth) < error(still, truth) / 10
    assert error(ours, truth) < 1.5 * error(theirs, truth)


def test_what_comes_from_outside_is_empty_and_an_empty_field_stays_so() -> None:
    whole = drifting(4, 0, 3, size=64)
    made = nowcast.extrapolated(whole, 4)
    assert (made.frames[-1][:, :8] == whole.frames[-1].min()).all()
    empty = Video(np.zeros((4, 32, 32, 3), np.uint8))
    assert not nowcast.extrapolated(empty, 2).frames.any()


def test_it_is_a_row_of_predictions_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    y, x = np.indices((48, 48))
    blob = [np.exp(-((y - 24) ** 2 + (x - 12 - 2 * t) ** 2) / 50) for t in range(8)]
    whole = Video(np.round(255 * np.array(blob)).astype(np.uint8)[..., None].repeat(3, -1))
    rows = completion_metrics([trials(whole, "predict")[0]], [[whole]], [])
    assert rows["pysteps"]["psnr"] > rows["persistence"]["psnr"] + 6
    assert capsys.readouterr().out == ""
