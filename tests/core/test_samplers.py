import math
from itertools import pairwise

import pytest
import torch

from multidiff.core import SAMPLERS, SCHEDULES, GaussianDenoiser, State, make, sample
from multidiff.core.samplers import DPMSolver, eab
from multidiff.core.samplers.polynomial import decaying, flat, growing, weights
from tests.core.exact import CheapNoise, mixture, schedule, white

DETERMINISTIC = ["ddim", "euler", "heun", "dpm++", "dpm++2m", "dpm++3m", "unipc", "lms", "deis", "eab"]
LANGEVIN = ["langevin", "predictor-corrector"]


def uniform_log_snr(s, steps, start=-5.0, end=4.0):
    return s.inverse(torch.linspace(start, end, steps + 1, dtype=torch.float64))


def clean(times):
    return torch.cat([times, torch.zeros(1, dtype=torch.float64)])


def end_of_flow(name, options, steps, s=None):
    """x/alpha, at log-SNR 4, of 16 points that start at log-SNR -5."""
    d, noise = mixture(s or schedule("cosine")), CheapNoise((16, 2))
    times = uniform_log_snr(d.schedule, steps)
    x = d.schedule.alpha(times[0]) * math.exp(5.0) * noise(0)
    return sample(d, make(SAMPLERS, name, options), times, noise, x=x) / d.schedule.alpha(times[-1])


@pytest.fixture(scope="module")
def exact_end():
    return end_of_flow("unipc", {"order": 3}, 1500)


@pytest.mark.parametrize(
    ("name", "options", "order"),
    [
        ("euler", {}, 1),
        ("heun", {}, 2),
        ("dpm++2m", {"rule": "midpoint"}, 2),
        ("dpm++2m", {"rule": "heun"}, 2),
        ("dpm++3m", {}, 3),
        ("dpm++3m", {"published": True}, 2),
        ("unipc", {"order": 1}, 2),
        ("unipc", {"order": 2}, 3),
        ("unipc", {"order": 3}, 4),
        ("lms", {"order": 2}, 2),
        ("lms", {"order": 3}, 3),
        ("lms", {"order": 4}, 4),
        ("deis", {"order": 2}, 2),
        ("deis", {"order": 3}, 3),
        ("eab", {"order": 2}, 2),
        ("eab", {"order": 3}, 3),
        ("eab", {"order": 4}, 4),
    ],
)
@pytest.mark.parametrize("family", ["cosine", "ve", "flow"])
def test_the_measured_order_of_convergence_is_the_claimed_one(exact_end, family, name, options, order):
    s = make(SCHEDULES, family, {"sigma_max": 200.0} if family == "ve" else {})
    coarse, fine = ((end_of_flow(name, options, n, s) - exact_end).square().mean().sqrt() for n in (150, 450))
    assert math.log(coarse / fine, 3) == pytest.approx(order, abs=0.2)


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


@pytest.mark.parametrize("name", SAMPLERS)
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


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in LANGEVIN])
def test_the_step_out_of_pure_noise_is_exact_in_any_number_of_dimensions(sampler):
    """At alpha = 0 the estimate is the mean of the data, so no sampler may be off or infinite there."""
    s = schedule("flow")
    d = mixture(s)
    x = CheapNoise((5, 2))(0)
    state = State(x, torch.ones(5, dtype=torch.float64))
    after = make(SAMPLERS, sampler)(d, state, 0.9 * state.t, lambda stream=0: torch.zeros(5, 2))
    x0 = d(x, state.t).x0
    torch.testing.assert_close(x0, (d.weights @ d.means).expand(5, 2))
    kept = dict.fromkeys(("ddpm", "dpm++2m-sde", "dpm++3m-sde", "consistency"), 0.0).get(sampler, 0.9)
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
def test_twenty_thousand_chains_of_ddpm_match_the_exact_law_of_the_chain(variance):
    """Correlated data of mean not 0; a step is x -> A x + b + std z, so mean and covariance follow by recursion."""
    s, count = schedule("tabulated"), 20_000
    mean = torch.tensor([1.0, -0.5], dtype=torch.float64)
    covariance = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
    d, sampler = GaussianDenoiser(s, mean, covariance), make(SAMPLERS, "ddpm", {"variance": variance})
    times = torch.linspace(1, 0, 21, dtype=torch.float64)
    x = sample(d, sampler, times, CheapNoise((count, 2)))
    probes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    m, c = torch.zeros(2, dtype=torch.float64), s.sigma(times[0]) ** 2 * torch.eye(2, dtype=torch.float64)
    for t, end in pairwise(times):
        state, end = State(probes, t.expand(3)), end.expand(3)
        b, *columns = sampler(d, state, end, lambda stream=0: torch.zeros(3, 2)).x
        gain = torch.stack([column - b for column in columns], 1)
        std = sampler(d, state, end, lambda stream=0: torch.ones(3, 2)).x[0, 0] - b[0]
        m, c = gain @ m + b, gain @ c @ gain.T + std**2 * torch.eye(2)
    standard_error = (c.diagonal() / count).sqrt()
    assert bool(((x.mean(0) - m).abs() < 5 * standard_error).all())
    variance_error = ((c**2 + c.diagonal()[:, None] * c.diagonal()) / count).sqrt()
    assert bool(((x.T.cov() - c).abs() < 5 * variance_error).all())


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_ddpm_draws_from_the_exact_law_of_its_chain(name, variance):
    s, times, size = schedule(name), torch.linspace(1, 0, 11, dtype=torch.float64), 100_000
    sampler = make(SAMPLERS, "ddpm", {"variance": variance})
    x = sample(white(s, 0.36, size), sampler, times, CheapNoise((1, size)))
    exact = chain_variance(sampler, s, 0.36, times)
    assert float(x.var()) == pytest.approx(exact, rel=4 * math.sqrt(2 / size) + 1e-4)
    assert float(x.mean()) == pytest.approx(0, abs=4 * math.sqrt(exact / size))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_exponential_adams_bashforth_is_dpm_solver_up_to_third_order(order):
    d, noise = mixture(schedule("cosine")), CheapNoise((16, 2))
    times = uniform_log_snr(d.schedule, 12)
    ours, solver = (sample(d, way, times, noise) for way in (eab(order), DPMSolver(order, rule="heun")))
    torch.testing.assert_close(ours, solver, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["lms", "deis", "unipc", "eab"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_polynomial_through_its_past_is_integrated_exactly(name, order):
    """f(u) = u^(order - 1) at the nodes of the past: the weights give the integral of f(u) - f(0)."""
    h = torch.tensor([0.5, 1.7], dtype=torch.float64)
    nodes = [torch.tensor([-0.8, -1.0]), torch.tensor([-1.9, -1.4]), torch.tensor([-2.1, -4.0])][:order]
    moments = {"lms": flat, "deis": decaying}.get(name, growing)(h)
    given = [node.double() for node in nodes]
    result = sum(w * node**order for w, node in zip(weights(moments, given), given, strict=True))
    torch.testing.assert_close(result, moments(order + 1)[order])
    u = torch.linspace(0, 1, 20001, dtype=torch.float64)[:, None]
    w = {"lms": torch.ones_like(u * h), "deis": h * torch.exp(-u * h)}.get(name, h * torch.exp((u - 1) * h))
    torch.testing.assert_close(torch.trapezoid(w * u**order, u, dim=0), moments(order + 1)[order])


@pytest.mark.parametrize("schedule_name", ["cosine", "flow", "ve"])
def test_churn_keeps_the_law_of_the_data(schedule_name):
    s, name = schedule(schedule_name), "heun"
    times = clean(uniform_log_snr(s, 60, start=-3.5, end=5.0))
    size = 20_000
    start = s.sigma(times[0]) * CheapNoise((1, size), seed=5)(0)
    x = sample(white(s, 0.36, size), make(SAMPLERS, name, {"gamma": 0.3}), times, CheapNoise((1, size)), x=start)
    still = sample(white(s, 0.36, size), make(SAMPLERS, name), times, CheapNoise((1, size)), x=start)
    assert float(x.var()) == pytest.approx(float(still.var()), abs=0.02)
    assert float(torch.corrcoef(torch.cat([x, still]))[0, 1]) < 0.2


def test_heun_is_eulers_step_where_x_tells_nothing_of_the_data():
    """At log-SNR -10 the mean of slopes would multiply what x0 changes by by e^5."""
    s = schedule("cosine")
    state = State(CheapNoise((4, 2))(0), torch.ones(4, dtype=torch.float64))
    end = s.inverse(torch.full((4,), -5.0, dtype=torch.float64))
    heun, euler = (make(SAMPLERS, name)(mixture(s), state, end, None).x for name in ("heun", "euler"))
    torch.testing.assert_close(heun, euler, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("s_tmin", "s_tmax"), [(0.0, math.inf), (1.0, 3.0), (3.0, math.inf), (0.0, 1.0)])
@pytest.mark.parametrize("name", ["euler", "heun"])
def test_churn_is_the_algorithm_of_the_paper(name, s_tmin, s_tmax):
    """Karras et al. 2022, algorithm 2, lines 5 to 11, in sigma, for a step from 2 to 1.2."""
    s = schedule("ve")
    d, x, z = mixture(s), CheapNoise((4, 2))(0), CheapNoise((4, 2))(1)

    def time(sigma):
        return s.inverse(-torch.tensor(sigma, dtype=torch.float64).log()).expand(4)

    gamma = 0.3 if s_tmin <= 2.0 <= s_tmax else 0.0
    raised = 2.0 * (1 + gamma)
    higher = x + math.sqrt(raised**2 - 2.0**2) * 1.1 * z
    slope = (higher - d(higher, time(raised)).x0) / raised
    expected = higher + (1.2 - raised) * slope
    if name == "heun":
        expected = higher + (1.2 - raised) * (slope + (expected - d(expected, time(1.2)).x0) / 1.2) / 2
    sampler = make(SAMPLERS, name, {"gamma": 0.3, "s_tmin": s_tmin, "s_tmax": s_tmax, "s_noise": 1.1})
    torch.testing.assert_close(sampler(d, State(x, time(2.0)), time(1.2), lambda stream=0: z).x, expected)


def test_churn_beyond_its_bounds_and_beyond_pure_noise_does_nothing():
    d, noise = mixture(schedule("flow")), CheapNoise((4, 2))
    times = torch.linspace(1, 0, 8, dtype=torch.float64)
    outside = {"gamma": 0.3, "s_tmin": 500.0}
    still, bounded = (sample(d, make(SAMPLERS, "euler", o), times, noise) for o in ({}, outside))
    torch.testing.assert_close(bounded, still)
    assert bool(sample(d, make(SAMPLERS, "heun", {"gamma": 0.3}), times, noise).isfinite().all())


def nearest_shares(d, x):
    """How many of the samples lie nearest to each mean of a mixture, beside how many should (by exact samples)."""
    generator = torch.Generator().manual_seed(11)
    pick = torch.multinomial(d.weights, len(x), replacement=True, generator=generator)
    exact = d.means[pick] + d.stds[pick, None] * torch.randn(x.shape, dtype=x.dtype, generator=generator)
    return [torch.bincount(torch.cdist(each, d.means).argmin(1), minlength=3) / len(x) for each in (x, exact)], exact


@pytest.mark.parametrize(
    ("name", "options", "steps"),
    [
        ("langevin", {"steps": 6, "snr": 0.2}, 60),
        ("predictor-corrector", {}, 60),
        ("predictor-corrector", {"corrections": 3, "snr": 0.1}, 30),
    ],
)
@pytest.mark.parametrize("schedule_name", ["cosine", "ve"])
def test_langevin_and_predictor_corrector_reach_the_law_of_a_mixture(schedule_name, name, options, steps):
    s, size = schedule(schedule_name), 2500
    d = mixture(s)
    times = clean(uniform_log_snr(s, steps, start=-2.5, end=3.5))
    start = CheapNoise((size, 2), seed=1)(0) * s.sigma(times[0])
    x = sample(d, make(SAMPLERS, name, options), times, CheapNoise((size, 2)), x=start)
    (ours, theirs), exact = nearest_shares(d, x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.05)
    torch.testing.assert_close(x.mean(0), exact.mean(0), rtol=0, atol=0.08)
    torch.testing.assert_close(x.T.cov(), exact.T.cov(), rtol=0, atol=0.1)


def test_langevin_steps_leave_the_law_of_their_level_as_it_is():
    """On white Gaussian data a step is x -> (1 - a) x + b z; its stationary variance tends to that of x_s."""
    s = schedule("cosine")
    t = torch.tensor([0.5], dtype=torch.float64)
    d, sigma, exact = white(s, 0.36, 1), s.sigma(t), s.alpha(t) ** 2 * 0.36 + s.sigma(t) ** 2
    for snr in (0.2, 0.1, 0.05):
        one = torch.ones(1, 1, dtype=torch.float64)
        gain = one + 2 * snr**2 * (s.alpha(t) * d(one, t).x0 - one)
        stationary = (2 * snr * sigma) ** 2 / (1 - gain**2)
        assert float(stationary / exact - 1) == pytest.approx(0, abs=2 * snr**2)


@pytest.mark.parametrize(
    "name", ["ddpm", "ddim", "dpm++2m", "dpm++3m", "dpm++2m-sde", "dpm++3m-sde", "unipc", "lms", "deis", "eab"]
)
def test_many_steps_draw_from_the_data(name):
    s = schedule("cosine")
    d = mixture(s)
    times = clean(uniform_log_snr(s, 80, end=6.0))
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
        ("dpm++2m-sde", {"order": 4}),
        ("heun", {"eta": 1.0}),
        ("euler", {"gamma": 0.5}),
        ("heun", {"s_tmin": 2.0, "s_tmax": 1.0}),
        ("unipc", {"order": 4}),
        ("lms", {"order": 0}),
        ("langevin", {"steps": 0}),
        ("predictor-corrector", {"snr": 0}),
        ("dpm", {}),
    ],
)
def test_impossible_options_are_refused(name, options):
    with pytest.raises(ValueError, match=name.replace("+", r"\+")):
        make(SAMPLERS, name, options)
