import math

import pytest

from multidiff.bench import core, cost, law
from multidiff.bench.peers import DIFFUSERS, K_DIFFUSION, diffusers_difference, k_difference, k_sampling
from multidiff.core import SAMPLERS


def test_every_sampler_is_in_a_table():
    assert {name for name, _, _ in [*core.SHOWN, *law.SHOWN]} == set(SAMPLERS)


def test_a_row_shows_its_figures_and_leaves_out_what_there_is_not():
    row = core.Row("heun", 2, (1.97, None, 2.0), (0.4, 0.1, None, 0.01), None, 2e-15)
    *_, line = core.markdown(iter([row]))
    assert line == "| heun | 2 | 1.97 | - | 2.00 | 4.0e-01 | 1.0e-01 | - | 1.0e-02 | - | 2e-15 |"


@pytest.mark.parametrize(("name", "order"), DIFFUSERS)
def test_ours_walks_with_diffusers_where_that_has_the_sampler(name, order):
    gap = diffusers_difference(name, order, core.mixture("tabulated"))
    assert gap is not None
    assert gap < 1e-6


@pytest.mark.skipif(k_sampling() is None, reason="k-diffusion is not installed")
@pytest.mark.parametrize(("name", "order"), K_DIFFUSION)
def test_ours_walks_with_k_diffusion_where_that_has_the_sampler(name, order):
    gap = k_difference(name, order, core.mixture("tabulated"))
    assert gap is not None
    assert gap < 1e-12


def test_a_sampler_without_a_peer_has_no_figure():
    assert diffusers_difference("langevin", None, core.mixture("tabulated")) is None
    assert k_difference("langevin", None, core.mixture("tabulated")) is None


def test_the_law_of_exact_samples_is_met_by_exact_samples_alone():
    exact = law.drawn(core.mixture("cosine"), 0)
    assert abs(law.energy_distance(law.drawn(core.mixture("cosine"), 1), exact)) < 4e-3
    assert law.energy_distance(exact + 0.2, exact) > 2e-2


def test_a_step_costs_less_than_half_of_diffusers():
    """The table in the core's README says how much less; the bound here leaves room for a busy machine."""
    ours, theirs = cost._both("dpm++2m", None)
    assert ours < theirs / 2


def test_without_diffusers_only_our_cost_is_shown():
    *_, line = cost.markdown(iter([("ddim", 12.0, math.nan)]))
    assert line == "| ddim | 12 | - | - |"
