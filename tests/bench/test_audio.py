import math

import pytest
import torch

from multidiff.bench import audio, meter
from multidiff.bench.meter import MIB, Built

SMALL = [part for part in audio.PARTS if part.needs == "torch" and part.name != audio.LARGE]


def ballast() -> Built:
    """64 MiB while it runs, beside a million parameters."""
    return Built(lambda: torch.ones(16 * MIB).sum(), parameters=MIB)


def test_memory_is_that_of_weights_and_of_a_run():
    assert 66 < meter.memory(ballast) < 80


def test_the_least_of_at_least_two_turns_counts():
    turns = []
    least = meter.seconds([lambda: turns.append("a"), lambda: turns.append("b")], budget=0.0)
    assert turns == ["a", "b", "a", "b"]
    assert all(0 < each < 1 for each in least)


@pytest.fixture
def without_memory(monkeypatch):
    """A process for each part takes seconds."""
    monkeypatch.setattr(meter, "memory", lambda build: math.nan)


def test_every_piece_of_our_work_has_a_row(without_memory):
    found = list(audio.rows(SMALL, budget=0.0))
    assert [(row.work, row.name) for row in found] == [(part.work, part.name) for part in SMALL]
    assert all(0 < row.seconds < math.inf for row in found)
    by_work = {row.work: row for row in found}
    assert by_work[audio.REQUEST].parameters > by_work[audio.TEXT].parameters + by_work[audio.STEP].parameters
    assert len(list(audio.markdown(iter(found)))) >= len(found) + 3


def test_audioldm_takes_the_sum_of_its_parts(monkeypatch, without_memory):
    def part(work: str, name: str) -> audio.Part:
        return audio.Part(work, name, lambda: Built(lambda: None, parameters=MIB))

    monkeypatch.setattr(meter, "seconds", lambda runs, budget: [1.0] * len(runs))
    monkeypatch.setattr(meter, "memory", lambda build: 4.0 + 2.0)
    works = audio.TEXT, audio.STEP, audio.DECODE, audio.VOCODE
    *_, few, many = audio.rows([part(work, name) for work in works for name in (audio.OURS, "peer")])
    assert (few.seconds, many.seconds) == (3 + audio.STEPS, 3 + audio.DDIM_STEPS)
    assert (few.parameters, few.memory) == (4 * MIB, 4 * 4.0 + 2.0)


@pytest.mark.slow
@pytest.mark.parametrize("part", [part for part in audio.PARTS if part not in SMALL], ids=lambda part: part.name)
def test_peers_and_the_large_size_do_the_same_work(part):
    pytest.importorskip(part.needs)
    with torch.no_grad():
        assert part.build().run() is not None
