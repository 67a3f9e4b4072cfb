import math

import pytest
import torch

from multidiff.core import SAMPLERS, SCHEDULES, State, make, sample
from tests.core.exact import CheapNoise, mixture, schedule, white

DETERMINISTIC = ["ddim", "euler", "heun", "dpm++", "dpm++2m", "dpm++3m"]


def uniform_log_snr(s, steps, start=-5.0, end=4.0):
    return s.inverse(torch.linspace(start, end, steps + 1, dtype=torch.float64))


def clean(times):
    return torch.cat([times, torch.zeros(1, dtype=torch.float64)])


def end_of_flow(name, options, steps):
    """Where 16 points end that start at log-SNR -5, at log-SNR 4."""
    d, noise = mixture(schedule("cosine")), CheapNoise((16, 2))
    return sample(d, make(SAMPLERS, name, options), uniform_log_snr(d.schedule, steps), noise, x=noise(0))


@pytest.fixture(scope="module")
def exact_end():
    return end_of_flow("dpm++3m", {}, 1500)


@pytest.mark.parametrize(
    ("name", "options", "order"),
    [
        ("euler", {}, 1),
        ("heun", {}, 2),
        ("dpm++2m", {"rule": "midpoint"}, 2),
        ("dpm++2m", {"rule": "heun"}, 2),
        ("dpm++3m", {}, 3),
        ("dpm++3m", {"published": True}, 2),
    ],
)
def test_the_measured_order_of_convergence_is_the_claimed_one(exact_end, name, options, order):
    coarse, fine = ((end_of_flow(name, options, n) - exact_end).square().mean().sqrt() for n in (100, 400))
    assert math.log(coarse / fine, 4) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("name", ["ddim", "dpm++"])
def test_euler_ddim_and_first_order_dpm_solver_are_one_step(name):
    torch.testing.assert_close(end_of_flow(name, {}, 10), end_of_flow("euler", {}, 10))


@pytest.mark.parametrize("name", SCHEDULES)
def test_three_ways_to_ddim_with_full_eta_agree(name):
    s = schedule(name)
    noise = CheapNoise((8, 2))
    ways = [
        make(SAMPLERS, "ddim", {"eta": 1.0}),
        make(SAMPLERS, "ddpm", {"variance": "small"}),
        make(SAMPLERS, "dpm++2m-sde", {"order": 1}),
    ]
    times = torch.linspace(1, 0, 13, dtype=torch.float64)
    ddim, ddpm, sde = (sample(mixture(s), way, times, noise) for way in ways)
    torch.testing.assert_close(ddim, ddpm, rtol=0, atol=1e-10)
    torch.testing.assert_close(ddim, sde, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_the_path_depends_on_log_snr_alone_and_not_on_the_schedule(name):
    results = []
    for other in SCHEDULES:
        s = schedule(other)
        times = clean(uniform_log_snr(s, 10, start=-2.5))
        x = s.alpha(times[0]) * CheapNoise((8, 2))(0) * math.exp(2.5)
        results.append(sample(mixture(s), make(SAMPLERS, name), times, CheapNoise((8, 2)), x=x))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_step_into_clean_data_returns_the_estimate(sampler, name):
    d = mixture(schedule(name))
    t = torch.tensor([0.7, 0.4, 0.1], dtype=torch.float64)
    states = [State(CheapNoise((5, 2))(0), t[0].expand(5))]
    for s in (t[1], t[2], 0 * t[2]):
        states.append(make(SAMPLERS, sampler)(d, states[-1], s.expand(5), lambda stream=0: CheapNoise((5, 2))(1)))
    torch.testing.assert_close(states[-1].x, d(states[-2].x, states[-2].t).x0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_step_out_of_pure_noise_is_exact_in_any_number_of_dimensions(sampler):
    """At alpha = 0 the estimate is the mean of the data, so no sampler may be off or infinite there."""
    s = schedule("flow")
    d = mixture(s)
    x = CheapNoise((5, 2))(0)
    state = State(x, torch.ones(5, dtype=torch.float64))
    after = make(SAMPLERS, sampler)(d, state, 0.9 * state.t, lambda stream=0: torch.zeros(5, 2))
    x0 = d(x, state.t).x0
    torch.testing.assert_close(x0, (d.weights @ d.means).expand(5, 2))
    kept = {"ddpm": 0.0, "dpm++2m-sde": 0.0}.get(sampler, 0.9)
    torch.testing.assert_close(after.x, 0.1 * x0 + kept * x)


def chain_variance(sampler, s, variance, times):
    """The exact variance at the end of the chain on white Gaussian data, where every step is
    x_s = gain x_t + std z; both are read off the step itself."""
    d, result = white(s, variance, 1), float(s.sigma(times[0])) ** 2
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for t, end in zip(times[:-1].reshape(-1, 1), times[1:].reshape(-1, 1), strict=True):
        gain = sampler(d, State(one, t), end, lambda stream=0: zero).x
        std = sampler(d, State(zero, t), end, lambda stream=0: one).x
        result = gain**2 * result + std**2
    return float(result)


@pytest.mark.parametrize(("variance", "expected"), [("small", 0.172), ("large", 0.349)])
def test_ten_steps_of_ddpm_have_the_known_bias_on_gaussian_data(variance, expected):
    times = torch.linspace(1, 0, 11, dtype=torch.float64)
    sampler = make(SAMPLERS, "ddpm", {"variance": variance})
    assert chain_variance(sampler, schedule("tabulated"), 0.36, times) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_ddpm_draws_from_the_exact_law_of_its_chain(name, variance):
    s, times, size = schedule(name), torch.linspace(1, 0, 11, dtype=torch.float64), 100_000
    sampler = make(SAMPLERS, "ddpm", {"variance": variance})
    x = sample(white(s, 0.36, size), sampler, times, CheapNoise((1, size)))
    exact = chain_variance(sampler, s, 0.36, times)
    assert float(x.var()) == pytest.approx(exact, rel=4 * math.sqrt(2 / size) + 1e-4)
    assert float(x.mean()) == pytest.approx(0, abs=4 * math.sqrt(exact / size))


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm++2m", "dpm++3m", "dpm++2m-sde", "heun"])
def test_many_steps_draw_from_the_data(name):
    s = schedule("cosine")
    d = mixture(s)
    times = clean(uniform_log_snr(s, 150, end=6.0))
    x = sample(d, make(SAMPLERS, name), times, CheapNoise((4000, 2)))
    mean = d.weights @ d.means
    spread = d.means - mean
    covariance = (spread.T * d.weights) @ spread + (d.weights @ d.stds**2) * torch.eye(2)
    torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=0.06)
    torch.testing.assert_close(x.T.cov(), covariance, rtol=0, atol=0.06)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ddim", {"eta": 1.5}),
        ("ddim", {"eta": "full"}),
        ("ddpm", {"variance": "middle"}),
        ("dpm++2m", {"rule": "simpson"}),
        ("dpm++2m-sde", {"order": 3}),
        ("heun", {"eta": 1.0}),
        ("dpm", {}),
    ],
)
def test_impossible_options_are_refused(name, options):
    with pytest.raises(ValueError, match=name.replace("+", r"\+")):
        make(SAMPLERS, name, options)
