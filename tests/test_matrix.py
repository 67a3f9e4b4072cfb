"""Law 3: every sampler works with every schedule, parameterization, medium and task, under guidance.

The usual run takes every (schedule, sampler, medium, task), and every (schedule, parameterization, sampler) on the
quickest medium; `make test-slow` takes the whole product.
"""

from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multidiff.core import PARAMETERIZATIONS, SAMPLERS, SCHEDULES, make
from multidiff.errors import RecipeError
from multidiff.model import Model
from tests.tiny import RECIPES, TASKS, Words, given, tiny_model, values

pytestmark = pytest.mark.usefixtures("untrained_may_be_far")

STEPS = 4
"""So few steps that third-order multistep reaches its order once."""
JOBS = [(medium, job) for medium in RECIPES for job in ("generate", "edit", *TASKS[medium])]
ENDLESS = [name for name in SCHEDULES if make(SCHEDULES, name).alpha(torch.ones(())) == 0]
REFUSED = set(product(ENDLESS, ("noise", "score")))
"""At alpha = 0, where these schedules begin, a prediction of the noise says nothing of the data."""


@pytest.fixture
def in_model_space(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Every x that is decoded: media cannot tell that their samples were NaN."""
    seen: list[torch.Tensor] = []
    decode = Model._decode

    def spy(self: Model, x: torch.Tensor, *rest: Any) -> list[Any]:
        seen.append(x)
        return decode(self, x, *rest)

    monkeypatch.setattr(Model, "_decode", spy)
    return seen


@cache
def build(codec: Path, medium: str, schedule: str = "cosine", parameterization: str = "velocity") -> Model:
    model = tiny_model(medium, codec, f"diffusion={{schedule: {schedule}, parameterization: {parameterization}}}")
    model.text = Words()
    return model


def made(model: Model, medium: str, job: str, sampler: str, count: int = 1, seed: int = 0) -> list[Any]:
    """Media of one cell of the matrix."""
    asked = {"count": count, "seed": seed, "sampler": sampler, "steps": STEPS, "guidance": 2.0}
    if job == "generate":
        return model.sample("a dog", **asked)
    if job == "edit":
        return model.edit(given(medium), "a dog", **asked)
    return model.complete(given(medium), job, prompt="a dog", **asked, **TASKS[medium][job])


def extent(medium: str, job: str) -> int | None:
    """Samples, frames or points that a job must make; None where the result decides (points already covered)."""
    size = {"audio": 6000, "video": 4, "points": 40}[medium]
    generated = {"audio": round(0.25 * 22050), "video": 4, "points": 24}[medium]
    longer = {"extend": size + 2205, "predict": 6, "slow-motion": 7, "upsample": 64}
    return {"generate": generated, "complete": None, "region": None, **longer}.get(job, size)


def known_part(medium: str, job: str, media: Any) -> Any:
    """The part of a completed whole that was given, or nothing."""
    whole = values(media)
    if medium == "audio":
        # The crossfade takes 20 ms on each side of the gap.
        return {"fill": np.delete(whole, slice(1760, 4855), 1)[:, :2900], "extend": whole[:, :5555]}.get(job)
    if job == "slow-motion":
        return whole[:: (len(whole) - 1) // 3]
    if job == "region":  # those that lie outside the box come first
        return whole[whole[:, 0] < 0]
    kept = {"predict": whole[:4], "interpolate": whole[[0, -1]], "complete": whole[:40], "upsample": whole[:40]}
    return kept.get(job)


def check(model: Model, medium: str, job: str, sampler: str, in_model_space: list[torch.Tensor]) -> None:
    """One cell: finite, as long as asked, what was given still there."""
    cell = f"{medium} {job} {sampler} {model.recipe.diffusion}"
    (whole,) = made(model, medium, job, sampler)
    assert in_model_space.pop().isfinite().all(), cell
    size = values(whole).shape[1 if medium == "audio" else 0]
    assert extent(medium, job) in (size, None), cell
    kept = known_part(medium, job, whole)
    if kept is not None:
        np.testing.assert_array_equal(kept, known_part(medium, job, given(medium)), err_msg=cell)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("medium", "job"), JOBS, ids=["-".join(job) for job in JOBS])
def test_every_sampler_does_every_task_under_every_schedule(
    tiny_codec: Path, in_model_space: list[torch.Tensor], medium: str, job: str, schedule: str
) -> None:
    # Parameterizations take turns, so that each meets every sampler and every schedule.
    allowed = [name for name in PARAMETERIZATIONS if (schedule, name) not in REFUSED]
    first = list(SCHEDULES).index(schedule)
    for number, sampler in enumerate(SAMPLERS):
        model = build(tiny_codec, medium, schedule, allowed[(first + number) % len(allowed)])
        check(model, medium, job, sampler, in_model_space)


@pytest.mark.parametrize(
    ("medium", "job"),
    [pytest.param(*job, marks=() if job == ("points", "generate") else pytest.mark.slow) for job in JOBS],
    ids=["-".join(job) for job in JOBS],
)
@pytest.mark.parametrize(("schedule", "parameterization"), [*product(SCHEDULES, PARAMETERIZATIONS)])
def test_every_sampler_works_under_every_diffusion(
    tiny_codec: Path, in_model_space: list[torch.Tensor], medium: str, job: str, schedule: str, parameterization: str
) -> None:
    if (schedule, parameterization) in REFUSED:
        with pytest.raises(RecipeError, match=r"diffusion: .* alpha = 0; predict velocity, flow or data"):
            build(tiny_codec, medium, schedule, parameterization)
        return
    for sampler in SAMPLERS:
        check(build(tiny_codec, medium, schedule, parameterization), medium, job, sampler, in_model_space)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("medium", "job"), JOBS, ids=["-".join(job) for job in JOBS])
def test_a_seed_means_one_result_alone_or_among_others(tiny_codec: Path, medium: str, job: str, sampler: str) -> None:
    model = build(tiny_codec, medium)
    first, second = made(model, medium, job, sampler, count=2, seed=6)
    np.testing.assert_array_equal(values(made(model, medium, job, sampler, seed=7)[0]), values(second))
    # What is denoised has no other noise than its own, which only stochastic samplers add to.
    assert job == "denoise" or not np.array_equal(values(first), values(second))
