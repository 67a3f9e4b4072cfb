import pytest
import torch

from multidiff.core import (
    GRIDS,
    PARAMETERIZATIONS,
    SAMPLERS,
    MixtureDenoiser,
    NetworkDenoiser,
    SeededNoise,
    make,
    sample,
    states,
)
from tests.core.exact import PAIRS, CheapNoise, ExactNetwork, mixture, schedule


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("name", "parameterization"), PAIRS)
def test_every_sampler_works_with_every_schedule_and_parameterization(name, parameterization, sampler):
    s, p = schedule(name), make(PARAMETERIZATIONS, parameterization)
    network = NetworkDenoiser(ExactNetwork(mixture(s), p), s, p)
    times, noise = make(GRIDS, "trailing")(s, 5), CheapNoise((3, 2))
    direct = sample(mixture(s), make(SAMPLERS, sampler), times, noise)
    through = sample(network, make(SAMPLERS, sampler), times, noise)
    assert bool(direct.isfinite().all())
    torch.testing.assert_close(through, direct, rtol=0, atol=1e-6)


@pytest.mark.parametrize("grid", [name for name in GRIDS if name != "fixed"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_works_on_every_grid_in_float32(grid, sampler):
    for name in ("tabulated", "cosine", "flow", "karras", "zero-terminal-snr"):
        s = schedule(name)
        d = MixtureDenoiser(s, torch.tensor([[[-1.0]], [[1.0]]]), torch.full((2,), 0.05), torch.full((2,), 0.5))
        x = sample(d, make(SAMPLERS, sampler), make(GRIDS, grid)(s, 40), SeededNoise(range(8), (1, 1)))
        assert x.dtype == torch.float32
        # The third order of the SDE overshoots on grids whose steps grow quickly (leading, linspace).
        assert bool(((x.abs() - 1).abs() < (0.65 if sampler == "dpm++3m-sde" else 0.4)).all())


@pytest.mark.parametrize("shape", [(5,), (2, 7), (3, 4, 4), (2, 3, 4, 4)])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_takes_any_event_shape(shape, sampler):
    s = schedule("flow")
    d = MixtureDenoiser(s, torch.zeros(1, *shape), torch.ones(1), torch.ones(1))
    x = sample(d, make(SAMPLERS, sampler), make(GRIDS, "log-snr")(s, 4), SeededNoise([1, 2], shape))
    assert x.shape == (2, *shape)
    assert bool(x.isfinite().all())


def test_noise_is_the_same_to_the_bit_alone_and_in_a_batch():
    batch, alone = SeededNoise([4, 5, 6], (3, 4)), SeededNoise([5], (3, 4))
    for step in (0, 1, 17):
        assert torch.equal(batch(step)[1], alone(step)[0])
    assert torch.equal(batch.initial, batch(0))
    assert torch.equal(SeededNoise([5], (3, 4), dtype=torch.float64)(2), alone(2).double())


def test_noise_differs_between_seeds_steps_and_streams_and_is_standard_normal():
    noise = SeededNoise(range(20), (500,))
    draws = torch.cat([noise(0), noise(1), noise(1, stream=1), noise(2)])
    correlation = torch.corrcoef(draws) - torch.eye(len(draws))
    assert correlation.abs().max() < 5 / 500**0.5
    assert abs(draws.mean()) < 0.02
    assert abs(draws.std() - 1) < 0.02


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_does_not_depend_on_its_batch(sampler):
    s = schedule("cosine")
    times, seeds = make(GRIDS, "log-snr")(s, 12), [7, 8, 9, 10]
    together = sample(mixture(s), make(SAMPLERS, sampler), times, SeededNoise(seeds, (2,), torch.float64))
    for i, seed in enumerate(seeds):
        alone = sample(mixture(s), make(SAMPLERS, sampler), times, SeededNoise([seed], (2,), torch.float64))
        torch.testing.assert_close(together[i], alone[0], rtol=0, atol=1e-12)


def test_the_loop_yields_every_state_with_its_estimate():
    s = schedule("flow")
    times = make(GRIDS, "trailing")(s, 4)
    run = list(states(mixture(s), make(SAMPLERS, "dpm++2m"), times, CheapNoise((3, 2))))
    assert [state.step for state in run] == [0, 1, 2, 3, 4]
    assert [float(state.t[0]) for state in run] == times.tolist()
    assert run[0].x0 is None
    torch.testing.assert_close(run[-1].x, run[-1].x0)


def test_sampling_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    s = schedule("flow")
    sample(mixture(s), make(SAMPLERS, "ddpm"), make(GRIDS, "trailing")(s, 4), SeededNoise([0], (2,)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_element_may_have_its_own_noise_level(sampler):
    """Two halves at different times in one run end as two runs of their own would."""
    s = schedule("cosine")
    d, n = mixture(s), CheapNoise((2, 2))
    early, late = torch.linspace(1, 0, 6).double(), torch.linspace(0.5, 0, 6).double()
    x = n(0)
    both = sample(d, make(SAMPLERS, sampler), torch.stack([early, late], 1), n, x=x)
    first = sample(d, make(SAMPLERS, sampler), early, n, x=x)
    second = sample(d, make(SAMPLERS, sampler), late, n, x=x)
    torch.testing.assert_close(both, torch.stack([first[0], second[1]]))


def test_a_path_that_rises_diffuses_forward_to_the_right_law():
    s = schedule("linear")
    x0 = torch.ones(1, 50_000, dtype=torch.float64)
    up = torch.tensor([0.3, 0.6], dtype=torch.float64)
    start = s.diffuse(x0, CheapNoise(x0.shape)(0), up[:1])
    x = sample(mixture(s), make(SAMPLERS, "ddim"), up, CheapNoise(x0.shape), x=start)
    assert float(x.mean()) == pytest.approx(float(s.alpha(up[1])), abs=0.02)
    assert float(x.std()) == pytest.approx(float(s.sigma(up[1])), abs=0.02)


@pytest.mark.parametrize("times", [[1.0], [1.0, 0.5, 0.5, 0.0]])
def test_a_path_without_a_step_is_refused(times):
    with pytest.raises(ValueError, match="equal neighbours"):
        sample(mixture(schedule("flow")), make(SAMPLERS, "ddim"), torch.tensor(times), CheapNoise((1, 2)))
