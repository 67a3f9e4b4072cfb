import math

import pytest
import torch

from multidiff.core import SCHEDULES, make
from multidiff.core.schedule import expand
from multidiff.core.schedules import Cosine, Karras, Linear, RectifiedFlow, Shifted, Tabulated, ZeroTerminalSNR
from tests.core.exact import schedule

T = torch.linspace(0.0005, 0.9995, 800, dtype=torch.float64)
every_schedule = pytest.mark.parametrize("name", SCHEDULES)


@every_schedule
def test_time_zero_is_data_and_noise_only_grows(name):
    s = schedule(name)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert s.alpha(ends)[0] == 1
    assert s.sigma(ends)[0] == 0
    assert s.alpha(ends)[1] / s.sigma(ends)[1] < 0.1
    assert bool((s.log_snr(T).diff() < 0).all())


@every_schedule
def test_log_snr_is_inverted_exactly(name):
    s = schedule(name)
    torch.testing.assert_close(s.inverse(s.log_snr(T)), T, rtol=0, atol=1e-12)
    assert s.inverse(torch.tensor([math.inf, -math.inf])).tolist() == [0.0, 1.0]


@every_schedule
def test_derivatives_are_the_slopes_of_alpha_and_sigma(name):
    s, h = schedule(name), 1e-6
    t = torch.arange(0.5, 1000) / 1000  # between the steps of the table, where it has a slope
    t = t.double()
    for own, level in zip(s.derivatives(t), (s.alpha, s.sigma), strict=True):
        torch.testing.assert_close(own, (level(t + h) - level(t - h)) / (2 * h), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["linear", "scaled-linear", "cosine", "sigmoid", "tabulated", "zero-terminal-snr"])
def test_variance_is_preserved(name):
    s = schedule(name)
    torch.testing.assert_close(s.alpha(T) ** 2 + s.sigma(T) ** 2, torch.ones_like(T))


def test_half_precision_times_get_float64_schedules_cast_last():
    t = torch.tensor([0.001], dtype=torch.bfloat16)
    exact = Tabulated.linear().sigma(t.double())
    assert Tabulated.linear().sigma(t) == exact.to(torch.bfloat16) != 0


def test_a_table_gives_the_discrete_chain_at_its_steps():
    betas = torch.linspace(1e-4, 0.02, 100, dtype=torch.float64)
    t = torch.arange(1, 101, dtype=torch.float64) / 100
    torch.testing.assert_close(Tabulated(betas).alpha(t) ** 2, (1 - betas).cumprod(0), rtol=1e-12, atol=0)


def test_the_continuous_linear_schedule_is_the_limit_of_the_table():
    torch.testing.assert_close(Linear().alpha(T), Tabulated.linear().alpha(T), rtol=0, atol=2e-3)


def test_the_cosine_schedule_is_its_papers_but_for_the_bounded_end():
    squared = torch.cos((T + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(Cosine().alpha(T) ** 2, squared, rtol=0, atol=1e-4)
    assert Cosine().log_snr(torch.tensor(1.0)).item() == pytest.approx(-10.0, abs=1e-6)


def test_diffusing_mixes_data_and_noise_of_any_event_shape():
    x0, noise = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    t = torch.tensor([0.25, 1.0])
    x_t = schedule("flow").diffuse(x0, noise, t)
    torch.testing.assert_close(x_t, torch.stack([0.75 * x0[0] + 0.25 * noise[0], noise[1]]))


def test_a_level_for_each_frame_broadcasts_over_the_rest():
    assert expand(torch.rand(2, 1, 4), torch.rand(2, 3, 4, 5, 5)).shape == (2, 1, 4, 1, 1)


@pytest.mark.parametrize("betas", [[0.1], [0.1, 1.0], [0.0, 0.1], [[0.1, 0.2]]])
def test_impossible_betas_are_refused(betas):
    with pytest.raises(ValueError, match="betas must be"):
        Tabulated(betas)


def test_an_unknown_schedule_or_option_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        make(SCHEDULES, "cosin")
    with pytest.raises(ValueError, match="did you mean 'beta_max'"):
        make(SCHEDULES, "linear", {"beta_mx": 1.0})
    with pytest.raises(ValueError, match="tabulated: "):
        make(SCHEDULES, "tabulated", {"power": 0})
    with pytest.raises(ValueError, match="linear: "):
        make(SCHEDULES, "linear", {"beta_max": "high"})


@every_schedule
def test_a_schedules_norm_is_one_along_its_path_and_has_its_derivatives(name):
    s, h = schedule(name), 1e-6
    alpha, sigma = s.alpha(T), s.sigma(T)
    n, by_alpha, by_sigma = s._norm(alpha, sigma)
    torch.testing.assert_close(n, torch.ones_like(T))
    torch.testing.assert_close(s._norm(3 * alpha, 3 * sigma)[0], 3 * n)
    torch.testing.assert_close((s._norm(alpha + h, sigma)[0] - s._norm(alpha - h, sigma)[0]) / (2 * h), by_alpha)
    torch.testing.assert_close((s._norm(alpha, sigma + h)[0] - s._norm(alpha, sigma - h)[0]) / (2 * h), by_sigma)


@pytest.mark.parametrize("shift", [0.3, 4.0])
@every_schedule
def test_a_shift_moves_log_snr_and_stays_in_the_family(name, shift):
    base = schedule(name)
    s = Shifted(base, shift)
    torch.testing.assert_close(s.log_snr(T), base.log_snr(T) - math.log(shift))
    torch.testing.assert_close(base._norm(s.alpha(T), s.sigma(T))[0], torch.ones_like(T))
    torch.testing.assert_close(s.inverse(s.log_snr(T)), T, rtol=0, atol=1e-11)


def test_a_shifted_flow_is_the_shift_of_time_in_stable_diffusion_3():
    s = Shifted(RectifiedFlow(), 3.0)
    torch.testing.assert_close(s.sigma(T), 3 * T / (1 + 2 * T))
    torch.testing.assert_close(s.derivatives(T)[1], 3 / (1 + 2 * T) ** 2)


def test_zero_terminal_snr_is_that_of_diffusers_but_for_the_level_that_stays():
    from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas = (1 - rescale_zero_terminal_snr(betas)).cumprod(0).sqrt()
    levels = torch.arange(1, 1001, dtype=torch.float64) / 1000
    ours = schedule("zero-terminal-snr").alpha(levels)
    assert ours[-1] == 0
    torch.testing.assert_close(ours, alphas, rtol=4e-5, atol=1e-9)
    torch.testing.assert_close(ours * alphas[0] / ours[0], alphas, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["flow", "ve", "sub-vp"])
def test_zero_terminal_snr_is_refused_where_variance_is_not_preserved(name):
    with pytest.raises(ValueError, match="does not preserve variance"):
        ZeroTerminalSNR(schedule(name))


def test_karras_times_are_the_sigmas_of_the_paper():
    levels = torch.linspace(80 ** (1 / 7), 0.002 ** (1 / 7), 20, dtype=torch.float64) ** 7
    sigma = Karras().sigma(torch.linspace(1, 0, 20, dtype=torch.float64))
    torch.testing.assert_close(sigma**2 + 0.002**2, levels**2)


def test_a_schedule_of_a_schedule_is_made_by_name_with_its_options():
    s = make(SCHEDULES, "shifted", {"schedule": {"name": "cosine", "options": {"s": 0.02}}, "shift": 2.0})
    torch.testing.assert_close(s.log_snr(T), Cosine(0.02).log_snr(T) - math.log(2))
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        make(SCHEDULES, "shifted", {"schedule": "cosin"})
