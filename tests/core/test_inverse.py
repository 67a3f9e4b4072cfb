import pytest
import torch

from multidiff.core import (
    GRIDS,
    SAMPLERS,
    SCHEDULES,
    GaussianDenoiser,
    Replacement,
    make,
    repaint_times,
    sample,
    sdedit,
    states,
)
from tests.core.exact import CheapNoise, mixture, schedule, white

RHO, KNOWN = 0.8, 1.5
COUNT = 3000


def correlated(s):
    covariance = torch.tensor([[1.0, RHO], [RHO, 1.0]], dtype=torch.float64)
    return GaussianDenoiser(s, torch.zeros(2, dtype=torch.float64), covariance)


def completed(s, times, sampler="ddpm"):
    known = torch.tensor([[KNOWN, 0.0]], dtype=torch.float64).expand(COUNT, 2)
    mask = torch.tensor([[1.0, 0.0]])
    replacement = Replacement(make(SAMPLERS, sampler), known, mask)
    return sample(correlated(s), replacement, times, CheapNoise((COUNT, 2)))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_what_is_known_comes_out_untouched_under_every_sampler(name, sampler):
    x = completed(schedule(name), make(GRIDS, "trailing")(schedule(name), 10), sampler)
    assert bool((x[:, 0] == KNOWN).all())
    # Exact is 1.2. Measured: 0.4 and more, but for the fourth order on Karras' levels (10 steps, very unequal in
    # log-SNR), which extrapolates across what replacement has changed: 0.07.
    assert float(x[:, 1].mean()) > (0.05 if (name, sampler) == ("karras", "eab") else 0.38)


def test_replacement_leaves_an_independent_part_as_it_was():
    s, times = schedule("cosine"), torch.linspace(1, 0, 21, dtype=torch.float64)
    d, noise = white(s, 0.36, 2), CheapNoise((50, 2))
    known, mask = torch.full((50, 2), 3.0), torch.tensor([[1, 0]])
    free = sample(d, make(SAMPLERS, "ddpm"), times, noise)
    given = sample(d, Replacement(make(SAMPLERS, "ddpm"), known, mask), times, noise)
    torch.testing.assert_close(given[:, 1], free[:, 1])


def test_repaint_comes_close_to_the_exact_conditional_where_replacement_does_not():
    s = schedule("cosine")
    times = make(GRIDS, "log-snr", {"start": -4, "end": 4})(s, 40)
    replaced = completed(s, times)[:, 1]
    repainted = completed(s, repaint_times(times, jump=4, repeats=16))[:, 1]
    exact_mean, exact_std = RHO * KNOWN, (1 - RHO**2) ** 0.5
    assert abs(float(repainted.mean()) - exact_mean) < 0.06
    assert abs(float(repainted.std()) - exact_std) < 0.07
    assert abs(float(repainted.mean()) - exact_mean) < abs(float(replaced.mean()) - exact_mean) / 2


def test_repaints_path_goes_back_up_as_often_as_asked():
    times = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])
    assert torch.equal(repaint_times(times, jump=2, repeats=1), times)
    assert repaint_times(times, jump=2, repeats=2).tolist() == [
        1.0, 0.75, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.5, 0.25, 0.0,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="at least 1"):
        repaint_times(times, jump=0)


def edited(s, x0, strength, sampler="dpm++2m", steps=200):
    times = make(GRIDS, "trailing")(s, steps)
    run = list(sdedit(white(s, 0.36, 4), make(SAMPLERS, sampler), times, CheapNoise(x0.shape), x0, strength))
    return run[-1].x, run


@pytest.mark.parametrize("name", ["cosine", "flow"])
@pytest.mark.parametrize("strength", [0.3, 0.8])
def test_an_edit_follows_the_exact_flow_back_from_where_it_was_diffused_to(name, strength):
    s = schedule(name)
    x0 = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.tensor(strength, dtype=torch.float64)
    alpha, sigma = s.alpha(t), s.sigma(t)
    exact = (alpha * x0 + sigma * CheapNoise(x0.shape)(0)) * (0.36 / (alpha**2 * 0.36 + sigma**2)).sqrt()
    torch.testing.assert_close(edited(s, x0, strength)[0], exact, rtol=0, atol=5e-3)


def test_full_strength_forgets_the_input_and_a_little_keeps_it():
    s, x0 = schedule("flow"), torch.ones(2, 4, dtype=torch.float64)
    assert torch.equal(edited(s, x0, 1.0)[0], edited(s, -x0, 1.0)[0])
    kept, run = edited(s, 0.5 * x0, 0.02)
    torch.testing.assert_close(kept, 0.5 * x0, rtol=0, atol=0.1)
    assert len(run) == 5


@pytest.mark.parametrize("strength", [0.0, 1.2])
def test_a_strength_outside_of_its_range_is_refused(strength):
    with pytest.raises(ValueError, match="strength"):
        edited(schedule("flow"), torch.zeros(1, 4), strength)


def test_completion_can_be_watched_like_any_run():
    s = schedule("flow")
    replacement = Replacement(make(SAMPLERS, "dpm++2m"), torch.zeros(3, 2), torch.tensor([[1, 0]]))
    run = list(states(mixture(s), replacement, make(GRIDS, "trailing")(s, 5), CheapNoise((3, 2))))
    assert len(run) == 6
    assert all(state.x0 is not None for state in run[1:])
