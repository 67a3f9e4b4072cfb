"""Measurements: each method beside the exact conditional law."""

import pytest
import torch

from multidiff.core import GRIDS, SAMPLERS, GaussianDenoiser, Replacement, make, repaint_times, sample
from multidiff.core.inverse import DPS, MMPS, OPERATORS, Measurement, PiGDM, ReconstructionGuidance
from multidiff.core.inverse.posterior import conjugate_gradient
from tests.core.exact import CheapNoise, mixture, schedule
from tests.core.laws import drawn, energy_distance, given_first

DDPM = make(SAMPLERS, "ddpm")
FIRST = make(OPERATORS, "masked", {"mask": torch.tensor([[1.0, 0.0]])})


def fine(s, steps=100):
    return make(GRIDS, "log-snr", {"start": -4, "end": 4})(s, steps)


def smooth(size, length=2.0):
    """A covariance of neighbours that resemble each other."""
    place = torch.arange(size, dtype=torch.float64)
    return torch.exp(-((place[:, None] - place) ** 2) / (2 * length**2)) + 1e-2 * torch.eye(size, dtype=torch.float64)


def conditional(covariance, matrix, y, std):
    """Mean and covariance of N(0, covariance) given y = matrix x + std n."""
    gain = (
        covariance
        @ matrix.T
        @ torch.linalg.inv(matrix @ covariance @ matrix.T + std**2 * torch.eye(len(matrix), dtype=torch.float64))
    )
    return gain @ y, covariance - gain @ matrix @ covariance


@pytest.mark.parametrize(
    ("name", "options", "std"),
    [("averaged", {"factor": 4}, 0.0), ("blurred", {"width": 1.0}, 0.2), ("masked", {"mask": None}, 0.1)],
)
def test_moment_matching_draws_the_exact_conditional_of_a_gaussian_under_every_operator(name, options, std):
    size, count, s = 8, 1500, schedule("cosine")
    if "mask" in options:
        options = {"mask": (torch.arange(size) < 5).double()}
    operator, covariance = make(OPERATORS, name, options), smooth(size)
    matrix = operator(torch.eye(size, dtype=torch.float64)).T
    truth = torch.linalg.cholesky(covariance) @ CheapNoise((size, 1), seed=3)(0)
    y = (matrix @ truth)[:, 0]
    denoiser = GaussianDenoiser(s, torch.zeros(size, dtype=torch.float64), covariance)
    guided = MMPS(denoiser, Measurement(operator, y, std))
    x = sample(guided, make(SAMPLERS, "dpm++2m"), fine(s, 40), CheapNoise((count, size)))
    mean, spread = conditional(covariance, matrix, y, std)
    assert float((x.mean(0) - mean).abs().max()) < 0.06
    assert float((x.T.cov() - spread).abs().max()) < 0.06


BIASES = {
    "replacement": (0.72, 0.68),
    "reconstruction": (0.79, 0.65),
    "pigdm": (1.15, 0.59),
    "mmps": (1.20, 0.58),
    "repaint": (1.18, 0.56),
    "dps": (1.46, 0.55),
}
"""Mean and standard deviation of the second element, exactly 1.2 and 0.6, as the modules' docstrings state them."""


def guided(method, denoiser, known, std):
    measurement, times = Measurement(FIRST, known, std), fine(denoiser.schedule)
    replacement = Replacement(DDPM, known, torch.tensor([[1.0, 0.0]]))
    denoiser_of = {"reconstruction": ReconstructionGuidance, "pigdm": PiGDM, "mmps": MMPS}
    sampler_of = {"replacement": replacement, "repaint": replacement, "dps": DPS(DDPM, measurement, 0.3)}
    if method == "repaint":
        times = repaint_times(times, jump=10, repeats=10)
    guide = denoiser_of[method](denoiser, measurement) if method in denoiser_of else denoiser
    return sample(guide, sampler_of.get(method, DDPM), times, CheapNoise((len(known), 2)))


@pytest.mark.parametrize("method", BIASES)
def test_the_bias_on_a_gaussian_is_the_stated_one(method):
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    denoiser = GaussianDenoiser(schedule("cosine"), torch.zeros(2, dtype=torch.float64), covariance)
    x = guided(method, denoiser, torch.tensor([[1.5, 0.0]], dtype=torch.float64).expand(2000, 2), 0.0)
    mean, std = BIASES[method]
    assert float(x[:, 1].mean()) == pytest.approx(mean, abs=0.05)
    assert float(x[:, 1].std()) == pytest.approx(std, abs=0.04)
    assert float((x[:, 0] - 1.5).abs().mean()) < (0.4 if method == "dps" else 1e-2)


DISTANCES = {"reconstruction": 0.36, "pigdm": 0.29, "mmps": 0.27, "dps": 0.07}
"""Energy distance to exact samples of the mixture's conditional; the prior lies at 0.71, exact samples at 0.00."""


@pytest.mark.parametrize("method", DISTANCES)
def test_on_a_mixture_each_comes_as_near_the_exact_conditional_as_stated(method):
    prior = mixture(schedule("cosine"))
    exact = given_first(prior, y=0.2, std=0.2)
    generator = torch.Generator().manual_seed(1)
    k = torch.multinomial(exact.weights, 800, replacement=True, generator=generator)
    points = exact.means[k] + exact.stds[k] * torch.randn(800, 2, generator=generator, dtype=torch.float64)
    x = guided(method, prior, torch.tensor([[0.2, 0.0]], dtype=torch.float64).expand(800, 2), 0.2)
    assert energy_distance(points, drawn(prior, 800)) > 0.6
    assert energy_distance(points, x) == pytest.approx(DISTANCES[method], abs=0.06)


@pytest.mark.parametrize("name", ["cosine", "flow"])
@pytest.mark.parametrize("method", ["reconstruction", "pigdm", "mmps"])
def test_the_estimate_moves_along_the_gradient_of_the_stated_gaussian(method, name):
    """x0 + (sigma^2/alpha) grad log N(y; A x0, S), each S as in the module's docstring, one sample at a time."""
    s, std, scale, data_std = schedule(name), 0.3, 0.7, 0.6
    d, matrix = mixture(s), torch.tensor([[1.0, 0.5], [0.2, -1.0]], dtype=torch.float64)
    y, t = torch.tensor([[0.4, -0.3]], dtype=torch.float64), torch.tensor([0.6], dtype=torch.float64)
    measurement = Measurement(make(OPERATORS, "linear", {"matrix": matrix}), y, std)
    guide = {
        "reconstruction": ReconstructionGuidance(d, measurement, scale),
        "pigdm": PiGDM(d, measurement, data_std=data_std),
        "mmps": MMPS(d, measurement),
    }[method]
    alpha, sigma, x_t = s.alpha(t), s.sigma(t), torch.tensor([[0.3, 0.8]], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: d(x, t).x0[0], x_t)[:, 0]
    eye = torch.eye(2, dtype=torch.float64)
    spread = {
        "reconstruction": (sigma / alpha) ** 2 / scale * eye,
        "pigdm": (data_std * sigma) ** 2 / ((data_std * alpha) ** 2 + sigma**2) * matrix @ matrix.T,
        "mmps": sigma**2 / alpha * matrix @ jacobian @ matrix.T,
    }[method] + std**2 * eye
    x0 = d(x_t, t).x0
    gradient = torch.linalg.solve(spread, (y - x0 @ matrix.T)[0]) @ matrix @ jacobian
    torch.testing.assert_close(guide(x_t, t).x0, x0 + sigma**2 / alpha * gradient)


@pytest.mark.parametrize("method", [ReconstructionGuidance, PiGDM, MMPS])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_works_under_measurement_guidance_from_pure_noise(method, sampler):
    s = schedule("flow")
    measurement = Measurement(FIRST, torch.tensor([[0.2, 0.0]], dtype=torch.float64), 0.1)
    x = sample(
        method(mixture(s), measurement), make(SAMPLERS, sampler), make(GRIDS, "log-snr")(s, 20), CheapNoise((20, 2))
    )
    assert bool(x.isfinite().all())
    assert float((x[:, 0] - 0.2).abs().mean()) < 0.6


def test_an_operator_need_not_be_linear():
    s = schedule("cosine")
    measurement = Measurement(lambda x: x.square().sum(1), torch.full((300,), 4.0, dtype=torch.float64), 0.05)
    gaussian = GaussianDenoiser(s, torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    x = sample(PiGDM(gaussian, measurement), DDPM, fine(s, 60), CheapNoise((300, 2)))
    assert float((x.norm(dim=1) - 2).abs().median()) < 0.1


def test_a_guided_sample_does_not_depend_on_its_batch():
    d = mixture(schedule("cosine"))
    x_t, t = CheapNoise((3, 2))(0), torch.full((3,), 0.5, dtype=torch.float64)
    y = torch.tensor([[0.2, 0.0], [3.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    for method in (ReconstructionGuidance, PiGDM, MMPS):
        together = method(d, Measurement(FIRST, y, 0.1))(x_t, t).x0
        alone = method(d, Measurement(FIRST, y[1:2], 0.1))(x_t[1:2], t[1:2]).x0
        torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-12)


def test_conjugate_gradients_solve_each_sample_and_stop_at_zero():
    matrix = torch.tensor([[4.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 2.0]], dtype=torch.float64)
    b = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [1e-9, 0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(conjugate_gradient(lambda v: v @ matrix, b, 10), torch.linalg.solve(matrix, b.T).T)


def test_operators_do_what_they_say():
    x = torch.arange(16, dtype=torch.float64).reshape(1, 4, 4)
    assert make(OPERATORS, "averaged", {"factor": 2, "axes": 2})(x).tolist() == [[[2.5, 4.5], [10.5, 12.5]]]
    spot = torch.zeros(1, 1, 41, dtype=torch.float64)
    spot[..., 20] = 1
    blurred = make(OPERATORS, "blurred", {"width": 2.0})(spot)[0, 0]
    place = torch.arange(-20, 21, dtype=torch.float64)
    assert float(blurred.sum()) == pytest.approx(1.0)
    assert float((blurred * place**2).sum()) == pytest.approx(4.0, rel=1e-2)
    assert make(OPERATORS, "linear", {"matrix": torch.ones(2, 16)})(x).tolist() == [[120.0, 120.0]]
    with pytest.raises(ValueError, match="does not divide"):
        make(OPERATORS, "averaged", {"factor": 3})(x)
    with pytest.raises(ValueError, match="width"):
        make(OPERATORS, "blurred", {"width": 0.0})
