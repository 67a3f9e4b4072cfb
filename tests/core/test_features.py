import pytest
import torch
from torch import nn

from multidiff.core import PARAMETERIZATIONS, NetworkDenoiser, make
from multidiff.core.features import features, layers
from tests.core.exact import CheapNoise, schedule


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 16), nn.GELU(), nn.Linear(16, 16))
        self.out = nn.Linear(16, 2)
        self.idle = nn.Linear(1, 1)

    def forward(self, x, log_snr, condition):
        return self.out(self.inner(torch.cat([x, log_snr[:, None]], dim=1)))


def denoiser():
    torch.manual_seed(0)
    return NetworkDenoiser(Small().double(), schedule("flow"), make(PARAMETERIZATIONS, "flow"))


X0, NOISE = CheapNoise((6, 2))(0), CheapNoise((6, 2))(1)


def test_a_layers_output_is_what_it_gives_at_that_noise_level():
    d = denoiser()
    seen = features(d, ["inner.0", "inner"], X0, NOISE, 1.0)
    t = d.schedule.inverse(torch.full((6,), 1.0, dtype=torch.float64))
    x = torch.cat([d.schedule.diffuse(X0, NOISE, t), torch.ones(6, 1, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(seen["inner.0"], d.network.inner[0](x))
    torch.testing.assert_close(seen["inner"], d.network.inner(x))
    assert list(seen) == ["inner.0", "inner"]
    assert not torch.allclose(seen["inner"], features(d, ["inner"], X0, NOISE, -1.0)["inner"])


def test_features_of_a_sample_do_not_depend_on_its_batch_and_leave_no_hook():
    d = denoiser()
    alone = features(d, ["inner"], X0[2:3], NOISE[2:3], 0.0)["inner"]
    torch.testing.assert_close(features(d, ["inner"], X0, NOISE, 0.0)["inner"][2:3], alone)
    assert not any(module._forward_hooks for module in d.network.modules())


def test_the_layers_can_be_listed_and_a_wrong_name_is_answered_with_the_nearest():
    d = denoiser()
    assert layers(d) == ["inner", "inner.0", "inner.1", "inner.2", "out", "idle"]
    with pytest.raises(ValueError, match="did you mean 'inner'"):
        features(d, ["iner"], X0, NOISE, 0.0)
    with pytest.raises(ValueError, match="does not run it"):
        features(d, ["idle"], X0, NOISE, 0.0)
    assert not any(module._forward_hooks for module in d.network.modules())
    with pytest.raises(ValueError, match="torch module"):
        layers(NetworkDenoiser(lambda x, log_snr, condition: x, schedule("flow"), make(PARAMETERIZATIONS, "flow")))
