"""The second stage of a cascade: what it is told of a small clip in training is what it is given of one."""

import numpy as np
import pytest
import torch
from torch import Tensor

from multidiff import core, recipe, weights
from multidiff.errors import InputError, RecipeError
from multidiff.modality import Batch
from multidiff.video import super_resolution
from multidiff.video.media import Video
from multidiff.video.modality import VIDEO
from multidiff.video.network import UNTOLD, TransformerSpec, VideoNetworkSpec
from multidiff.video.super_resolution import DROPPED, MOST, SuperResolution
from multidiff.video.synth import scene

CODEC = VIDEO.codec(VIDEO.codec_spec(size=16))
OPTIONS = VIDEO.options(frames=4)


def small(height: int = 8, width: int = 8) -> Video:
    return Video(np.random.default_rng(0).integers(0, 256, (3, height, width, 3), np.uint8), 6.0)


def rows(count: int = 4, size: int = 16) -> dict[str, Tensor]:
    return {"frames": torch.stack([torch.from_numpy(scene(i).render(4, size).frames) for i in range(count)])}


def batch(count: int, **data: object) -> Batch:
    spec = VIDEO.data_spec(size=16, known=0, **data)
    return VIDEO.batch(rows(count), CODEC, spec, torch.Generator().manual_seed(0))


def test_a_lowered_clip_looks_like_the_small_one_enlarged() -> None:
    large = torch.from_numpy(small(8, 8).resize(16, 16).frames)[None]
    assert torch.equal(super_resolution.lowered(large, 8), large)
    halved = super_resolution.lowered(rows()["frames"], 8).float()
    blocks = rows()["frames"].float().unflatten(3, (8, 2)).unflatten(2, (8, 2)).mean(dim=(3, 5))
    assert (halved[:, :, ::2, ::2] - blocks).abs().max() <= 0.5


def test_training_tells_the_noisy_small_clip_and_how_noisy_it_is() -> None:
    """At low_noise the difference to the clean small clip has that standard deviation; some are told of none."""
    made = batch(60, low=8)
    low, level = made.condition["low"], made.condition["low_noise"]
    is_told = level != UNTOLD
    assert 0 < (~is_told).sum() < 4 * DROPPED * 60
    assert not low[~is_told].any()
    clean = CODEC.to_model(super_resolution.lowered(rows(60)["frames"], 8))
    deviation = (low - clean).flatten(1).std(dim=1)[is_told]
    torch.testing.assert_close(deviation, level[is_told], atol=0.02, rtol=0.05)
    assert level.max() <= MOST
    assert level[is_told].max() > 3 * level[is_told].min()


def test_without_data_low_nothing_is_told_and_the_rest_is_drawn_the_same() -> None:
    plain, told = batch(4), batch(4, low=8)
    assert not {"low", "low_noise"} & set(plain.condition)
    assert torch.equal(plain.x0, told.x0)


def test_a_given_clip_is_told_as_in_training_and_comes_back_in_its_proportions() -> None:
    media = small(8, 6)
    given, options = VIDEO.given(media, "super-resolution", SuperResolution(augment=0), CODEC, OPTIONS)
    assert not given.mask.any()
    assert (options.frames, options.fps) == (3, 6.0)
    assert torch.equal(given.condition["low"], CODEC.encode([media]))
    assert given.condition["low_noise"].tolist() == [0.0]
    back = VIDEO.merge(CODEC.decode(given.condition["low"], options)[0], media, given)
    assert np.array_equal(back.frames, media.resize(16, 12).frames)
    noisy, _ = VIDEO.given(media, "super-resolution", SuperResolution(augment=0.3), CODEC, OPTIONS)
    assert (noisy.condition["low"] - given.condition["low"]).std() == pytest.approx(0.3, rel=0.1)
    assert noisy.condition["low_noise"].tolist() == pytest.approx([0.3])


def test_a_clip_as_large_as_the_model_makes_is_refused() -> None:
    with pytest.raises(InputError, match="16 x 9 pixels and the model makes 16 x 16: nothing to add"):
        VIDEO.given(small(9, 16), "super-resolution", SuperResolution(), CODEC, OPTIONS)


@pytest.mark.parametrize(
    "spec", [VideoNetworkSpec(widths=(8,), attention=(), low=True), TransformerSpec(dim=16, depth=1, heads=2, low=True)]
)
def test_the_small_clip_and_its_noise_matter_and_neither_need_be_told(spec: VideoNetworkSpec | TransformerSpec) -> None:
    torch.manual_seed(0)
    net = VIDEO.network(spec.model_copy(update={"learned_variance": True}), CODEC)
    x, log_snr = torch.randn(2, *CODEC.event_shape(3)), torch.zeros(2)
    told = {"low": torch.randn_like(x), "low_noise": torch.tensor([0.1, 0.2])}
    assert torch.equal(net(x, log_snr, told)[0], torch.zeros_like(x))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    first, plain = net(x, log_snr, told)[0], net(x, log_snr, {})[0]
    nothing = {"low": torch.zeros_like(x), "low_noise": torch.full((2,), UNTOLD)}
    torch.testing.assert_close(net(x, log_snr, nothing)[0], plain)
    for key, value in {"low": told["low"] + 0.3, "low_noise": told["low_noise"] + 0.2}.items():
        assert not torch.allclose(net(x, log_snr, {**told, key: value})[0], first, atol=1e-3), key


def test_a_model_without_it_says_so() -> None:
    tiny = ["codec.size=16", "data.size=16", "network.widths=[8]", "network.attention=[]", "text.encoder=none"]
    with pytest.raises(InputError, match=r"makes no clips larger; take one trained with network\.low and data\.low"):
        weights.build(recipe.load("clips", tiny)).complete(small(), "super-resolution", steps=1)


def test_a_cascade_learns_to_follow_the_small_clip() -> None:
    """After a few steps what it makes of a held-out small clip resembles that clip more than others."""
    torch.manual_seed(0)
    net = VIDEO.network(VideoNetworkSpec(widths=(16,), attention=(), low=True), CODEC)
    schedule = core.make(core.SCHEDULES, "cosine")
    denoiser = core.NetworkDenoiser(net, schedule, core.make(core.PARAMETERIZATIONS, "velocity"))
    loss = core.DiffusionLoss(core.make(core.LOSSES, "simple"), core.make(core.TIMES, "uniform"))
    optimizer, generator = torch.optim.AdamW(net.parameters(), lr=5e-3), torch.Generator().manual_seed(0)
    data, clips = VIDEO.data_spec(size=16, known=0, low=8, window=2), rows(24)["frames"]
    for _ in range(80):
        chosen = torch.randint(16, (8,), generator=generator)
        made = VIDEO.batch({"frames": clips[chosen]}, CODEC, data, generator)
        noise = torch.randn(made.x0.shape, generator=generator)
        losses, _ = loss(denoiser, made.x0, noise, core.stratified(8, generator), made.condition)
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
    seen = [Video(clip[:, ::2, ::2].numpy(), 8.0) for clip in clips[16:]]
    given = [VIDEO.given(each, "super-resolution", SuperResolution(), CODEC, OPTIONS)[0] for each in seen]
    told = {key: torch.cat([each.condition[key] for each in given]) for key in ("low", "low_noise")}
    noise = core.SeededNoise(range(8), CODEC.event_shape(4))
    with torch.no_grad():
        times = core.make(core.GRIDS, "log-snr")(schedule, 8)
        x = core.sample(denoiser, core.make(core.SAMPLERS, "ddim"), times, noise, told)
    apart = (x[:, None] - told["low"][None]).abs().flatten(2).mean(dim=2)
    assert (apart.argmin(dim=1) == torch.arange(8)).all()
    assert apart.diagonal().mean() < 0.5


def test_the_recipe_doubles_what_clips_makes() -> None:
    first, second = recipe.load("clips"), recipe.load("clips-128")
    assert second.data.low == first.codec.size
    assert second.codec.size == second.data.size == 2 * first.codec.size
    with pytest.raises(RecipeError, match=r"size 128 must be a multiple, 2 or more times, of low 48"):
        recipe.load("clips-128", ["data.low=48"])


def test_the_schedule_it_names_ends_in_pure_noise_and_is_shifted() -> None:
    nested = "{name: shifted, options: {shift: 2, schedule: {name: zero-terminal-snr, options: {schedule: cosine}}}}"
    assert nested in (recipe.RECIPES / "video" / "clips-128.yaml").read_text()
    loaded = recipe.load("clips-128", [f"diffusion.schedule={nested}"])
    schedule, plain = loaded.diffusion.schedule.make(core.SCHEDULES), core.make(core.SCHEDULES, "cosine")
    assert schedule.alpha(torch.ones(())) == 0
    t = torch.tensor([0.5], dtype=torch.float64)
    torch.testing.assert_close(
        schedule.sigma(t) / schedule.alpha(t), 2 * plain.sigma(t) / plain.alpha(t), rtol=1e-3, atol=0
    )
