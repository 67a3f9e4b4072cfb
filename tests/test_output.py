"""What a run leaves behind: names, sidecars and the index page."""

import json
from pathlib import Path
from typing import Any

import pytest

from multidiff import output
from multidiff.errors import InputError


def record(seed: int = 1, weights: str = "w") -> dict[str, Any]:
    return {"job": {"model": "sfx", "prompt": "a dog", "seed": seed}, "made": {"weights": weights}}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A dog, barking!", "a-dog-barking"),
        ("../../etc/passwd", "etc-passwd"),
        ("  ", ""),
        ("\u72ac", ""),
        ("\u00e9t\u00e9 2", "ete-2"),
        ("one two three", "one-two"),
        ("x" * 50, "x" * 8),
    ],
)
def test_a_slug_is_safe_and_short(text: str, name: str) -> None:
    assert output.slug(text, longest=8 if len(text) == 13 or "x" in text else 40) == name


def test_the_same_thing_made_again_has_the_same_name_and_nothing_else_is_overwritten(tmp_path: Path) -> None:
    def free(**made: Any) -> str:
        return output.free_stem(tmp_path, "dog", record(**made), ["wav", "png"])

    assert free() == "dog"
    output.write_sidecar(tmp_path / "dog.wav", record())
    assert free() == "dog"
    assert free(seed=2) == "dog-2"
    assert free(weights="other") == "dog-2"
    output.write_sidecar(tmp_path / "dog-2.wav", record(seed=2))
    assert free(seed=2) == "dog-2"
    assert free(seed=3) == "dog-3"
    (tmp_path / "dog-3.png").write_text("somebody's picture")
    assert free(seed=3) == "dog-4"
    (tmp_path / "dog-4.json").write_text("[1]")
    assert free(seed=3) == "dog-5"


def test_a_sidecar_is_read_back_from_its_own_path_or_its_files(tmp_path: Path) -> None:
    output.write_sidecar(tmp_path / "a.wav", record() | {"files": ["a.wav"]})
    for name in ("a.json", "a.wav"):
        found = output.read_sidecar(tmp_path / name)
        assert found["job"] == record()["job"]
        assert found["files"] == ["a.wav"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("{", "not a sidecar of multidiff"),
        ("[1]", "no 'job' in it"),
        ('{"job": 3}', "no 'job' in it"),
        ('{"job": {}}', "sidecar format None; this version reads 1"),
        ('{"job": {}, "format": 2}', "sidecar format 2; this version reads 1"),
        ("[" * 100_000, "not a sidecar of multidiff"),
    ],
    ids=["empty", "cut", "list", "no job", "no format", "newer", "deep"],
)
def test_what_is_no_sidecar_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        output.read_sidecar(tmp_path / "a.json")
    assert "a.json" in str(caught.value)


def test_a_file_without_a_sidecar_says_which_one_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("x")
    with pytest.raises(InputError, match=r"a\.json: no such file"):
        output.read_sidecar(tmp_path / "a.wav")


def test_the_index_shows_every_sample_and_lets_nothing_out_of_its_text(tmp_path: Path) -> None:
    for name in ("a.wav", "a.png", "b.mp4", "c.glb"):
        (tmp_path / name).write_text("x")
    evil = {"job": {"prompt": "<script>alert(1)</script>", "seed": 1, "model": "m", "settings": {"steps": 4}}}
    output.write_sidecar(tmp_path / "a", evil | {"files": ["a.wav", "a.png", "gone.wav"]})
    output.write_sidecar(tmp_path / "b", record() | {"files": ["b.mp4"]})
    output.write_sidecar(tmp_path / "c", record() | {"files": ["c.glb"]})
    (tmp_path / "other.json").write_text(json.dumps({"somebody": "else's"}))
    page = output.write_index(tmp_path).read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert '<audio controls loop src="a.wav">' in page
    assert '<img src="a.png"' in page
    assert '<video controls loop src="b.mp4">' in page
    assert '<a href="c.glb">' in page
    assert "m, seed 1, 4 steps" in page
    assert "gone.wav" not in page
    assert page.count("<figure>") == 3


def test_an_index_page_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    assert output.write_index(tmp_path).read_text() == "mine"
    (tmp_path / "index.html").unlink()
    output.write_index(tmp_path)
    output.write_sidecar(tmp_path / "a", record())
    assert "a dog" in output.write_index(tmp_path).read_text()
