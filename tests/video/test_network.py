"""Both denoisers of video: what they are told matters, known frames are clean, and a recipe chooses one."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from multidiff import core, recipe
from multidiff.errors import InputError, RecipeError
from multidiff.nn.embedding import LOG_SNR_BOUND
from multidiff.video.modality import VIDEO
from multidiff.video.network import TransformerSpec, VideoDenoiser, VideoNetworkSpec, VideoTransformer
from multidiff.video.synth import scene

CODEC = VIDEO.codec(VIDEO.codec_spec(size=16))
SPECS = {
    "unet": VideoNetworkSpec(widths=(16, 32), attention=(1,), head_dim=16),
    "transformer": TransformerSpec(dim=32, depth=2, heads=2, patch=2, expansion=2),
}


def made(kind: str, seed: int | None = 0, **changes: object) -> VideoDenoiser:
    """A denoiser as after some training: no layer is zero. Without a seed a new one."""
    torch.manual_seed(0)
    net = VIDEO.network(SPECS[kind].model_copy(update=changes), CODEC)
    if seed is not None:
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(seed))
    return net.eval()


def told(frames: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "tokens": torch.randn(2, 5, 384, generator=generator),
        "tokens_mask": torch.tensor([[True] * 3 + [False] * 2, [True] * 5]),
        "mask": torch.zeros(2, 1, frames, 4, 4),
        "position": torch.arange(frames).expand(2, frames),
        "fps": torch.tensor([8.0, 8.0]),
    }


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("frames", [1, 5])
def test_any_length_will_do_and_little_need_be_told(kind: str, frames: int) -> None:
    net, x = made(kind, positions=True), torch.randn(2, *CODEC.event_shape(frames))
    assert net(x, torch.zeros(2), {}).shape == x.shape
    assert net(x, torch.zeros(2), told(frames)).shape == x.shape
    assert net.features(x, torch.zeros(2), told(frames)).shape == (2, net.width)


@pytest.mark.parametrize("kind", SPECS)
def test_all_that_the_network_is_told_changes_what_it_says(kind: str) -> None:
    net, condition = made(kind, positions=True, rate=True), told(5)
    x, log_snr = torch.randn(2, *CODEC.event_shape(5)), torch.zeros(2)
    out = net(x, log_snr, condition)
    changes = {
        "tokens": torch.randn(2, 5, 384),
        "tokens_mask": torch.ones(2, 5, dtype=torch.bool),
        "mask": torch.ones(2, 1, 5, 4, 4),
        "position": torch.arange(5).expand(2, 5) + 3,
        "fps": torch.tensor([9.0, 9.0]),
    }
    for key, value in changes.items():
        assert (out - net(x, log_snr, {**condition, key: value})).abs().flatten(1).amax(1)[0] > 1e-3, key
    assert not torch.allclose(net.features(x, log_snr, condition), net.features(x, log_snr + 1, condition), atol=1e-3)


@pytest.mark.parametrize("kind", SPECS)
def test_a_rate_is_looked_at_where_asked_and_then_wanted(kind: str) -> None:
    x, log_snr, condition = torch.randn(2, *CODEC.event_shape(3)), torch.zeros(2), told(3)
    less = {key: value for key, value in condition.items() if key != "fps"}
    assert torch.equal(made(kind)(x, log_snr, condition), made(kind)(x, log_snr, less))
    with pytest.raises(InputError, match="without the clips' frame rates"):
        made(kind, rate=True)(x, log_snr, less)


@pytest.mark.parametrize("kind", SPECS)
def test_known_frames_are_seen_as_clean(kind: str) -> None:
    net, seen = made(kind), []
    net.body.level_embedding.register_forward_hook(lambda _, inputs, out: seen.append(inputs[0]))
    mask = torch.tensor([1.0, 0, 0, 1]).reshape(1, 1, 4, 1, 1)
    net(torch.randn(1, *CODEC.event_shape(4)), torch.tensor([-3.0]), {"mask": mask})
    assert seen[0].tolist() == [[LOG_SNR_BOUND, -3.0, -3.0, LOG_SNR_BOUND]]


@pytest.mark.parametrize("kind", SPECS)
def test_a_new_network_says_zero_and_learns_a_variance_where_asked(kind: str) -> None:
    net, x = made(kind, seed=None, learned_variance=True, rate=True), torch.randn(2, *CODEC.event_shape(3))
    prediction, v = net(x, torch.zeros(2), told(3))
    assert torch.equal(prediction, torch.zeros_like(x))
    assert torch.equal(v, torch.zeros_like(x))


def test_the_transformer_learns_one_clip_by_heart() -> None:
    """Sampled from noise it comes back, and after its first frame alone."""
    small = VIDEO.codec(VIDEO.codec_spec(size=8, unshuffle=4))
    clips = torch.stack([torch.from_numpy(scene(i).render(4, 8).frames) for i in range(20)])
    rows = {"frames": clips[3:4].expand(8, -1, -1, -1, -1)}
    torch.manual_seed(0)
    net = VIDEO.network(TransformerSpec(dim=64, depth=2, heads=2, patch=1, expansion=2), small)
    schedule, velocity = core.make(core.SCHEDULES, "cosine"), core.make(core.PARAMETERIZATIONS, "velocity")
    denoiser = core.NetworkDenoiser(net, schedule, velocity, lambda x: VIDEO.clamp(x, small))
    loss = core.DiffusionLoss(core.make(core.LOSSES, "simple"), core.make(core.TIMES, "uniform"))
    optimizer, generator = torch.optim.AdamW(net.parameters(), lr=3e-3), torch.Generator().manual_seed(0)
    for _ in range(150):
        batch = VIDEO.batch(rows, small, VIDEO.data_spec(known=0.5, parts=["first"]), generator)
        noise = torch.randn(batch.x0.shape, generator=generator)
        losses, _ = loss(denoiser, batch.x0, noise, core.stratified(8, generator), batch.condition)
        optimizer.zero_grad()
        losses.mean().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    x0, others = small.to_model(clips[3:4]), small.to_model(torch.cat([clips[:3], clips[4:]]))
    times, ddim = core.make(core.GRIDS, "log-snr")(schedule, 8), core.make(core.SAMPLERS, "ddim")
    for known in ([0.0, 0, 0, 0], [1.0, 0, 0, 0]):
        mask = torch.tensor(known).reshape(1, 1, 4, 1, 1)
        noise = core.SeededNoise([0], tuple(x0.shape[1:]))
        with torch.no_grad():
            x = core.sample(denoiser, ddim, times, noise, {"known": x0, "mask": mask})
        distance = (x - x0).abs().mean()
        assert distance < 0.2
        assert distance < (x - others).abs().mean(dim=(1, 2, 3, 4)).min()


def test_a_recipe_chooses_the_network_and_reads_back_equal(tmp_path: Path) -> None:
    loaded = recipe.load("clips-transformer")
    assert isinstance(loaded.network, TransformerSpec)
    assert isinstance(VIDEO.network(loaded.network, VIDEO.codec(loaded.codec)), VideoTransformer)
    (tmp_path / "recipe.yaml").write_text(loaded.as_yaml())
    assert recipe.load(tmp_path / "recipe.yaml") == loaded


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("clips", "network.kind=dit", "network.kind: Input should be 'unet' or 'transformer'"),
        ("clips", "network.kind=transformer", "network.widths: unknown key"),
        ("clips-transformer", "network.width=8", "network.width: unknown key"),
        ("clips-transformer", "network.heads=5", "dim 192 must be a multiple of 4 and of twice heads, 10"),
    ],
)
def test_a_wrong_network_is_one_clear_error(name: str, override: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.load(name, [override])
    assert said in str(caught.value)


def test_a_token_that_does_not_divide_the_frame_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"network\.patch 3 does not divide the 4 positions"):
        VIDEO.network(SPECS["transformer"].model_copy(update={"patch": 3}), CODEC)
