"""Tiny models of all media under the shipped models' names, and the command line as a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from multidiff import weights
from multidiff.cli import main
from tests.tiny import RECIPES, given, save_codec, tiny_model

SUFFIX = {"sfx": "wav", "clips": "mp4", "shapes": "ply"}
"""model -> its medium's first format."""


class Result(NamedTuple):
    """What a command left: its exit code and what it said."""

    code: int
    out: str
    err: str

    @property
    def paths(self) -> list[Path]:
        """What was made, by the lines of stdout."""
        return [Path(line) for line in self.out.splitlines()]

    def is_refused(self, code: int, *words: object, notes: int = 0) -> bool:
        """Whether it ended with one line on stderr that holds all of the words, and nothing else was said but `notes`
        lines of notes before."""
        assert self.code == code, self
        assert self.out == "", self
        *said, error = self.err.splitlines()
        assert len(said) == notes, self
        assert all(line.startswith("note: ") for line in said), self
        assert error.startswith("error: "), self
        assert "fault of multidiff" not in error, self
        assert all(str(word) in error for word in words), self
        return True


Run = Callable[..., Result]


@pytest.fixture(scope="session")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like assets/, with models called sfx, clips and shapes."""
    root = tmp_path_factory.mktemp("assets")
    codec = save_codec(root / "codec")
    for medium, name in RECIPES.items():
        tiny_model(medium, codec).save(root / "models" / name)
    return root


@pytest.fixture
def run(assets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line, in an empty folder."""
    monkeypatch.setattr(weights, "ASSETS", assets)
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Result(int(caught.value.code or 0), said.out, said.err)

    return call


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """One good file for each model."""
    kinds = {"sfx": ("audio", "wav"), "clips": ("video", "mkv"), "shapes": ("points", "ply")}
    return {model: given(medium).save(tmp_path / f"in.{suffix}") for model, (medium, suffix) in kinds.items()}
