"""One condition turning into another along an axis, on Gaussians whose mean the condition names."""

import pytest
import torch

from multidiff.core import GRIDS, SAMPLERS, SHARE, Blended, Estimate, Loop, Windows, make, ramp, sample
from multidiff.core.denoiser import keep_known
from multidiff.core.schedule import expand
from tests.core.exact import CheapNoise, schedule

LENGTH, COUNT = 24, 4
FIRST = {"tokens": torch.full((COUNT, 1, 1), -2.0, dtype=torch.float64)}
SECOND = {"tokens": torch.full((1, 1, 1), 3.0, dtype=torch.float64)}


class Meant:
    """Exact denoiser of white Gaussians of variance 1/4 whose mean is the condition's token; v is the token."""

    def __init__(self, name="cosine"):
        self.schedule = schedule(name)

    def __call__(self, x_t, t, condition=None):
        alpha, sigma = expand(self.schedule.alpha(t), x_t), expand(self.schedule.sigma(t), x_t)
        mean = condition["tokens"].reshape(-1, *[1] * (x_t.ndim - 1)).expand_as(x_t)
        x0 = mean + alpha / 4 / (alpha**2 / 4 + sigma**2) * (x_t - alpha * mean)
        return Estimate(keep_known(x0, condition), mean.clone())


def sampled(condition, sampler="dpm++2m", denoiser=None, loop=False, shape=(COUNT, 2, LENGTH)):
    denoiser = denoiser or Meant()
    method = Loop(make(SAMPLERS, sampler), -1) if loop else make(SAMPLERS, sampler)
    return sample(denoiser, method, make(GRIDS, "log-snr")(denoiser.schedule, 8), CheapNoise(shape), condition)


def told(loop=False, length=LENGTH):
    return FIRST | {SHARE: ramp((2, length), -1, loop).expand(COUNT, -1, -1)}


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm++3m"])
@pytest.mark.parametrize("name", ["cosine", "flow"])
def test_the_beginning_is_of_the_first_condition_and_the_end_of_the_second(sampler, name):
    first, second = (sampled(condition, sampler, Meant(name)) for condition in (FIRST, SECOND))
    x = sampled(told(), sampler, Blended(Meant(name), SECOND))
    third = LENGTH // 3
    torch.testing.assert_close(x[..., :third], first[..., :third])
    torch.testing.assert_close(x[..., -third:], second[..., -third:])
    assert bool((x > first - 1e-9).all())
    assert bool((x < second + 1e-9).all())
    # White noise of the same seeds: what differs is the mean, which rises all the way.
    assert bool(((x - first).diff(dim=-1) > -1e-9).all())


def test_a_loop_goes_there_and_back():
    first, second = (sampled(condition, loop=True) for condition in (FIRST, SECOND))
    x = sampled(told(loop=True), denoiser=Blended(Meant(), SECOND), loop=True)
    ends = [*range(LENGTH // 6), *range(LENGTH - LENGTH // 6, LENGTH)]
    torch.testing.assert_close(x[..., ends], first[..., ends])
    middle = slice(LENGTH // 2 - LENGTH // 6, LENGTH // 2 + LENGTH // 6)
    torch.testing.assert_close(x[..., middle], second[..., middle])


def test_windows_see_their_own_part_of_the_way():
    """White data know nothing of their neighbours, so that windows change nothing."""
    whole = Blended(Meant(), SECOND)
    x, windowed = sampled(told(), denoiser=whole), sampled(told(), denoiser=Windows(whole, -1, 8, 4))
    torch.testing.assert_close(windowed, x)


def test_what_is_known_stays_and_a_learned_variance_is_mixed_alike():
    known, mask = torch.randn(COUNT, 2, LENGTH, dtype=torch.float64), torch.zeros(COUNT, 1, LENGTH)
    mask[..., :9] = 1
    x, t = CheapNoise((COUNT, 2, LENGTH))(0), torch.full((COUNT,), 0.5, dtype=torch.float64)
    estimate = Blended(Meant(), SECOND)(x, t, told() | {"known": known, "mask": mask})
    torch.testing.assert_close(estimate.x0[..., :9], known[..., :9])
    torch.testing.assert_close(estimate.v[0, 0], -2 + 5 * ramp((2, LENGTH), -1)[0, 0])


@pytest.mark.parametrize("axis", [-1, -2, -3])
def test_the_ramp_lies_along_its_axis_and_is_symmetric(axis):
    w = ramp((2, 3, 6, 9), axis)
    assert w.ndim == 5
    assert w.numel() == w.shape[axis] == (2, 3, 6, 9)[axis]
    torch.testing.assert_close(w + w.flip(axis), torch.ones_like(w))


def test_a_condition_without_a_share_is_refused():
    with pytest.raises(ValueError, match="lacks 'share'"):
        sampled(FIRST, denoiser=Blended(Meant(), SECOND))
