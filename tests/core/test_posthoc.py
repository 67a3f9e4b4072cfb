import pytest
import torch
from torch import nn

from multidiff.core.posthoc import PowerEMA, posthoc, posthoc_weights, power_exponent

STEPS, EVERY = 4000, 50


@pytest.mark.parametrize("gamma", [0.1, 1.0, 6.94, 16.97])
def test_the_exponent_belongs_to_the_width_of_the_profile(gamma):
    std = ((gamma + 1) / (gamma + 3)) ** 0.5 / (gamma + 2)
    assert power_exponent(std) == pytest.approx(gamma, rel=1e-9)


def test_the_average_weighs_the_past_by_a_power():
    module, weights = nn.Linear(1, 1, bias=False).double(), []
    ema, values = PowerEMA(module, 0.1), torch.randn(50, generator=torch.Generator().manual_seed(0)).double()
    for value in values:
        nn.init.constant_(module.weight, float(value))
        ema.update(module)
    edges = (torch.arange(51).double() / 50) ** (ema.gamma + 1)
    weights = edges.diff()
    assert float(weights.sum()) == pytest.approx(1.0)
    assert float(ema.averages["weight"]) == pytest.approx(float(weights @ values), abs=1e-12)


@pytest.fixture(scope="module")
def training():
    """A regression learned by noisy gradient steps: snapshots of two widths, and averages tracked directly."""
    generator = torch.Generator().manual_seed(0)
    module = nn.Linear(4, 1).double()
    nn.init.constant_(module.weight, 2.0)
    stored = [PowerEMA(module, 0.05), PowerEMA(module, 0.1)]
    tracked = {std: PowerEMA(module, std) for std in (0.06, 0.075, 0.09)}
    snapshots, earlier = [], {}
    for step in range(1, STEPS + 1):
        x = torch.randn(64, 4, generator=generator, dtype=torch.float64)
        error = x @ (module.weight[0].detach() - 1) + 0.1 * torch.randn(64, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            module.weight -= 2e-3 * (error @ x / 64)
        for ema in (*stored, *tracked.values()):
            ema.update(module)
        if step % EVERY == 0:
            snapshots += [ema.snapshot() for ema in stored]
        if step == STEPS // 2:
            earlier = {std: ema.snapshot().averages["weight"] for std, ema in tracked.items()}
    return snapshots, {std: ema.averages["weight"] for std, ema in tracked.items()}, earlier


@pytest.mark.parametrize("std", [0.06, 0.075, 0.09])
def test_a_width_that_was_not_saved_is_rebuilt_as_if_tracked(training, std):
    snapshots, tracked, earlier = training
    torch.testing.assert_close(posthoc(snapshots, std)["weight"], tracked[std], rtol=0, atol=1e-6)
    torch.testing.assert_close(posthoc(snapshots, std, STEPS // 2)["weight"], earlier[std], rtol=0, atol=5e-6)


def test_a_width_that_was_saved_is_itself():
    weights = posthoc_weights([0.05, 0.1, 0.05, 0.1], [10, 10, 20, 20], 0.1, 20)
    torch.testing.assert_close(weights, torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-9)


def test_what_is_not_averaged_comes_from_the_latest_snapshot():
    module = nn.BatchNorm1d(2)
    ema, snapshots = PowerEMA(module, 0.1), []
    for _ in range(3):
        module.num_batches_tracked += 1
        ema.update(module)
        snapshots.append(ema.snapshot())
    assert int(posthoc(snapshots, 0.1)["num_batches_tracked"]) == 3
    assert int(posthoc(snapshots, 0.1, 2)["num_batches_tracked"]) == 2


def test_widths_and_steps_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="width"):
        power_exponent(0.3)
    with pytest.raises(ValueError, match="no snapshot"):
        posthoc_weights([0.1], [10], 0.1, 5)


def test_a_saved_average_goes_on_as_if_never_interrupted():
    module = nn.Linear(2, 2)
    one, two = PowerEMA(module, 0.1), PowerEMA(nn.Linear(2, 2), 0.05)
    one.update(module)
    two.load_state_dict({**one.state_dict(), "averages": {k: v.clone() for k, v in one.averages.items()}})
    nn.init.constant_(module.weight, 2.0)
    one.update(module)
    two.update(module)
    assert torch.equal(one.averages["weight"], two.averages["weight"])
    with pytest.raises(ValueError, match="another module"):
        PowerEMA(nn.BatchNorm1d(2), 0.1).load_state_dict(one.state_dict())
