"""Trajectories of diffusers' schedulers in float64, where they are right, on a denoiser without error."""

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    UniPCMultistepScheduler,
)

from multidiff.core import SAMPLERS, make, states
from multidiff.core.denoiser import noise_estimate
from tests.core.exact import mixture, schedule

# diffusers reads a tensor through NumPy in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SCHEDULE = schedule("tabulated")
DENOISER = mixture(SCHEDULE)
STEPS = 20


def exact_levels(scheduler):
    """The scheduler with 20 steps and its tables in float64: theirs are float32."""
    levels = torch.arange(1, 1001, dtype=torch.float64) / 1000
    scheduler.alphas_cumprod = SCHEDULE.alpha(levels) ** 2
    scheduler.set_timesteps(STEPS)
    return scheduler


def times_of(scheduler):
    steps = torch.as_tensor(np.unique(scheduler.timesteps.numpy())).flip(0)
    return torch.cat([(steps.double() + 1) / 1000, torch.zeros(1, dtype=torch.float64)])


class Sequence:
    """Noise drawn from one generator in the order of the steps, as diffusers draws it."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(3)

    def __call__(self, step, stream=0):
        return torch.randn(6, 2, dtype=torch.float64, generator=self.generator)


def start():
    return torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def theirs(scheduler, **kwargs):
    x, out = start(), []
    for k in scheduler.timesteps:
        t = (k.double().expand(6) + 1) / 1000
        x0 = DENOISER(x, t).x0
        x = scheduler.step(noise_estimate(SCHEDULE, x, x0, t), k, x, **kwargs).prev_sample
        out.append(x)
    return torch.stack(out)


def ours(name, options, scheduler):
    run = states(DENOISER, make(SAMPLERS, name, options), times_of(scheduler), Sequence(), x=start())
    return torch.stack([state.x for state in run][1:])


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_walks_with_diffusers(eta, spacing):
    scheduler = exact_levels(DDIMScheduler(clip_sample=False, timestep_spacing=spacing))
    walk = theirs(scheduler, eta=eta, generator=Sequence().generator)
    torch.testing.assert_close(ours("ddim", {"eta": eta}, scheduler), walk, rtol=0, atol=1e-6)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm_walks_with_diffusers(variance):
    scheduler = exact_levels(
        DDPMScheduler(clip_sample=False, variance_type=f"fixed_{variance}", timestep_spacing="leading")
    )
    walk = theirs(scheduler, generator=Sequence().generator)
    torch.testing.assert_close(ours("ddpm", {"variance": variance}, scheduler), walk, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("order", "name", "options"),
    [
        (1, "dpm++", {}),
        (2, "dpm++2m", {"rule": "midpoint"}),
        (2, "dpm++2m", {"rule": "heun"}),
        (3, "dpm++3m", {"published": True}),
    ],
)
def test_dpm_solver_walks_with_diffusers(order, name, options):
    scheduler = exact_levels(
        DPMSolverMultistepScheduler(solver_order=order, solver_type=options.get("rule", "midpoint"))
    )
    times = times_of(scheduler)
    scheduler.sigmas = SCHEDULE.sigma(times) / SCHEDULE.alpha(times)
    torch.testing.assert_close(ours(name, options, scheduler), theirs(scheduler), rtol=0, atol=1e-6)


def test_third_order_differs_from_diffusers_by_the_factor_they_leave_out():
    scheduler = exact_levels(DPMSolverMultistepScheduler(solver_order=3))
    published, right = (ours("dpm++3m", {"published": p}, scheduler) for p in (True, False))
    torch.testing.assert_close(published[:2], right[:2])
    assert (published[2:] - right[2:]).abs().amax() > 1e-4


@pytest.mark.parametrize("order", [1, 2])
def test_sde_dpm_solver_walks_with_diffusers(order):
    scheduler = exact_levels(DPMSolverMultistepScheduler(solver_order=order, algorithm_type="sde-dpmsolver++"))
    times = times_of(scheduler)
    scheduler.sigmas = SCHEDULE.sigma(times) / SCHEDULE.alpha(times)
    walk = theirs(scheduler, generator=Sequence().generator)
    torch.testing.assert_close(ours("dpm++2m-sde", {"order": order}, scheduler), walk, rtol=0, atol=1e-6)


def test_heun_walks_with_diffusers():
    scheduler = exact_levels(HeunDiscreteScheduler())
    times = times_of(scheduler)
    sigmas = SCHEDULE.sigma(times) / SCHEDULE.alpha(times)
    scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    y, walk = start() / SCHEDULE.alpha(times[0]), []
    for i, k in enumerate(scheduler.timesteps):
        t = (k.double().expand(6) + 1) / 1000
        x = y * SCHEDULE.alpha(t)[:, None]
        y = scheduler.step(noise_estimate(SCHEDULE, x, DENOISER(x, t).x0, t), k, y).prev_sample
        if i % 2 == 1 or i == len(scheduler.timesteps) - 1:
            walk.append(y)
    expected = torch.stack(walk) * SCHEDULE.alpha(times[1:])[:, None, None]
    torch.testing.assert_close(ours("heun", {}, scheduler), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_walks_with_diffusers(order):
    scheduler = exact_levels(UniPCMultistepScheduler(solver_order=order, lower_order_final=False))
    times = times_of(scheduler)
    scheduler.sigmas = SCHEDULE.sigma(times) / SCHEDULE.alpha(times)
    # Into 0 theirs wants lower_order_final, which lowers the order of the steps before too: leave the last one out.
    scheduler.sigmas[-1] = 1e-3
    walk = theirs(scheduler)[:-1]
    torch.testing.assert_close(ours("unipc", {"order": order}, scheduler)[:-1], walk, rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis_walks_with_diffusers(order):
    scheduler = exact_levels(DEISMultistepScheduler(solver_order=order, lower_order_final=False))
    times = times_of(scheduler)
    scheduler.sigmas = SCHEDULE.sigma(times) / SCHEDULE.alpha(times)
    walk = theirs(scheduler)[:-1]
    torch.testing.assert_close(ours("deis", {"order": order}, scheduler)[:-1], walk, rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", [2, 4])
def test_lms_walks_with_diffusers(order):
    scheduler = exact_levels(LMSDiscreteScheduler())
    times = times_of(scheduler)
    scheduler.sigmas = SCHEDULE.sigma(times) / SCHEDULE.alpha(times)
    y, walk = start() / SCHEDULE.alpha(times[0]), []
    for k in scheduler.timesteps:
        t = (k.double().expand(6) + 1) / 1000
        x = y * SCHEDULE.alpha(t)[:, None]
        y = scheduler.step(noise_estimate(SCHEDULE, x, DENOISER(x, t).x0, t), k, y, order=order).prev_sample
        walk.append(y)
    expected = torch.stack(walk) * SCHEDULE.alpha(times[1:])[:, None, None]
    # Into clean data theirs extrapolates, ours returns the estimate.
    torch.testing.assert_close(ours("lms", {"order": order}, scheduler)[:-1], expected[:-1], rtol=0, atol=1e-6)


def test_consistency_sampling_walks_with_diffusers_lcm():
    # So large a scaling takes out the boundary condition of LCM's networks.
    scheduler = exact_levels(LCMScheduler(clip_sample=False, timestep_scaling=1e9))
    walk = theirs(scheduler, generator=Sequence().generator)
    torch.testing.assert_close(ours("consistency", {}, scheduler), walk, rtol=0, atol=1e-6)
