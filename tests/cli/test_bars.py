"""Sounds of so many bars, exact to the sample."""

from pathlib import Path

import pytest
import soundfile

from tests.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("untrained_may_be_far")


@pytest.mark.parametrize("more", [(), ("--loop",), ("--format", "flac")])
@pytest.mark.parametrize(("bars", "bpm"), [(1, 250), (1, 187.5), (2, 399)])
def test_a_file_has_the_exact_number_of_samples(run: Run, bars: int, bpm: float, more: tuple[str, ...]) -> None:
    (path,) = run("sample", "sfx", "drums", "--bars", bars, "--bpm", bpm, "--steps", 1, *more).paths
    assert soundfile.info(path).frames == round(bars * 4 * 60 / bpm * 22050)
    (again,) = run("sample", "--from", path, "-o", "again").paths
    assert again.read_bytes() == path.read_bytes()


def test_a_file_is_extended_by_exact_bars(run: Run, files: dict[str, Path]) -> None:
    before = soundfile.info(files["sfx"])
    asked = ("--prompt", "drums at 250 bpm", "--bars", 1, "--steps", 1)
    (path,) = run("complete", "sfx", files["sfx"], *asked).paths
    assert soundfile.info(path).frames == before.frames + round(4 * 60 / 250 * before.samplerate)
    (again,) = run("sample", "--from", path, "-o", "again").paths
    assert again.read_bytes() == path.read_bytes()


def test_contradictions_on_the_command_line_are_one_clear_error(run: Run) -> None:
    assert run("sample", "sfx", "drums", "--bars", 1, "--bpm", 120, "--seconds", 1).is_refused(2, "contradict bars")
    assert run("sample", "sfx", "drums at 120 bpm", "--bpm", 90).is_refused(2, "contradicts the prompt's 120 bpm")
    assert run("sample", "shapes", "a chair", "--bars", 2).is_refused(2, "no option 'bars'")
