import pytest
import torch
from diffusers import DDIMScheduler

from multidiff.core import GRIDS, SCHEDULES, make
from tests.core.exact import schedule


@pytest.mark.parametrize("grid", GRIDS)
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
