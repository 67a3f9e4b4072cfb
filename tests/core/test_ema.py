import pytest
import torch
from torch import nn

from multidiff.core import EMA


def set_to(module, value):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)


def test_the_average_follows_its_recursion_and_forgets_the_start():
    module = nn.Linear(2, 2)
    set_to(module, 0.0)
    ema, expected = EMA(module, decay=0.9), 0.0
    for n in range(1, 200):
        set_to(module, float(n))
        ema.update(module)
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    assert float(ema.averages["weight"][0, 0]) == pytest.approx(expected, rel=1e-5)


def test_the_averages_can_be_put_into_a_module_and_leave_the_trained_one_alone():
    module, target = nn.Linear(2, 2), nn.Linear(2, 2)
    set_to(module, 1.0)
    ema = EMA(module, decay=0.5)
    set_to(module, 3.0)
    ema.update(module)
    ema.copy_to(target)
    assert torch.equal(target.weight, ema.averages["weight"])
    assert bool((module.weight == 3).all())


def test_buffers_are_copied_and_not_averaged():
    module = nn.BatchNorm1d(2)
    ema = EMA(module, decay=0.9)
    module.running_mean.fill_(5.0)
    module.num_batches_tracked.fill_(7)
    ema.update(module)
    assert ema.averages["running_mean"].tolist() == [5.0, 5.0]
    assert ema.averages["num_batches_tracked"] == 7


def test_half_precision_weights_are_averaged_in_float32():
    module = nn.Linear(2, 2).to(torch.bfloat16)
    ema = EMA(module, decay=0.999)
    ema.update(module)
    assert ema.averages["weight"].dtype == torch.float32
    ema.copy_to(module)
    assert module.weight.dtype == torch.bfloat16


def test_a_saved_average_goes_on_as_if_never_interrupted():
    module = nn.Linear(2, 2)
    one = EMA(module, decay=0.9)
    one.update(module)
    two = EMA(nn.Linear(2, 2), decay=0.5)
    two.load_state_dict({**one.state_dict(), "averages": {k: v.clone() for k, v in one.averages.items()}})
    set_to(module, 2.0)
    one.update(module)
    two.update(module)
    assert torch.equal(one.averages["weight"], two.averages["weight"])
    with pytest.raises(ValueError, match="another module"):
        EMA(nn.BatchNorm1d(2)).load_state_dict(one.state_dict())


def test_an_impossible_decay_is_refused():
    with pytest.raises(ValueError, match="decay"):
        EMA(nn.Linear(1, 1), decay=1.0)
