import math

import pytest
import torch

from multidiff.core import SCHEDULES, GaussianDenoiser, SeededNoise
from multidiff.core.likelihood import (
    Levels,
    anomaly_score,
    bits_per_dimension,
    denoising_error,
    log_likelihood,
    variational_bound,
)
from tests.core.exact import CheapNoise, mixture, schedule, white
from tests.core.laws import drawn


def exact(d, x):
    """log p of a mixture."""
    square = (x[:, None] - d.means).square().sum(-1)
    return torch.logsumexp(d.weights.log() - square / (2 * d.stds**2) - 2 * d.stds.log() - math.log(2 * math.pi), dim=1)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_flows_likelihood_is_exact_on_a_mixture(name):
    d = mixture(schedule(name))
    x, levels = torch.cat([drawn(d, 40), torch.zeros(1, 2, dtype=torch.float64)]), Levels(steps=60)
    torch.testing.assert_close(log_likelihood(d, x, levels=levels), exact(d, x), rtol=0, atol=1e-3)


def test_the_flows_likelihood_is_exact_twenty_nats_out():
    d, far = mixture(schedule("cosine")), torch.tensor([[2.5, 2.0], [-3.0, 0.0]], dtype=torch.float64)
    assert float(exact(d, far).max()) < -15
    torch.testing.assert_close(log_likelihood(d, far), exact(d, far), rtol=0, atol=5e-3)


def gaussian(name="flow"):
    root = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.5, 0.0], [-0.2, 0.3, 0.7]], dtype=torch.float64)
    mean = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64)
    law = torch.distributions.MultivariateNormal(mean, scale_tril=root)
    return GaussianDenoiser(schedule(name), mean, root @ root.T), law


def test_the_flows_likelihood_is_exact_on_a_gaussian_in_float32_too():
    d, law = gaussian()
    x = law.sample((20,))
    torch.testing.assert_close(log_likelihood(d, x), law.log_prob(x), rtol=0, atol=5e-3)
    d.mean, d.values, d.vectors = d.mean.float(), d.values.float(), d.vectors.float()
    torch.testing.assert_close(log_likelihood(d, x.float()), law.log_prob(x), rtol=0, atol=5e-3)


def test_hutchinsons_estimate_is_unbiased_and_depends_on_the_samples_seed_alone():
    d, law = gaussian("cosine")
    x = law.mean.expand(400, 3) + 0.3
    few = Levels(steps=30)
    estimate = log_likelihood(d, x, noise=CheapNoise((400, 3)), levels=few)
    true = log_likelihood(d, x[:1], levels=few)
    standard_error = float(estimate.std()) / 20
    assert float(estimate.std()) > 0.1
    assert abs(float(estimate.mean() - true)) < 4 * standard_error
    more = log_likelihood(d, x, noise=CheapNoise((400, 3)), probes=8, levels=few)
    assert float(more.std()) < float(estimate.std()) / 2
    together = log_likelihood(d, x[:3], noise=SeededNoise([4, 5, 6], (3,), torch.float64), levels=few)
    alone = log_likelihood(d, x[:1], noise=SeededNoise([5], (3,), torch.float64), levels=few)
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["cosine", "flow"])
def test_the_bound_of_an_exact_denoiser_is_the_likelihood_itself(name):
    d = mixture(schedule(name))
    points = torch.tensor([[-1.0, 0.5], [0.9, 0.0], [0.0, 0.0], [2.0, 1.0]], dtype=torch.float64)
    x = points.repeat_interleave(1500, 0)
    bound = variational_bound(d, x, CheapNoise((6000, 2)), levels=Levels(-6, 6, 80)).flatten(1).sum(1).reshape(4, -1)
    standard_error = bound.std(1) / 1500**0.5
    assert float(standard_error.max()) < 0.05
    assert bool(((bound.mean(1) + exact(d, points)).abs() < 4 * standard_error + 5e-3).all())


def test_the_bound_is_exact_without_chance_at_the_mean_of_white_data_wherever_the_levels_end():
    """There the control variate takes all of the noise's variance, and the prior all that the levels leave out."""
    x, std = torch.zeros(5, 2, dtype=torch.float64), 0.6
    for low in (-0.5, -2.0):
        levels = Levels(low, 7.0, 400, data_std=std)
        bound = variational_bound(white(schedule("cosine"), std**2, 2), x, CheapNoise((5, 2)), levels=levels).sum(1)
        torch.testing.assert_close(bound, torch.full_like(bound, math.log(2 * math.pi * std**2)), rtol=0, atol=2e-3)


def test_the_bound_of_a_wrong_denoiser_lies_above():
    d, wrong = mixture(schedule("flow")), mixture(schedule("flow"))
    wrong.means = wrong.means + 0.3
    x = drawn(d, 2000)
    noise = CheapNoise((2000, 2))
    right, above = (variational_bound(v, x, noise, levels=Levels(steps=40)).sum(1).mean() for v in (d, wrong))
    assert float(above - right) > 0.2
    assert float(right + exact(d, x).mean()) == pytest.approx(0.0, abs=0.1)


def test_the_anomaly_score_finds_the_strange_sample_and_its_strange_element():
    place = torch.arange(12, dtype=torch.float64)
    covariance = torch.exp(-((place[:, None] - place) ** 2) / 8) + 0.01 * torch.eye(12, dtype=torch.float64)
    d = GaussianDenoiser(schedule("cosine"), torch.zeros(12, dtype=torch.float64), covariance)
    x = CheapNoise((200, 12))(0) @ torch.linalg.cholesky(covariance).T
    strange = x.clone()
    strange[:, 7] += 1.0
    noise = CheapNoise((200, 12), seed=5)
    (usual, _), (score, elements) = anomaly_score(d, x, noise), anomaly_score(d, strange, noise)
    assert float((score[:, None] > usual).double().mean()) > 0.98
    assert bool((elements.mean(0).argmax() == 7).item())
    assert float((elements.argmax(1) == 7).double().mean()) > 0.8


def test_a_gaussian_of_one_dimension_has_its_entropy_in_bits():
    nats = torch.tensor([0.5 * math.log(2 * math.pi * math.e)])
    assert float(bits_per_dimension(nats, 1)) == pytest.approx(2.0471, abs=1e-4)
    assert float(bits_per_dimension(nats, 1, bin_width=2 / 255)) == pytest.approx(2.0471 + math.log2(127.5), abs=1e-4)


def test_the_error_is_that_of_each_sample_alone():
    d, x = mixture(schedule("cosine")), torch.zeros(3, 2, dtype=torch.float64)
    together = denoising_error(d, x, SeededNoise([1, 2, 3], (2,), torch.float64))
    torch.testing.assert_close(together[1:2], denoising_error(d, x[:1], SeededNoise([2], (2,), torch.float64)))


def test_levels_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="low must be below"):
        Levels(low=3.0, high=1.0)
    with pytest.raises(ValueError, match="begins at log-SNR"):
        Levels(low=-9.0, high=-8.0).within(schedule("linear"))
