import pytest
import torch
from diffusers import DDIMScheduler

from multidiff.core import GRIDS, SAMPLERS, SCHEDULES, make, sample
from multidiff.core.optimised import optimised_times
from tests.core.exact import CheapNoise, mixture, schedule


@pytest.mark.parametrize("grid", [name for name in GRIDS if name != "fixed"])
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_a_grid_has_as_many_steps_as_asked_and_ends_clean(grid, name, steps):
    times = make(GRIDS, grid)(schedule(name), steps)
    assert times.dtype == torch.float64
    assert len(times) == steps + 1
    assert bool((times.diff() < 0).all())
    assert times[-1] == 0
    assert times[0] == 1 or grid == "leading"


@pytest.mark.parametrize("grid", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [10, 33, 50])
def test_index_grids_are_those_of_diffusers(grid, steps):
    theirs = DDIMScheduler(timestep_spacing=grid)
    theirs.set_timesteps(steps)
    ours = make(GRIDS, grid)(schedule("tabulated"), steps)
    assert (ours[:-1] * 1000 - 1).round().int().tolist() == theirs.timesteps.tolist()


def test_log_snr_and_karras_grids_are_uniform_in_their_variable():
    s = schedule("flow")
    inner = make(GRIDS, "log-snr", {"start": -4, "end": 4})(s, 9)[1:-1]
    torch.testing.assert_close(s.log_snr(inner), torch.arange(-3.0, 5.0, dtype=torch.float64))
    inner = make(GRIDS, "karras")(s, 20)[1:-1]
    roots = (s.sigma(inner) / s.alpha(inner)) ** (1 / 7)
    torch.testing.assert_close(roots.diff().diff(), torch.zeros(17, dtype=torch.float64), rtol=0, atol=1e-9)


def test_steps_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        make(GRIDS, "trailing")(schedule("cosine"), 0)
    with pytest.raises(ValueError, match="do not fit"):
        make(GRIDS, "leading")(schedule("cosine"), 1001)


@pytest.mark.parametrize("name", ["cosine", "flow", "ve"])
def test_optimised_times_are_near_the_best_named_grid_whichever_that_is(name):
    s = schedule(name)
    d = mixture(s)
    exact = sample(
        d, make(SAMPLERS, "unipc", {"order": 3}), make(GRIDS, "log-snr")(s, 200), CheapNoise((64, 2), seed=2)
    )
    for steps in (4, 8):
        times = optimised_times(d, steps, CheapNoise((64, 2)), fine=60)
        assert len(times) == steps + 1
        errors = {}
        for grid in ("log-snr", "karras", "trailing", "optimised"):
            path = times if grid == "optimised" else make(GRIDS, grid)(s, steps)
            x = sample(d, make(SAMPLERS, "ddim"), path, CheapNoise((64, 2), seed=2))
            errors[grid] = float((x - exact).square().mean().sqrt())
        assert errors["optimised"] < 1.25 * min(errors.values()), errors
        assert errors["optimised"] < 0.7 * errors["log-snr"], errors


@pytest.mark.parametrize("name", ["cosine", "flow"])
def test_given_times_are_interpolated_in_log_snr_for_another_number_of_steps(name):
    path = schedule(name)
    given = make(GRIDS, "log-snr")(path, 9)
    grid = make(GRIDS, "fixed", {"times": given.tolist()})
    assert torch.equal(grid(path, 1), given[[0, -1]])
    for steps in (4, 17, 33):
        times = grid(path, steps)
        assert len(times) == steps + 1
        assert bool((times.diff() < 0).all())
        assert torch.equal(times[[0, -1]], given[[0, -1]])
    doubled = grid(path, 17)
    torch.testing.assert_close(doubled[2:-1:2], given[1:-1])
    middle = path.log_snr(given[1:-1])
    torch.testing.assert_close(path.log_snr(doubled[3:-2:2]), (middle[1:] + middle[:-1]) / 2)


def test_given_times_are_a_grid_and_are_read_from_text():
    times = make(GRIDS, "fixed", {"times": "1 0.5 0.2 0"})(schedule("flow"), 3)
    assert times.tolist() == [1.0, 0.5, 0.2, 0.0]
    with pytest.raises(ValueError, match="must fall"):
        make(GRIDS, "fixed", {"times": [1.0, 0.5, 0.5, 0.0]})
