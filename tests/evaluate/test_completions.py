"""Completions evaluated: figures of each kind of trial beside simpler ways, a report and a page."""

import json
from pathlib import Path

import pytest

from multidiff.errors import InputError
from multidiff.evaluate import evaluate_completion
from multidiff.modality import Looping
from tests.evaluate.sets import shapes, sounds
from tests.tiny import tiny_model


def test_completions_are_measured_beside_floor_and_baselines(tiny_codec: Path, tmp_path: Path) -> None:
    model = tiny_model("points", tiny_codec)
    told: list[tuple[int, int]] = []
    report = evaluate_completion(
        model,
        "complete",
        shapes(tmp_path / "data"),
        tmp_path / "out",
        hypotheses=2,
        progress=lambda *step: told.append(step),
        steps=2,
    )
    assert told == [(i, 4) for i in range(1, 5)]
    assert (report.count, report.hypotheses, report.captions, report.steps) == (4, 2, False, 2)
    assert set(report.figures) == {"view", "crop"}
    for rows in report.figures.values():
        assert next(iter(rows)) == "completed"
        assert "part + retrieved shape" in rows
        assert rows["completed"]["cd_l1_best"] < rows["completed"]["cd_l1"]
        assert rows["completed"]["tmd"] > 0
    assert "| part alone |" in report.table()
    assert json.loads((tmp_path / "out" / "report.json").read_text())["figures"] == report.figures
    assert "crop: a &lt;i&gt;chair&lt;/i&gt;" in (tmp_path / "out" / "index.html").read_text()
    assert (tmp_path / "out" / "view_03_truth.png").stat().st_size > 1000


@pytest.mark.parametrize("task", ["denoise", "super-resolution"])
def test_restorations_stand_beside_what_was_given(task: str, tiny_codec: Path, tmp_path: Path) -> None:
    data = sounds(tmp_path / "data", seconds=0.3)
    model = tiny_model("audio", tiny_codec)
    report = evaluate_completion(model, task, data, tmp_path / "out", 4, 1, steps=1)
    assert list(report.figures[task]) == ["completed", "given"]
    assert report.figures[task]["given"]["lsd"] > 1


def test_long_continuations_are_followed_window_by_window(tiny_codec: Path, tmp_path: Path) -> None:
    data = sounds(tmp_path / "data", seconds=4.1)
    model = tiny_model("audio", tiny_codec, "data.seconds=5.0")
    report = evaluate_completion(model, "extend", data, tmp_path / "out", 4, 1, trial={"extend": 6.0}, steps=1)
    assert report.trials == {"long": 4}
    assert list(report.figures["long"]["completed"]) == ["0-4 s", "4-8 s", "drift", "seam"]
    assert report.figures["long"]["repeated"]["drift"] < 0.5
    assert "4 items, 1 completions of each" in report.table()


def test_options_under_which_nothing_can_be_measured_are_refused(tiny_codec: Path, tmp_path: Path) -> None:
    sfx, shapes_model = tiny_model("audio", tiny_codec, "data.seconds=5.0"), tiny_model("points", tiny_codec)
    data = sounds(tmp_path / "data", seconds=1.0)

    def asked(task: str, **trial: float) -> None:
        evaluate_completion(sfx, task, data, tmp_path / "out", 4, 1, trial=trial, steps=1)

    with pytest.raises(InputError, match="fill takes no 'extend', but extend does"):
        asked("fill", extend=2.0)
    with pytest.raises(InputError, match="seconds to append, or their own options, not extend=-2"):
        asked("extend", extend=-2.0)
    with pytest.raises(InputError, match="none of 4 items is fit for a trial of 'extend'"):
        asked("extend", extend=2.0)
    clouds = shapes(tmp_path / "shapes")
    with pytest.raises(InputError, match="options of their own"):
        evaluate_completion(shapes_model, "complete", clouds, tmp_path / "out", trial={"known": 16}, steps=1)


def test_completions_that_cannot_be_measured_are_refused(
    tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="'complete'"):
        evaluate_completion(tiny_model("points", tiny_codec), "complet", ("synth",), tmp_path / "out")
    model = tiny_model("video", tiny_codec, "data.count=80")
    with pytest.raises(InputError, match="at least 11 x 11 pixels, not 8 x 8"):
        evaluate_completion(model, "predict", ("synth",), tmp_path / "out")
    monkeypatch.setattr("multidiff.evaluate.completions.Completing", Looping)  # which no modality is
    with pytest.raises(InputError, match="completions of video are not measured"):
        evaluate_completion(model, "predict", ("synth",), tmp_path / "out")
