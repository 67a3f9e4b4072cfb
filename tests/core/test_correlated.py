"""Noise that frames share has the covariance it says, and samplers still give the data's law."""

import pytest
import torch

from multidiff.core import GRIDS, NOISES, SAMPLERS, Estimate, SeededNoise, make, sample
from multidiff.core.analytic import GaussianDenoiser
from tests.core.exact import CheapNoise, schedule

FRAMES = 5


def covariance(name: str, alpha: float, frames: int = FRAMES) -> torch.Tensor:
    """Ge et al. 2023, in closed form."""
    shared = alpha**2 / (1 + alpha**2)
    apart = (torch.arange(frames)[:, None] - torch.arange(frames)).abs().double()
    return shared + (1 - shared) * (apart == 0).double() if name == "mixed" else shared ** (apart / 2)


def root(name: str, alpha: float, frames: int = FRAMES) -> torch.Tensor:
    """L (T, T) with noise = L w, read off the unit vectors."""
    return make(NOISES, name, {"alpha": alpha})(torch.eye(frames, dtype=torch.float64), -1).T


@pytest.mark.parametrize("frames", [1, 2, 5, 24])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", ["mixed", "progressive"])
def test_the_covariance_is_the_closed_form(name, alpha, frames):
    L = root(name, alpha, frames)
    torch.testing.assert_close(L @ L.T, covariance(name, alpha, frames))


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("axis", [-3, -1, 2])
def test_only_the_axis_is_correlated_and_drawn_noise_agrees(name, axis):
    noise = make(NOISES, name)(SeededNoise(range(3000), (2, FRAMES, 1, FRAMES))(0), axis)
    moved = noise.movedim(axis, -1)
    assert moved.shape[-1] == FRAMES
    expected = torch.eye(FRAMES) if name == "white" else covariance(name, {"mixed": 1.0, "progressive": 2.0}[name])
    found = torch.cov(moved.reshape(-1, FRAMES).T)
    assert (found - expected).abs().max() < 0.03
    other = noise.movedim(2 if axis == -1 else -1, -1).reshape(-1, FRAMES)
    assert (torch.cov(other.T) - torch.eye(FRAMES)).abs().max() < 0.06


def test_white_noise_is_handed_on():
    noise = torch.randn(2, 3)
    assert make(NOISES, "white")(noise, -1) is noise


@pytest.mark.parametrize("name", ["mixed", "progressive"])
def test_noise_is_the_same_alone_and_in_a_batch(name):
    correlation = make(NOISES, name)
    batch, alone = (SeededNoise(seeds, (3, FRAMES, 2)) for seeds in ([4, 5, 6], [5]))
    for step, stream in ((0, 0), (3, 1)):
        assert torch.equal(correlation(batch(step, stream), -2)[1], correlation(alone(step, stream), -2)[0])


class Whitened:
    """The exact denoiser E[x0 | x_t] of x0 ~ N(0, S) under noise L w: that of the whitened data, seen through L."""

    def __init__(self, schedule, S, L):
        self.schedule, self.L, self.inverse = schedule, L, torch.linalg.inv(L)
        self.own = GaussianDenoiser(schedule, torch.zeros(len(S), dtype=S.dtype), self.inverse @ S @ self.inverse.T)

    def __call__(self, x_t, t, condition=None):
        return Estimate(self.own(x_t @ self.inverse.T, t).x0 @ self.L.T)


def test_the_whitened_denoiser_is_the_conditional_mean():
    """alpha S (alpha^2 S + sigma^2 L L')^-1 x_t."""
    s, S, L = schedule("cosine"), covariance("progressive", 1.0), root("mixed", 1.0)
    t, x = torch.tensor([0.4], dtype=torch.float64), torch.randn(1, FRAMES, dtype=torch.float64)
    alpha, sigma = s.alpha(t), s.sigma(t)
    gain = alpha * S @ torch.linalg.inv(alpha**2 * S + sigma**2 * L @ L.T)
    torch.testing.assert_close(Whitened(s, S, L)(x, t).x0, x @ gain.T)


@pytest.mark.parametrize(
    ("sampler", "bound"), [("heun", 0.06), ("dpm++2m", 0.06), ("dpm++2m-sde", 0.06), ("ddpm", 0.12)]
)
@pytest.mark.parametrize("name", ["mixed", "progressive"])
def test_under_correlated_noise_samples_have_the_law_of_the_data(name, sampler, bound):
    """DDPM of the small variance is known to be too narrow by some percent, under any noise."""
    s, S = schedule("cosine"), 0.7 ** (torch.arange(FRAMES)[:, None] - torch.arange(FRAMES)).abs().double()
    denoiser, white = Whitened(s, S, root(name, 1.5)), CheapNoise((20_000, FRAMES))
    times, correlation = make(GRIDS, "log-snr")(s, 120), make(NOISES, name, {"alpha": 1.5})
    found = torch.cov(
        sample(denoiser, make(SAMPLERS, sampler), times, lambda i, stream=0: correlation(white(i, stream), -1)).T
    )
    assert (found - S).abs().max() < bound
    wrong = torch.cov(sample(denoiser, make(SAMPLERS, sampler), times, white).T)
    assert (wrong - S).abs().max() > 0.2, "white noise for a denoiser that has learned another must show"


def test_a_wrong_alpha_is_refused():
    with pytest.raises(ValueError, match="alpha -1"):
        make(NOISES, "mixed", {"alpha": -1.0})
