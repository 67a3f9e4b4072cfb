"""The bench of point networks and distances: what it compares, counts and tells."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from multidiff.bench import points, points_peers
from multidiff.bench.points import OURS, POINT_E, Distance, Row
from multidiff.bench.points_peers import POT, PlainTransformer
from multidiff.errors import MultidiffError
from multidiff.points.network import PointNetworkSpec

TINY = PointNetworkSpec(dim=8, latent_dim=8, latents=4, blocks=1, layers=1, heads=2, condition_dim=8, frequencies=1)
SIZES = {64: (OURS, POINT_E), 128: (OURS, POINT_E), 256: (OURS,)}


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(points, "NETWORKS", {OURS: partial(points.ours, TINY), POINT_E: partial(points.plain, 8, 1, 2)})


@pytest.fixture
def reference():
    torch.manual_seed(0)
    network = PlainTransformer(16, 2, 2)
    torch.nn.init.normal_(network.output.weight)
    return network


def test_the_reference_starts_silent_and_then_does_not_know_the_order_of_points(reference):
    x, log_snr, tokens = torch.randn(2, 50, 3), torch.zeros(2), torch.randn(2, 5, 384)
    assert PlainTransformer(16, 1, 2)(x, log_snr, tokens).abs().max() == 0
    order = torch.randperm(50)
    with torch.no_grad():
        out, shuffled = reference(x, log_snr, tokens), reference(x[:, order], log_snr, tokens)
    assert out.abs().max() > 0.1
    torch.testing.assert_close(shuffled, out[:, order], atol=1e-5, rtol=1e-4)


def test_the_reference_hears_the_noise_level_the_prompt_and_every_other_point(reference):
    x, log_snr, tokens = torch.randn(1, 20, 3), torch.zeros(1), torch.randn(1, 5, 384)
    moved = x.clone()
    moved[:, 7] += 1
    with torch.no_grad():
        out = reference(x, log_snr, tokens)
        others = [
            reference(x, log_snr + 2, tokens),
            reference(x, log_snr, tokens + 1),
            reference(moved, log_snr, tokens),
        ]
    for other in others:
        assert ((other - out).abs().amax(-1) > 1e-5).all()


def test_the_reference_has_the_parameters_of_its_formula_and_as_many_as_ours():
    dim, depth = 16, 2
    block = 12 * dim * dim + 13 * dim
    level = 128 * dim + dim + dim * dim + dim
    others = (3 * dim + dim) + (384 * dim + dim) + 2 * 2 * dim + (3 * dim + 3)
    assert sum(p.numel() for p in PlainTransformer(dim, depth, 2).parameters()) == depth * block + level + others
    counts = [sum(p.numel() for p in build().module.parameters()) for build in points.NETWORKS.values()]
    assert counts[0] == pytest.approx(counts[1], rel=0.06)


def test_the_flop_of_ours_are_linear_in_the_points_and_those_of_the_reference_quadratic():
    sizes = [2**k for k in range(10, 18)]
    ours, plain = ([points.flop(name, n)[0] for n in sizes] for name in (OURS, POINT_E))
    # a + b n exactly: the increments double with n.
    steps = np.diff(ours)
    np.testing.assert_allclose(steps[1:] / steps[:-1], 2.0)
    # a + b n + c n^2: the second differences of equal steps are 2 c, that of scores and their use.
    even = [points.flop(POINT_E, n)[0] for n in (1000, 2000, 3000)]
    assert np.diff(even, 2)[0] == pytest.approx(2 * 4 * 216 * 4 * 1000**2)
    assert points.exponent(sizes[-2:], ours[-2:]) == pytest.approx(1.0, abs=0.01)
    assert points.exponent(sizes[-2:], plain[-2:]) > 1.9


def test_the_exponent_is_the_power_that_the_seconds_follow():
    assert points.exponent([10, 20, 80], [3 * n**1.5 for n in (10, 20, 80)]) == pytest.approx(1.5)
    assert math.isnan(points.exponent([10], [1.0]))


def test_there_is_a_row_for_each_network_at_each_size(tiny):
    found = list(points.rows(SIZES, budget=0.0))
    assert [(row.points, row.name) for row in found] == [(n, name) for n, names in SIZES.items() for name in names]
    for row in found:
        assert 0 < row.seconds[0] < math.inf
        assert row.flop[0] < row.flop[1]
        assert row.memory >= 4 * row.parameters / 2**20


def test_the_table_compares_within_a_size_and_tells_how_time_grows():
    def row(name: str, count: int, seconds: float) -> Row:
        return Row(name, count, 10**6, (count, 3 * count), (seconds, 3 * seconds), 100.0 if name == OURS else 400.0)

    found = [row(OURS, 10, 1.0), row(POINT_E, 10, 3.0), row(OURS, 20, 2.0), row(POINT_E, 20, 12.0), row(OURS, 40, 4.0)]
    lines = list(points.markdown(iter(found)))
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert len({len(cells) for cells in table}) == 1
    assert [cells[5] for cells in table[2:]] == ["-", "3.0 x", "-", "6.0 x", "-"]
    assert [cells[-1] for cells in table[2:]] == ["-", "25 %", "-", "25 %", "-"]
    assert lines[-2].startswith(f"{OURS}, 10 to 40 points: seconds grow as points^1.00 forward")
    assert lines[-1].startswith(f"{POINT_E}, 10 to 20 points: seconds grow as points^2.00 forward")


def test_distances_agree_with_those_of_the_peers():
    found = list(points.distances([128, 256], budget=0.0))
    measured = [name for name, (_, peer, _) in points.COMPARED.items() if not points_peers.missing(peer)]
    assert [(row.name, row.points) for row in found] == [(name, n) for name in measured for n in (128, 256)]
    for row in found:
        assert row.values[0] == pytest.approx(row.values[1], rel=1e-5)
        assert row.values[0] > 0.01
    assert len([line for line in points.distances_markdown(iter(found)) if line.startswith("|")]) == 2 + len(found)


def test_a_peer_that_disagreed_would_be_seen():
    line = list(points.distances_markdown(iter([Distance("EMD", POT, 8, (1.0, 1.1), (2.0, 1.0))])))[2]
    assert line.split("|")[-2].strip() == "9e-02"
    assert line.split("|")[-4].strip() == "0.5 x"


def test_without_pot_its_rows_are_left_out_and_a_line_says_what_installs_it(monkeypatch):
    monkeypatch.setattr(points_peers, "find_spec", lambda name: None)
    found = list(points.distances([64], budget=0.0))
    assert {row.peer for row in found} == {points.CDIST}
    assert [line for line in points.distances_markdown(iter(found)) if "pip install 'multidiff[transport]'" in line]
    with pytest.raises(MultidiffError, match="POT is not installed"):
        points_peers.pot_emd(np.zeros((4, 3)), np.zeros((4, 3)))
