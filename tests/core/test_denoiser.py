import pytest
import torch

from multidiff.core import (
    PARAMETERIZATIONS,
    SCHEDULES,
    GaussianDenoiser,
    MixtureDenoiser,
    NetworkDenoiser,
    Rescheduled,
    make,
)
from tests.core.exact import mixture, schedule

T = torch.tensor([0.2, 0.9], dtype=torch.float64)


def test_a_network_sees_known_values_clean_and_the_estimate_keeps_them():
    seen = {}

    def network(x, log_snr, condition):
        seen.update(x=x, log_snr=log_snr, condition=condition)
        return torch.zeros_like(x)

    denoiser = NetworkDenoiser(network, schedule("flow"), make(PARAMETERIZATIONS, "flow"))
    x_t, known = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    mask = torch.zeros(2, 1, 4)
    mask[..., :2] = 1
    x0 = denoiser(x_t, T, {"known": known, "mask": mask}).x0
    assert torch.equal(seen["x"][..., :2], known[..., :2])
    assert torch.equal(seen["x"][..., 2:], x_t[..., 2:])
    assert torch.equal(x0[..., :2], known[..., :2])
    assert not torch.equal(x0[..., 2:], known[..., 2:])
    torch.testing.assert_close(seen["log_snr"], schedule("flow").log_snr(T).float())
    assert "mask" in seen["condition"]


def test_a_network_without_condition_gets_an_empty_one():
    def network(x, log_snr, condition):
        assert condition == {}
        return x

    denoiser = NetworkDenoiser(network, schedule("cosine"), make(PARAMETERIZATIONS, "data"))
    x = torch.randn(2, 3)
    assert torch.equal(denoiser(x, T).x0, x)


def test_a_clamp_holds_the_estimate_in_the_mediums_bounds():
    denoiser = NetworkDenoiser(
        lambda x, log_snr, condition: 5 * x,
        schedule("cosine"),
        make(PARAMETERIZATIONS, "data"),
        clamp=lambda x0: x0.clamp(-1, 1),
    )
    assert denoiser(torch.randn(2, 3), T).x0.abs().max() <= 1


def test_exact_denoisers_agree_with_numerical_integration():
    grid = torch.linspace(-4, 4, 401, dtype=torch.float64)
    points = torch.cartesian_prod(grid, grid)
    for name in ("cosine", "flow"):
        s = schedule(name)
        d = mixture(s)
        square = (points[:, None] - d.means).square().sum(-1)
        density = (d.weights / d.stds**2 * torch.exp(-square / (2 * d.stds**2))).sum(1)
        x = torch.tensor([[0.3, -0.4]], dtype=torch.float64)
        for t in (0.1, 0.5, 0.9):
            t = torch.tensor([t], dtype=torch.float64)
            likelihood = torch.exp(-(x - s.alpha(t) * points).square().sum(1) / (2 * s.sigma(t) ** 2))
            posterior = (density * likelihood) / (density * likelihood).sum()
            torch.testing.assert_close(d(x, t).x0[0], posterior @ points, rtol=1e-4, atol=1e-4)


def test_a_mixture_of_one_is_a_gaussian():
    s, mean = schedule("linear"), torch.randn(2, 3, dtype=torch.float64)
    gaussian = GaussianDenoiser(s, mean, 0.49 * torch.eye(6, dtype=torch.float64))
    one = MixtureDenoiser(s, mean[None], torch.tensor([0.7]).double(), torch.ones(1).double())
    x = torch.randn(2, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(gaussian(x, T).x0, one(x, T).x0)


@pytest.mark.parametrize("trained", ["cosine", "ve", "sub-vp"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_exact_denoiser_of_one_schedule_is_that_of_another_under_it(name, trained):
    covariance = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
    mean = torch.tensor([0.3, -0.4], dtype=torch.float64)
    theirs, ours = (GaussianDenoiser(schedule(which), mean, covariance) for which in (trained, name))
    swapped = Rescheduled(theirs, schedule(name))
    # Levels that both schedules have, from one end to the other.
    log_snr = torch.linspace(-4.5, 5.0, 9, dtype=torch.float64)
    t = schedule(name).inverse(log_snr)
    inside = ((schedule(name).log_snr(t) - log_snr).abs() < 1e-6) & (
        (schedule(trained).log_snr(schedule(trained).inverse(log_snr)) - log_snr).abs() < 1e-6
    )
    t = t[inside]
    assert len(t) > 4
    x_t = torch.randn(len(t), 2, dtype=torch.float64) * schedule(name).sigma(t)[:, None]
    torch.testing.assert_close(swapped(x_t, t).x0, ours(x_t, t).x0, rtol=1e-6, atol=1e-6)
    ends = torch.tensor([1e-6, 1.0], dtype=torch.float64)
    assert bool(swapped(x_t[:2], ends).x0.isfinite().all())
