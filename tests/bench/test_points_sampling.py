"""The bench of whole completions: what it asks for and tells."""

from pathlib import Path

import torch

from multidiff.bench import points_sampling, steps
from multidiff.bench.points_sampling import Row
from tests.tiny import tiny_model


def test_completions_of_so_many_points_are_made_and_timed(tiny_codec: Path) -> None:
    model = tiny_model("points", tiny_codec)
    found = list(points_sampling.rows(model, [(64, 2), (64, 1), (512, 1)]))
    assert [(row.points, row.count) for row in found] == [(64, 2), (64, 1), (512, 1)]
    part = points_sampling.trials(points_sampling.synth.shape(4)[0], 0)[0].given
    for row in found:
        assert len(part) < row.made <= len(part) + row.points
        assert row.seconds > 0 <= row.memory
    assert found[2].made > found[1].made == found[0].made


def test_how_time_grows_is_told_of_single_completions(tiny_codec: Path) -> None:
    rows = [Row(100, 4, 300, 9.0, 12.4), Row(100, 1, 300, 1.0, 7.0), Row(400, 1, 600, 8.0, 9.0)]
    lines = list(points_sampling.markdown(tiny_model("points", tiny_codec), iter(rows)))
    assert lines[2] == "| 100 | 4 | 300 | 9 | 2.25 | 12 |"
    assert "From 100 to 400 points the seconds of one completion grow as points^1.50." in lines[-1]


def test_on_one_thread_the_seconds_are_the_process_s_own() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert steps.clock() is steps.process_time
        torch.set_num_threads(2)
        assert steps.clock() is steps.perf_counter
    finally:
        torch.set_num_threads(before)
