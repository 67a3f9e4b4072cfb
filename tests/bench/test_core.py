from multidiff.bench import core
from multidiff.bench.peers import difference
from multidiff.core import SAMPLERS


def test_every_sampler_is_in_the_table():
    assert {name for name, _, _ in core.SHOWN} == set(SAMPLERS)


def test_a_row_shows_its_figures_and_leaves_out_what_there_is_not():
    row = core.Row("heun", 2, (1.97, None, 2.0), (0.4, 0.1, None, 0.01), None)
    *_, line = core.markdown(iter([row]))
    assert line == "| heun | 2 | 1.97 | - | 2.00 | 4.0e-01 | 1.0e-01 | - | 1.0e-02 | - |"


def test_ours_walks_with_diffusers_where_that_has_the_sampler():
    table = core.mixture("tabulated")
    for name, order in (("ddim", None), ("dpm++3m", None), ("unipc", 2), ("deis", 3), ("consistency", None)):
        gap = difference(name, order, table.schedule, table)
        assert gap is not None
        assert gap < 1e-6, name
    assert difference("langevin", None, table.schedule, table) is None
