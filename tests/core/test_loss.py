import math

import pytest
import torch

from multidiff.core import (
    LOSSES,
    PARAMETERIZATIONS,
    TIMES,
    DiffusionLoss,
    NetworkDenoiser,
    by_log_snr,
    make,
    stratified,
)
from multidiff.core.likelihood import Levels, denoising_error
from tests.core.exact import PAIRS, CheapNoise, ExactNetwork, mixture, schedule
from tests.core.laws import drawn

GENERATOR = torch.Generator().manual_seed(0)
X0, NOISE = (torch.randn(6, 3, 4, dtype=torch.float64, generator=GENERATOR) for _ in range(2))
U = torch.linspace(0.05, 0.95, 6, dtype=torch.float64)


def network(x, log_snr, condition):
    return torch.tanh(2 * x) + 0.1 * log_snr.reshape(-1, 1, 1)


def loss_of(weighting, times=None):
    return DiffusionLoss(weighting, times or make(TIMES, "uniform"))


@pytest.mark.parametrize(("name", "parameterization"), PAIRS)
def test_the_simple_loss_is_the_predictions_own_mean_squared_error(name, parameterization):
    s, p = schedule(name), make(PARAMETERIZATIONS, parameterization)
    loss, _ = loss_of(make(LOSSES, "simple"))(NetworkDenoiser(network, s, p), X0, NOISE, U)
    t = 1 - U
    x_t = s.diffuse(X0, NOISE, t)
    prediction = network(x_t * p.input_scale(s, t)[:, None, None], s.log_snr(t), {})
    error = prediction - p.target(s, X0, NOISE, t)
    torch.testing.assert_close(loss, error.square().mean((1, 2)))


@pytest.mark.parametrize("weighting", [name for name in LOSSES if name != "hybrid"])  # see test_variance
@pytest.mark.parametrize(("name", "parameterization"), PAIRS)
def test_every_loss_is_its_weight_times_the_error_of_the_data(name, parameterization, weighting):
    s, p = schedule(name), make(PARAMETERIZATIONS, parameterization)
    denoiser = NetworkDenoiser(network, s, p)
    loss, log_snr = loss_of(make(LOSSES, weighting))(denoiser, X0, NOISE, U)
    t = 1 - U
    snr = torch.exp(2 * s.log_snr(t))
    weight = {
        "simple": p.factor(s, t),
        "snr": snr,
        "min-snr": snr.clamp(max=5.0),
        "soft-min-snr": 4 * snr / (snr + 4),
        "p2": snr / (1 + snr),
    }.get(weighting, snr + 1)
    error = (denoiser(s.diffuse(X0, NOISE, t), t).x0 - X0).square().mean((1, 2))
    torch.testing.assert_close(loss, weight * error, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(log_snr, s.log_snr(t))


@pytest.mark.parametrize(
    ("name", "options", "weight"),
    [
        ("min-snr", {"gamma": 2.0}, lambda snr: snr.clamp(max=2.0)),
        ("soft-min-snr", {"gamma": 2.0}, lambda snr: 2 * snr / (snr + 2)),
        ("p2", {"gamma": 0.5, "k": 3.0}, lambda snr: snr / (3 + snr).sqrt()),
        ("edm", {"sigma_data": 0.5}, lambda snr: snr + 4),
        ("uncertainty", {"sigma_data": 0.5}, lambda snr: snr + 4),
    ],
)
def test_the_options_of_a_weight_are_those_of_its_paper(name, options, weight):
    snr = torch.tensor([0.1, 1.0, 3.0, 50.0], dtype=torch.float64)
    ours = make(LOSSES, name, options)(snr.log() / 2, torch.ones_like(snr)).detach()
    torch.testing.assert_close(ours, weight(snr))


SCORES = [("score", "simple"), ("score", "hybrid")]
"""The score itself is infinite at the clean end, so its plain error is too."""


@pytest.mark.parametrize(
    ("name", "parameterization", "weighting"),
    [(*pair, weighting) for pair in PAIRS for weighting in LOSSES if (pair[1], weighting) not in SCORES],
)
def test_losses_and_gradients_are_finite_from_the_cleanest_to_the_noisiest_time(name, parameterization, weighting):
    s, p = schedule(name), make(PARAMETERIZATIONS, parameterization)
    gain = torch.ones((), requires_grad=True)
    denoiser = NetworkDenoiser(lambda x, log_snr, condition: (gain * x, 0 * x), s, p)
    u = torch.tensor([0.0, 1e-6, 0.5, 1 - 1e-6, 1 - 2**-24], dtype=torch.float64)
    loss, _ = loss_of(make(LOSSES, weighting))(denoiser, X0[:5].float(), NOISE[:5].float(), u)
    loss.sum().backward()
    assert bool(loss.isfinite().all())
    assert bool(gain.grad.isfinite())


def test_the_exact_denoiser_has_no_less_loss_than_no_network_can_beat():
    s, p = schedule("cosine"), make(PARAMETERIZATIONS, "velocity")
    d = mixture(s)
    pick = torch.multinomial(d.weights, 4000, replacement=True, generator=GENERATOR)
    x0 = d.means[pick] + d.stds[pick, None] * torch.randn(4000, 2, dtype=torch.float64, generator=GENERATOR)
    noise = torch.randn(4000, 2, dtype=torch.float64, generator=GENERATOR)
    u = stratified(4000, GENERATOR)
    exact = ExactNetwork(d, p)
    means = [
        loss_of(make(LOSSES, "simple"))(
            NetworkDenoiser(lambda x, log_snr, c, bias=bias: exact(x, log_snr, c) + bias, s, p), x0, noise, u
        )[0].mean()
        for bias in (0.0, -0.2, 0.2)
    ]
    assert means[0] < min(means[1:])


def test_known_and_weightless_elements_are_left_out():
    s, p = schedule("cosine"), make(PARAMETERIZATIONS, "data")
    loss = loss_of(make(LOSSES, "simple"))
    denoiser = NetworkDenoiser(lambda x, log_snr, condition: torch.zeros_like(x), s, p)
    mask, weight = torch.zeros(6, 1, 4), torch.ones(6, 1, 4)
    mask[..., 0], weight[..., 3] = 1, 0
    result, _ = loss(denoiser, X0, NOISE, U, {"mask": mask, "known": X0}, weight)
    torch.testing.assert_close(result, X0[..., 1:3].square().mean((1, 2)))
    nothing, _ = loss(denoiser, X0, NOISE, U, {"mask": torch.ones(6, 1, 4), "known": X0})
    assert nothing.tolist() == [0.0] * 6


def test_a_clamp_does_not_stop_the_gradient_of_training():
    s, p = schedule("cosine"), make(PARAMETERIZATIONS, "data")
    gain = torch.tensor(50.0, requires_grad=True)
    denoiser = NetworkDenoiser(lambda x, log_snr, condition: gain * x, s, p, lambda x0: x0.clamp(-1, 1))
    loss_of(make(LOSSES, "simple"))(denoiser, X0, NOISE, U)[0].sum().backward()
    assert gain.grad.abs() > 1


def test_distributions_of_time_are_what_they_say():
    u = stratified(20_000, GENERATOR)
    s = schedule("flow")
    assert u.min() >= 0
    assert u.max() < 1
    t = make(TIMES, "uniform")(u, s)
    assert float(t.mean()) == pytest.approx(0.5, abs=1e-3)
    assert t.min() > 0
    t = make(TIMES, "logitnormal", {"mean": 0.5, "std": 0.8})(u, s)
    assert float(torch.logit(t).mean()) == pytest.approx(0.5, abs=0.01)
    assert float(torch.logit(t).std()) == pytest.approx(0.8, abs=0.01)
    log_sigma = -s.log_snr(make(TIMES, "lognormal")(u, s))
    assert float(log_sigma.mean()) == pytest.approx(-1.2, abs=0.01)
    assert float(log_sigma.std()) == pytest.approx(1.2, abs=0.01)


@pytest.mark.parametrize("parameterization", ["noise", "velocity"])
def test_snr_with_times_uniform_in_log_snr_is_the_variational_bound(parameterization):
    s, p = schedule("cosine"), make(PARAMETERIZATIONS, parameterization)
    d, levels = mixture(s), Levels(-4, 5, 400)
    x0 = drawn(d, 4000)
    times = make(TIMES, "log-snr", {"start": levels.low, "end": levels.high})
    denoiser = NetworkDenoiser(ExactNetwork(d, p), s, p)
    loss, _ = loss_of(make(LOSSES, "snr"), times)(
        denoiser, x0, torch.randn(x0.shape, dtype=x0.dtype, generator=GENERATOR), stratified(4000, GENERATOR)
    )
    nats = 2 * (levels.high - levels.low) * float(loss.mean())
    exact = float(denoising_error(d, x0[:500], CheapNoise((500, 2)), levels=levels).sum(1).mean())
    assert nats == pytest.approx(exact, rel=0.05)


def test_what_evens_the_losses_out_does_not_go_with_what_draws_by_them():
    with pytest.raises(ValueError, match="take one of them"):
        loss_of(make(LOSSES, "uncertainty"), make(TIMES, "importance"))


def test_losses_are_reported_by_bins_of_log_snr():
    means, counts = by_log_snr(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([-9.0, -math.inf, 1.5]), [-2.0, 0.0, 2.0])
    assert counts.tolist() == [2, 0, 1, 0]
    assert means[[0, 2]].tolist() == [2.0, 5.0]
    assert bool(means[[1, 3]].isnan().all())


def test_huber_is_the_square_for_small_errors_and_a_line_for_large_ones():
    s, p = schedule("cosine"), make(PARAMETERIZATIONS, "data")
    for size, expected in ((1e-3, 1e-6), (1e3, 2 * 0.1 * 1e3)):
        denoiser = NetworkDenoiser(lambda x, log_snr, condition, size=size: X0 + size, s, p)
        loss = DiffusionLoss(make(LOSSES, "simple"), make(TIMES, "uniform"), huber=0.1)
        torch.testing.assert_close(loss(denoiser, X0, NOISE, U)[0], torch.full_like(U, expected), rtol=1e-3, atol=0)


def test_the_learned_uncertainty_becomes_the_logarithm_of_the_loss():
    s, p = schedule("cosine"), make(PARAMETERIZATIONS, "data")
    uncertainty = make(LOSSES, "uncertainty")
    loss, plain = loss_of(uncertainty), loss_of(make(LOSSES, "edm"))
    denoiser = NetworkDenoiser(lambda x, log_snr, condition: 0.5 * x, s, p)
    x0, noise = X0.repeat(50, 1, 1), NOISE.repeat(50, 1, 1)
    u = torch.linspace(0.1, 0.9, 300, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(uncertainty.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        total = loss(denoiser, x0, noise, u)[0].mean()
        total.backward()
        return total

    optimizer.step(closure)
    expected, log_snr = plain(denoiser, x0, noise, u)
    learned = uncertainty.log_variance(log_snr).exp().detach()
    assert float((expected / learned).mean()) == pytest.approx(1.0, abs=0.02)
    halves = [(expected / learned)[part].mean() for part in (slice(0, 150), slice(150, 300))]
    assert [float(h) for h in halves] == pytest.approx([1.0, 1.0], abs=0.1)


def test_importance_sampling_keeps_the_expected_loss_and_lowers_its_variance():
    times, flat = make(TIMES, "importance"), make(TIMES, "uniform")
    s = schedule("cosine")

    def loss_at(t):
        return 0.05 + 5 * t**6

    for _ in range(30):
        t = times(stratified(256, GENERATOR), s)
        times.update(t, loss_at(t))
    u = torch.rand(50_000, generator=GENERATOR, dtype=torch.float64)
    t, even = times(u, s), flat(u, s)
    assert t.min() > 0
    assert t.max() <= 1
    corrected = times.correction(t) * loss_at(t)
    assert float(corrected.mean()) == pytest.approx(0.05 + 5 / 7, rel=0.02)
    assert corrected.var() < loss_at(even).var() / 10


def test_importance_keeps_a_running_mean_and_a_uniform_floor():
    times = make(TIMES, "importance", {"bins": 2, "decay": 0.75, "floor": 0.2})
    for loss in (1.0, 3.0):
        times.update(torch.tensor([0.25, 0.75]), torch.tensor([loss, 5.0]))
    assert times.squares.tolist() == [0.75 * 1 + 0.25 * 9, 25.0]
    root = 3**0.5
    expected = torch.tensor([root, 5.0], dtype=torch.float64) / (root + 5) * 0.8 + 0.1
    torch.testing.assert_close(times.shares, expected)


def test_the_loss_feeds_the_times_that_depend_on_it():
    s, p, times = schedule("cosine"), make(PARAMETERIZATIONS, "velocity"), make(TIMES, "importance", {"bins": 3})
    loss = DiffusionLoss(make(LOSSES, "simple"), times)
    denoiser = NetworkDenoiser(network, s, p)
    plain = loss_of(make(LOSSES, "simple"))
    torch.testing.assert_close(loss(denoiser, X0, NOISE, U)[0], plain(denoiser, X0, NOISE, U)[0])
    assert bool(times.squares.isfinite().all())
    assert float(times.shares.sum()) == pytest.approx(1.0)
    assert float(times.shares.max()) > 0.34


@pytest.mark.parametrize(
    ("table", "name", "options"),
    [
        (TIMES, "lognormal", {"std": 0}),
        (TIMES, "logitnormal", {"mean": "early"}),
        (TIMES, "log-snr", {"start": 5}),
        (LOSSES, "min-snr", {"gamma": -1}),
        (LOSSES, "edm", {"sigma_data": 0}),
        (LOSSES, "minsnr", {}),
        (LOSSES, "soft-min-snr", {"gamma": 0}),
        (LOSSES, "p2", {"k": 0}),
        (LOSSES, "uncertainty", {"features": 0}),
        (TIMES, "importance", {"floor": 0}),
    ],
)
def test_impossible_objectives_are_refused(table, name, options):
    with pytest.raises(ValueError, match=name):
        make(table, name, options)
