import pytest
import torch
from scipy.optimize import linear_sum_assignment

from multidiff.core.coupling import auction, optimal_transport

GENERATOR = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("size", [1, 2, 17, 64])
def test_the_auction_finds_the_exact_assignment(size):
    gain = torch.rand(size, size, dtype=torch.float64, generator=GENERATOR)
    order = auction(gain, 1e-4)
    assert sorted(order.tolist()) == list(range(size))
    rows, columns = linear_sum_assignment(gain.numpy(), maximize=True)
    assert float(gain[torch.arange(size), order].mean()) >= gain.numpy()[rows, columns].mean() - 1e-4


def test_coupled_noise_is_the_same_noise_nearer_to_its_data():
    x0, noise = (torch.randn(64, 2, generator=GENERATOR) for _ in range(2))
    order = optimal_transport(x0, noise)
    assert sorted(order.tolist()) == list(range(64))
    assert (noise[order] - x0).square().mean() < (noise - x0).square().mean() / 4


def test_equal_data_may_be_paired_in_any_way():
    assert sorted(optimal_transport(torch.zeros(8, 3), torch.randn(8, 3, generator=GENERATOR)).tolist()) == [*range(8)]


def test_an_impossible_tolerance_is_refused():
    with pytest.raises(ValueError, match="tolerance"):
        optimal_transport(torch.zeros(2, 3), torch.zeros(2, 3), tolerance=0)
