"""Few threads, because tests run beside others; torchaudio's stand-in before anything imports torchaudio."""

import math
from pathlib import Path

import pytest
import torch

from multidiff.torchaudio_door import import_torchaudio

torch.set_num_threads(1)
import_torchaudio()


@pytest.fixture(scope="session")
def tiny_codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of an untrained audio codec, for `tests.tiny`."""
    from tests.tiny import save_codec

    return save_codec(tmp_path_factory.mktemp("codec"))


@pytest.fixture
def untrained_may_be_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """How large the values of an untrained network are says nothing; only infinity and NaN count as diverged."""
    monkeypatch.setattr("multidiff.model.FAR", math.inf)
