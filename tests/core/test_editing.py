"""Inversion, editing by it, and interpolation of noises."""

import pytest
import torch

from multidiff.core import GRIDS, SAMPLERS, SCHEDULES, Estimate, GaussianDenoiser, MixtureDenoiser, make, sample
from multidiff.core.inverse import ddim_inversion, inversion_edit, noisy_start, slerp
from tests.core.exact import CheapNoise, mixture, schedule
from tests.core.laws import drawn

DDIM = make(SAMPLERS, "ddim")


@pytest.mark.parametrize("grid", ["trailing", "log-snr"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_inversion_then_sampling_returns_the_input(name, grid):
    s, dtype = schedule(name), torch.float32
    d = mixture(s)
    d = MixtureDenoiser(s, d.means.to(dtype), d.stds.to(dtype), d.weights.to(dtype))
    times, x0 = make(GRIDS, grid)(s, 100), drawn(d, 50)
    noise = ddim_inversion(d, times, x0)
    assert float(noise.std()) == pytest.approx(float(s.sigma(times[0])), rel=0.2)
    back = sample(d, DDIM, times, CheapNoise((50, 2)), x=noise)
    torch.testing.assert_close(back, x0, rtol=0, atol=1e-4)


def test_sampling_then_inversion_returns_the_noise_of_a_few_steps():
    s = schedule("flow")
    d, noise, times = mixture(s), CheapNoise((20, 2)), make(GRIDS, "log-snr")(s, 30)
    x0 = sample(d, DDIM, times, noise)
    back = ddim_inversion(d, times, x0)
    # At alpha = 0 the step out is D of nothing: noise and x agree to what float64 and the tolerance leave.
    torch.testing.assert_close(back, noise(0), rtol=0, atol=2e-2)


def test_inversion_does_not_depend_on_its_batch():
    s = schedule("cosine")
    d, times = mixture(s), make(GRIDS, "log-snr")(s, 20)
    x0 = drawn(d, 6)
    together, alone = ddim_inversion(d, times, x0), ddim_inversion(d, times, x0[2:3])
    torch.testing.assert_close(together[2:3], alone, rtol=0, atol=1e-12)


class Shifted:
    """A mixture whose means move by condition["shift"] (B, 2)."""

    def __init__(self, inner):
        self.inner, self.schedule = inner, inner.schedule

    def __call__(self, x_t, t, condition=None):
        shift = condition["shift"]
        return Estimate(self.inner(x_t - self.schedule.alpha(t)[:, None] * shift, t).x0 + shift)


def test_an_edit_by_inversion_moves_what_the_conditions_differ_in_and_keeps_the_rest():
    s = schedule("cosine")
    d, times = mixture(s), make(GRIDS, "log-snr")(s, 60)
    x0 = drawn(d, 40)
    here, there = ({"shift": torch.tensor([[0.0, v]], dtype=torch.float64).expand(40, 2)} for v in (0.0, 5.0))
    noise = CheapNoise((40, 2))
    *_, same = inversion_edit(Shifted(d), DDIM, times, noise, x0, 0.8, here, here)
    torch.testing.assert_close(same.x, x0, rtol=0, atol=1e-4)
    *_, moved = inversion_edit(Shifted(d), DDIM, times, noise, x0, 1.0, here, there)
    torch.testing.assert_close(moved.x, x0 + there["shift"], rtol=0, atol=0.15)


def test_a_single_step_from_pure_noise_cannot_be_inverted():
    with pytest.raises(ValueError, match="more steps"):
        ddim_inversion(mixture(schedule("flow")), torch.tensor([1.0, 0.0]), torch.zeros(1, 2))


def test_slerp_goes_from_one_noise_to_the_other_and_stays_noise_between():
    noise = CheapNoise((2, 3, 4000))
    a, b = noise(0), noise(1)
    torch.testing.assert_close(slerp(a, b, torch.zeros(2)), a)
    torch.testing.assert_close(slerp(a, b, torch.ones(2)), b)
    middle = slerp(a, b, torch.tensor([0.5, 0.25]))
    assert float(middle[0].std()) == pytest.approx(1.0, abs=0.02)
    assert float(((a + b) / 2).std()) < 0.75
    torch.testing.assert_close(slerp(a, a, torch.tensor([0.3, 0.7])), a)


@pytest.mark.parametrize("name", SCHEDULES)
def test_noisy_data_are_denoised_from_where_they_lie_on_the_path(name):
    """Of N(0, 2^2) and noise of .5 the flow makes y 2 / sqrt(2^2 + .5^2), whatever the schedule."""
    s = schedule(name)
    d = GaussianDenoiser(s, torch.zeros(1, dtype=torch.float64), torch.tensor([[4.0]], dtype=torch.float64))
    y = torch.linspace(-5, 5, 11, dtype=torch.float64)[:, None]
    times, x = noisy_start(s, make(GRIDS, "log-snr")(s, 200), y, 0.5)
    assert float(s.sigma(times[0]) / s.alpha(times[0])) == pytest.approx(0.5)
    made = sample(d, make(SAMPLERS, "dpm++2m"), times, CheapNoise((11, 1)), x=x)
    torch.testing.assert_close(made, y * 2 / 4.25**0.5, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("std", [0.0, -1.0, 20.0])
def test_noise_that_no_time_of_the_grid_has_is_refused(std):
    s = schedule("cosine")
    with pytest.raises(ValueError, match="std"):
        noisy_start(s, make(GRIDS, "log-snr", {"start": -2})(s, 10)[1:], torch.zeros(1, 1), std)
