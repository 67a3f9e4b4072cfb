import math
from functools import partial

import pytest
import torch
from torch import nn

from multidiff.bench import profile, video, video_peers
from multidiff.bench.steps import Network
from multidiff.bench.video import Case, ready
from multidiff.errors import MultidiffError
from multidiff.video.network import VideoNetworkSpec

SHAPE = (4, 3, 8, 6)
TINY = VideoNetworkSpec(widths=(8, 8), attention=(1,), head_dim=8)


def one_convolution(channels: int) -> Network:
    layer = nn.Conv3d(channels, channels, (1, 3, 3), padding=(0, 1, 1))
    return Network(layer, lambda x, tokens: layer(x))


def test_the_flop_of_one_convolution_are_those_of_its_formula():
    counted = ready(Case("one", "convolution", one_convolution, SHAPE)).flop()
    C, T, H, W = SHAPE
    forward = 2 * 9 * C * C * T * H * W
    # Backward: as many for the weights; none for x, which needs no gradient.
    assert counted == (forward, 2 * forward)


def test_attention_is_counted():
    flop = [
        ready(Case("g", "n", partial(video.ours, TINY.model_copy(update={"attention": a}), 1), SHAPE)).flop()
        for a in ((), (1,))
    ]
    assert flop[0][0] < flop[1][0]


def test_each_case_has_a_row_and_ours_is_compared_within_its_group():
    cases = [
        Case(group, name, build, SHAPE)
        for group in ("a", "b")
        for name, build in ((video.OURS, partial(video.ours, TINY, 1)), ("convolution", one_convolution))
    ]
    found = list(video.rows(cases, budget=0.0))
    assert [row.case for row in found] == cases
    for row in found:
        assert 0 < row.seconds[0] < math.inf
        assert row.memory >= 4 * row.parameters / 2**20
        assert row.clips == pytest.approx(row.case.batch / row.seconds[1])
        assert row.rate(1) == pytest.approx(row.clips * row.flop[1])
    lines = list(video.markdown(iter(found)))
    assert lines[3].split("|")[-3].strip() == f"{found[0].clips / found[1].clips:.1f} x"


def test_like_parameters_are_like():
    for size, networks in video.SIZES.items():
        count = sum(p.numel() for p in networks[video.OURS](48).module.parameters()) / 1e6
        assert count == pytest.approx(float(size.removesuffix(" M")), rel=0.15)


def test_a_missing_peer_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(video_peers, "find_spec", lambda name: None)
    cases = [
        Case("g", video_peers.VDP, partial(video_peers.unet3d, 8), SHAPE),
        Case("g", video.OURS, one_convolution, SHAPE),
    ]
    found = list(video.rows(cases, budget=0.0))
    assert [row.case.name for row in found] == [video.OURS]
    left_out = [line for line in video.markdown(iter(found)) if "not installed" in line]
    assert len(left_out) == len(video_peers.NEEDS)
    with pytest.raises(MultidiffError, match="video-diffusion-pytorch is not installed; run `pip install --no-deps"):
        video_peers.video_diffusion_pytorch()


@pytest.mark.parametrize(
    ("peer", "build"),
    [
        (video_peers.VDP, partial(video_peers.unet3d, 8)),
        (video_peers.DIFFUSERS, partial(video_peers.unet3d_condition, (32, 32))),
    ],
)
def test_a_peer_runs_on_a_tensor_like_ours(peer, build):
    if video_peers.missing(peer):
        pytest.skip(f"{peer} is not installed")
    runs = ready(Case("g", peer, build, (4, 2, 16, 16), batch=1))
    assert runs.forward().shape == runs.x.shape
    runs.step()


def test_shares_of_the_kinds_of_operators_are_a_whole_and_name_the_heaviest():
    a = torch.randn(512, 512)
    found = profile.shares(lambda: torch.mm(a, a) + a)
    assert sum(found.values()) == pytest.approx(1)
    assert max(found, key=found.__getitem__) == "matrix products"
    assert profile.kind_of("aten::mkldnn_convolution") == profile.kind_of("aten::convolution_backward") == "convolution"
    assert profile.kind_of("aten::native_group_norm_backward") == "normalisation"
