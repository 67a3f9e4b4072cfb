"""The learned variance against a Gaussian, whose reverse steps are Gaussian and known exactly."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from multidiff.core import (
    LOSSES,
    PARAMETERIZATIONS,
    SAMPLERS,
    TIMES,
    DiffusionLoss,
    Estimate,
    NetworkDenoiser,
    Rescheduled,
    make,
    sample,
    stratified,
)
from multidiff.core.inverse import MMPS, Measurement, PiGDM, ReconstructionGuidance
from multidiff.core.samplers.learned import log_variance
from multidiff.core.samplers.step import Transition
from multidiff.core.schedule import expand
from multidiff.core.variance import step_divergence
from tests.core.exact import CheapNoise, ExactNetwork, schedule, white

COSINE = schedule("cosine")
DATA = 0.36
"""Variance of the data, in two independent elements."""
EXACT = white(COSINE, DATA, 2)
TIMES_DOWN = torch.linspace(1.0, 0.02, 6, dtype=torch.float64)


def posterior_variance(t):
    """Of x0 given x_t."""
    return DATA * COSINE.sigma(t) ** 2 / (COSINE.alpha(t) ** 2 * DATA + COSINE.sigma(t) ** 2)


def best(step, t):
    """v of the exact reverse step, whose variance is small + (dx_s/dx0)^2 Var(x0 | x_t)."""
    added = 1 - step.decay**2
    small, large = step.sigma_s**2 * added, step.sigma_t**2 * added
    variance = small + (step.alpha_s * added) ** 2 * posterior_variance(t)
    return 2 * (variance.log() - small.log()) / (large.log() - small.log()) - 1


class ExactVariance:
    """The exact denoiser with the exact v of steps of one grid."""

    schedule = COSINE

    def __init__(self, times):
        self.times = times

    def __call__(self, x_t, t, condition=None):
        s = self.times[torch.searchsorted(-self.times, -t) + 1].clamp(min=1e-6)
        v = best(Transition.between(COSINE, t, s), t)
        return Estimate(EXACT(x_t, t).x0, expand(v, x_t).expand_as(x_t))


def drawn(count=20_000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return math.sqrt(DATA) * torch.randn(count, 2, generator=generator, dtype=torch.float64)


def bits(v_of):
    """The bound's steps from t = 1 to 0.02 in bits per element, for v_of(step, t) -> v (B,)."""
    x0, noise, total = drawn(), CheapNoise((20_000, 2)), 0.0
    for i, (t, s) in enumerate(pairwise(TIMES_DOWN)):
        t, s = t.expand(len(x0)), s.expand(len(x0))
        step, x_t = Transition.between(COSINE, t, s), COSINE.diffuse(x0, noise(i), t)
        v = expand(v_of(step, t), x0).expand_as(x0)
        total += float(step_divergence(step, x0, Estimate(EXACT(x_t, t).x0, v)).mean()) / math.log(2)
    return total


def test_v_goes_from_the_small_variance_to_the_large_one():
    t, s = torch.tensor([0.7]).double(), torch.tensor([0.4]).double()
    step = Transition.between(COSINE, t, s)
    added = 1 - step.decay**2
    for v, expected in ((-1.0, step.sigma_s**2 * added), (1.0, step.sigma_t**2 * added)):
        found = log_variance(step, torch.full((1, 3), v, dtype=torch.float64)).exp()
        assert torch.allclose(found, expected.expand(1, 3))


def test_the_right_v_costs_fewer_bits_than_either_fixed_variance_in_few_steps():
    small, large = (bits(lambda step, t, v=v: torch.full_like(t, v)) for v in (-1.0, 1.0))
    assert bits(best) < min(small, large) - 0.02
    nearly = bits(lambda step, t: best(step, t) + 0.1)
    assert bits(best) < nearly < min(small, large)


@pytest.mark.parametrize("steps", [3, 10])
def test_ddpm_with_the_right_v_gives_the_datas_variance_in_any_number_of_steps(steps):
    # Fixed variances are wrong in few steps: 0.17 (small) and 0.35 (large) for 0.36 in ten.
    times = torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)
    times[-1] = 1e-3
    sampler = make(SAMPLERS, "ddpm", {"variance": "learned"})
    x = sample(ExactVariance(times), sampler, times, CheapNoise((20_000, 2)))
    assert float(x.var()) == pytest.approx(DATA, abs=5 * DATA * math.sqrt(2 / 40_000))
    to_clean = torch.cat([times[:-1], torch.zeros(1)])
    assert bool(sample(ExactVariance(to_clean), sampler, to_clean, CheapNoise((10, 2))).isfinite().all())


def test_the_hybrid_loss_teaches_the_right_v_and_leaves_the_prediction_to_the_plain_loss():
    levels, velocity = 10, make(PARAMETERIZATIONS, "velocity")
    t = torch.tensor([0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
    log_snr, v = COSINE.log_snr(t), nn.Parameter(torch.zeros(4, dtype=torch.float64))
    exact = ExactNetwork(EXACT, velocity)

    def network(x, level, condition):
        return exact(x, level, condition), expand(v[(level[:, None] - log_snr).abs().argmin(1)], x).expand_as(x)

    denoiser = NetworkDenoiser(network, COSINE, velocity)
    loss = DiffusionLoss(make(LOSSES, "hybrid", {"levels": levels, "weight": 1.0}), lambda u, s: t[(4 * u).long()])
    optimiser = torch.optim.Adam([v], 0.1)
    generator = torch.Generator().manual_seed(0)
    for step in range(80):
        noise = torch.randn(4000, 2, generator=generator, dtype=torch.float64)
        error, _ = loss(denoiser, drawn(4000, step), noise, stratified(4000, generator))
        optimiser.zero_grad()
        error.mean().backward()
        optimiser.step()
    expected = best(Transition.between(COSINE, t, t - 1 / levels), t)
    assert torch.allclose(v, expected, atol=0.06)


def test_the_bound_sends_no_gradient_to_the_prediction():
    x0, t = drawn(8), torch.full((8,), 0.5, dtype=torch.float64)
    mean, v = torch.zeros(8, 2).double().requires_grad_(), torch.zeros(8, 2).double().requires_grad_()
    denoiser = NetworkDenoiser(lambda x, log_snr, c: (mean, v), COSINE, make(PARAMETERIZATIONS, "velocity"))
    make(LOSSES, "hybrid").bound(denoiser, x0, t, denoiser(x0, t)).sum().backward()
    assert mean.grad is None
    assert v.grad is not None


def test_the_bound_is_the_share_of_one_step_times_their_number():
    x0, t = drawn(4), torch.full((4,), 0.5, dtype=torch.float64)
    estimate = Estimate(x0 + 0.1, torch.zeros_like(x0))
    hybrid = make(LOSSES, "hybrid", {"weight": 0.01, "levels": 20})
    bound = hybrid.bound(NetworkDenoiser(None, COSINE, make(PARAMETERIZATIONS, "data")), x0, t, estimate)
    step = Transition.between(COSINE, t, t - 1 / 20)
    torch.testing.assert_close(bound, 0.01 * 20 * step_divergence(step, x0, estimate))


def test_the_last_step_has_no_variance_to_learn():
    x0, t = drawn(4), torch.full((4,), 1e-3, dtype=torch.float64)
    bound = make(LOSSES, "hybrid").bound(
        NetworkDenoiser(None, COSINE, make(PARAMETERIZATIONS, "data")), x0, t, Estimate(x0, x0)
    )
    assert float(bound.abs().max()) == 0


def test_a_denoiser_without_variance_is_named_where_one_is_needed():
    plain = NetworkDenoiser(lambda x, log_snr, c: x, COSINE, make(PARAMETERIZATIONS, "velocity"))
    with pytest.raises(ValueError, match="learned no variance"):
        sample(plain, make(SAMPLERS, "ddpm", {"variance": "learned"}), TIMES_DOWN, CheapNoise((2, 2)))
    loss = DiffusionLoss(make(LOSSES, "hybrid"), make(TIMES, "uniform"))
    with pytest.raises(ValueError, match="learned_variance: true"):
        loss(plain, drawn(2), drawn(2), torch.tensor([0.5, 0.6]))
    with pytest.raises(ValueError, match="'huge'"):
        make(SAMPLERS, "ddpm", {"variance": "huge"})


@pytest.mark.parametrize("method", [ReconstructionGuidance, PiGDM, MMPS])
def test_a_measurement_leaves_the_variance_as_it_was_learned(method):
    measurement = Measurement(lambda x: x[:, :1], torch.ones(4, 1).double(), 0.1)
    x, t = drawn(4), torch.full((4,), 0.5, dtype=torch.float64)
    times = torch.tensor([0.5, 0.2, 0.0], dtype=torch.float64)
    estimate = method(ExactVariance(times), measurement)(x, t)
    torch.testing.assert_close(estimate.v, ExactVariance(times)(x, t).v)
    assert not estimate.x0.requires_grad


def test_a_learned_variance_means_the_same_under_another_schedule_of_its_family():
    network = ExactNetwork(EXACT, make(PARAMETERIZATIONS, "velocity"))
    learned = NetworkDenoiser(
        lambda x, level, c: (network(x, level, c), expand(torch.tanh(level), x).expand_as(x)),
        COSINE,
        make(PARAMETERIZATIONS, "velocity"),
    )
    levels, linear = torch.tensor([-4.0, -1.0, 1.0, 4.0], dtype=torch.float64), schedule("linear")
    sampler, noise = make(SAMPLERS, "ddpm", {"variance": "learned"}), CheapNoise((5, 2))
    own = sample(learned, sampler, COSINE.inverse(levels), noise)
    torch.testing.assert_close(sample(Rescheduled(learned, linear), sampler, linear.inverse(levels), noise), own)
