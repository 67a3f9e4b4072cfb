"""Codecs evaluated alone: each way there and back beside the files themselves."""

import json
from pathlib import Path

import pytest

from multidiff import weights
from multidiff.errors import InputError
from multidiff.evaluate import evaluate_codec
from tests.evaluate.sets import sounds
from tests.tiny import tiny_model

WAYS = ["vocoder", "Griffin-Lim", "autoencoder + vocoder", "autoencoder + Griffin-Lim"]


def test_a_codec_without_a_denoiser_is_measured(tiny_codec: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    report = evaluate_codec(
        weights.load(tiny_codec, "cpu"),
        sounds(tmp_path / "data"),
        tmp_path / "out",
        count=4,
        progress=lambda *step: told.append(step),
    )
    assert told == [(i, 4) for i in range(1, 5)]
    assert list(report.figures) == [*WAYS, "real"]
    for way in WAYS:
        found = report.figures[way]
        assert {"lsd", "mr_stft", "mel_l1", "times_real_time", "class_accuracy"} <= found.keys()
        assert found["lsd"] > 0
        assert found["times_real_time"] > 0
    assert report.figures["Griffin-Lim"]["mel_l1"] < report.figures["autoencoder + Griffin-Lim"]["mel_l1"]
    assert "lsd" not in report.figures["real"]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["figures"] == report.figures
    assert "thread" in report.table()
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.index("00_real.png") < page.index("00_autoencoder-+-vocoder.png") < page.index("01_real.png")


def test_what_has_no_codec_that_loses_anything_is_refused(tiny_codec: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="what the codec of points loses is not measured"):
        evaluate_codec(tiny_model("points", tiny_codec), ("synth",), tmp_path / "out")
    with pytest.raises(InputError, match="a tagger listens to sounds"):
        evaluate_codec(weights.load("classifier", "cpu"), sounds(tmp_path / "data"), tmp_path / "out")
