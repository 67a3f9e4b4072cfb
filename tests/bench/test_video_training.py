import math

import pytest
import torch

from multidiff import core, recipe
from multidiff.bench import equal_time, video_peers, video_training
from multidiff.errors import InputError
from multidiff.train.loop import learning_rate
from multidiff.train.pack import Rows
from multidiff.video.codec import PixelCodec, VideoCodecSpec

TINY = (
    *video_training.CHANGES,
    "data.count=160",
    "data.frames=4",
    "options.frames=4",
    "data.size=16",
    "codec.size=16",
    "codec.unshuffle=2",
    "network.widths=[8, 8]",
    "network.attention=[1]",
    "network.head_dim=8",
    "network.detail=4",
    "train.batch=2",
    "train.warmup=0",
)


class Quadratic:
    """An objective with a known minimum, that counts its steps."""

    def __init__(self):
        self.layer = torch.nn.Linear(1, 1)
        self.groups = {"network": self.layer}

    def losses(self, rows, generator):
        yield "network", self.layer(rows["x"]).square().mean()

    def validate(self, rows, generator):
        return {}


def test_training_ends_with_its_time_at_a_learning_rate_near_nothing():
    spec = recipe.load("clips", TINY).train
    training, spent = equal_time.trained(Quadratic(), Rows({"x": torch.ones(4, 1)}), spec, seconds=1.0)
    assert 1.0 <= spent < 1.5
    assert training.step > 10
    assert learning_rate(training.step - 1, training.spec) < 0.1 * spec.lr


def test_too_few_clips_are_refused(monkeypatch):
    monkeypatch.setattr(video_peers, "video_diffusion_pytorch", lambda: None)
    with pytest.raises(InputError, match=r"synth: 1 clips in split 'val', at least 4"):
        next(video_training.rows(["synth"], 1.0, 2, 1, [*TINY, "data.count=4"]))


@pytest.fixture
def peer():
    if absent := video_peers.missing(video_peers.VDP):
        pytest.skip(absent)


def test_the_peer_stepped_by_the_core_is_the_peer_stepped_by_itself(peer, monkeypatch):
    """On its own levels, with the same noise: ancestral steps of its GaussianDiffusion."""
    torch.manual_seed(0)
    objective = video_training.PeerObjective(PixelCodec(VideoCodecSpec(size=8, unshuffle=1)), 8, frames=2)
    diffusion, denoiser = objective.diffusion, objective.denoiser()
    objective.unet.eval()
    with torch.no_grad():
        objective.unet.final_conv[-1].weight.mul_(0.1)
        for level in (999, 700, 300, 20):
            x, eps = torch.randn(2, 2, *objective.shape)
            t = torch.full((2,), level)
            mean, _, log_variance = diffusion.p_mean_variance(x=x, t=t, clip_denoised=True)
            theirs = mean + (0.5 * log_variance).exp() * eps
            times = torch.tensor([level + 1, level], dtype=torch.float64) / 1000
            ours = core.sample(denoiser, core.make(core.SAMPLERS, "ddpm"), times, lambda *_, e=eps: e, x=x)
            assert torch.allclose(ours, theirs, atol=1e-4), level


def test_each_way_is_trained_and_judged(peer, monkeypatch, tmp_path):
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path))
    found = list(video_training.rows(["synth"], 0.5, 4, 2, TINY, dim=8))
    assert [row.name.partition(",")[0] for row in found] == [video_training.OURS, *[video_peers.VDP] * 2]
    for row in found:
        assert row.steps >= 1
        assert 0.5 <= row.seconds < 3
        assert all(math.isfinite(value) for value in row.metrics.values())
    assert len(list(video_training.markdown(iter(found), 2))) == 2 + len(found) + 2


def test_like_parameters_are_like(peer):
    from multidiff import weights

    ours = weights.build(recipe.load("clips", video_training.CHANGES)).network
    theirs = video_training.PeerObjective(PixelCodec(VideoCodecSpec()), video_training.DIM, 16).unet
    count = [sum(p.numel() for p in module.parameters()) for module in (ours, theirs)]
    assert count[0] == pytest.approx(count[1], rel=0.15)
