import pytest
import torch

from multidiff.core import PARAMETERIZATIONS, SCHEDULES, NetworkDenoiser, make
from multidiff.core.schedules.preserving import VariancePreserving
from tests.core.exact import ENDLESS, ExactNetwork, mixture, schedule

x0 = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
eps = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
T = torch.tensor([0.02, 0.3, 0.5, 0.8, 0.99], dtype=torch.float64)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_the_right_prediction_gives_back_the_data(name, parameterization):
    s, p = schedule(name), make(PARAMETERIZATIONS, parameterization)
    recovered = p.x0(s, s.diffuse(x0, eps, T), p.target(s, x0, eps, T), T)
    torch.testing.assert_close(recovered, x0, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_factors_are_the_literatures_weights_on_x0(name):
    s = schedule(name)
    snr = torch.exp(2 * s.log_snr(T))

    def factor(name, options=None):
        return make(PARAMETERIZATIONS, name, options).factor(s, T)

    torch.testing.assert_close(factor("noise"), snr)
    torch.testing.assert_close(factor("edm", {"sigma_data": 0.5}), snr + 4)
    if name == "flow":
        torch.testing.assert_close(factor("flow"), (1 + snr.sqrt()) ** 2)
    if isinstance(s, VariancePreserving):
        torch.testing.assert_close(factor("velocity"), snr + 1)


def test_edm_with_unit_data_on_a_variance_preserving_schedule_predicts_minus_v():
    s = schedule("cosine")
    edm, velocity = make(PARAMETERIZATIONS, "edm"), make(PARAMETERIZATIONS, "velocity")
    torch.testing.assert_close(edm.target(s, x0, eps, T), -velocity.target(s, x0, eps, T))


def test_edm_is_karras_preconditioning():
    s, sd = schedule("flow"), 0.7
    p = make(PARAMETERIZATIONS, "edm", {"sigma_data": sd})
    x_t, output = s.diffuse(x0, eps, T), torch.randn_like(x0)
    alpha, sigma = s.alpha(T)[:, None, None], s.sigma(T)[:, None, None]
    V = alpha**2 * sd**2 + sigma**2
    expected = alpha * sd**2 / V * x_t + sigma * sd / V.sqrt() * output
    torch.testing.assert_close(p.x0(s, x_t, output, T), expected)
    torch.testing.assert_close(p.input_scale(s, T), 1 / V.flatten().sqrt())


@pytest.mark.parametrize("end", ENDLESS)
@pytest.mark.parametrize("name", ["noise", "score"])
def test_predicting_noise_where_no_data_is_left_is_refused(name, end):
    p = make(PARAMETERIZATIONS, name)
    with pytest.raises(ValueError, match="alpha = 0; predict velocity"):
        NetworkDenoiser(ExactNetwork(mixture(schedule(end)), p), schedule(end), p)
