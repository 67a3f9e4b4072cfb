"""The frame autoencoder: what its latents are, that it learns to keep outlines, and that every task works in them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from multidiff import recipe, weights
from multidiff.errors import ModelError, RecipeError
from multidiff.model import Model
from multidiff.train.run import train
from multidiff.video.codec import LIMIT, AutoencoderSpec, LatentCodec, PixelCodec, VideoCodecSpec
from multidiff.video.media import Video
from multidiff.video.modality import VIDEO
from multidiff.video.objectives import AutoencoderObjective
from multidiff.video.synth import scene
from tests.tiny import TASKS

SPEC = AutoencoderSpec(size=16, unshuffle=2, widths=(12, 16), depth=3)
TINY = ("codec.size=16", "codec.unshuffle=2", "codec.widths=[8, 8]", "codec.depth=3", "data.size=16", "data.count=12")
NETWORK = ("network.widths=[8]", "network.attention=[0]", "network.head_dim=8", "text.encoder=none")


def codec(spec: AutoencoderSpec = SPEC) -> LatentCodec:
    torch.manual_seed(0)
    return LatentCodec(spec)


def frames(count: int = 3, length: int = 4, size: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, length, size, size, 3), dtype=torch.uint8, generator=generator)


def test_latents_are_standardised_and_smaller_by_the_factor() -> None:
    made, seen = codec(), frames(16)
    x = made.to_model(seen)
    assert x.shape == (16, *made.event_shape(4)) == (16, 3, 4, 4, 4)
    assert abs(x.std() - 1) > 0.1
    made.autoencoder.track(x.movedim(2, 1).flatten(0, 1), rate=1.0)
    x = made.to_model(seen)
    torch.testing.assert_close(x.std(dim=(0, 2, 3, 4)), torch.ones(3), atol=0.01, rtol=0)
    torch.testing.assert_close(x.mean(dim=(0, 2, 3, 4)), torch.zeros(3), atol=0.01, rtol=0)


def test_each_frame_is_coded_by_itself() -> None:
    made, seen = codec(), frames()
    x = made.to_model(seen)
    torch.testing.assert_close(made.to_model(seen[:, 2:3]), x[:, :, 2:3])
    alone, together = made.to_frames(x[:, :, 1:2]), made.to_frames(x)[:, 1:2]
    assert (alone.int() - together.int()).abs().max() <= 1


def test_other_sizes_than_that_of_training_are_coded_by_the_same_weights() -> None:
    large = LatentCodec(SPEC.model_copy(update={"size": 32}))
    large.load_state_dict(codec().state_dict())
    seen = frames(size=32)
    assert large.to_model(seen).shape == (3, 3, 4, 8, 8)
    assert large.to_frames(large.to_model(seen)).shape == seen.shape


def test_pixels_are_bounded_and_latents_are_not() -> None:
    x = torch.tensor([-9.0, 0.5, 9.0])
    assert VIDEO.clamp(x, PixelCodec(VideoCodecSpec())).tolist() == [-LIMIT, 0.5, LIMIT]
    assert torch.equal(VIDEO.clamp(x, codec()), x)


def test_a_box_tells_the_known_latents_around_it_nothing() -> None:
    """Each latent sees beyond its own pixels; those of frames known as a whole stay as they are."""
    made, seen = codec(), frames(2)
    mask = torch.ones(2, 1, 4, 4, 4)
    mask[1, :, 1:, 1:3, 1:3] = 0
    other = seen.clone()
    other[1, 1:, 4:12, 4:12] = 7
    x, changed = (made.to_model(each) for each in (seen, other))
    known = made.known(x, seen, mask)
    torch.testing.assert_close(known, made.known(changed, other, mask))
    assert not torch.allclose(known, x, atol=1e-2)
    assert torch.equal(known[0], x[0])
    torch.testing.assert_close(known[1, :, 0], x[1, :, 0])
    assert made.known(x, seen, torch.zeros(2, 1, 4, 1, 1)) is x


def test_a_batch_keeps_the_whole_clip_for_what_is_generated() -> None:
    made, rows = codec(), {"frames": frames(8)}
    data = VIDEO.data_spec(known=1.0, parts=["around"])
    batch = VIDEO.batch(rows, made, data, torch.Generator().manual_seed(0))
    torch.testing.assert_close(batch.x0, made.to_model(rows["frames"]))
    torch.testing.assert_close(batch.condition["known"], made.known(batch.x0, rows["frames"], batch.condition["mask"]))
    assert not torch.allclose(batch.condition["known"], batch.x0, atol=1e-2)


def test_it_learns_to_make_clips_anew_outlines_and_all() -> None:
    """Sharp: the differences between neighbouring pixels come back too, of clips that were not learned."""
    clips = torch.stack([torch.from_numpy(scene(i).render(4, 16).frames) for i in range(160)])
    made = codec(SPEC.model_copy(update={"widths": (24, 32), "depth": 8}))
    objective = AutoencoderObjective(made)
    optimizer = torch.optim.AdamW(made.autoencoder.parameters(), lr=4e-3)
    generator = torch.Generator().manual_seed(0)
    held_out = {"frames": clips[140:]}
    before = objective.validate(held_out, generator)
    for _ in range(120):
        chosen = torch.randint(140, (8,), generator=generator)
        [(group, loss)] = objective.losses({"frames": clips[chosen]}, generator)
        assert group == "vae"
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = objective.validate(held_out, generator)
    assert after["l1"] < 0.25 * before["l1"]
    assert after["psnr"] > before["psnr"] + 8
    assert abs(after["latent_std"] - 1) < 0.25
    real, back = (each.float() for each in (clips[140:], made.to_frames(made.to_model(clips[140:]))))
    assert back.diff(dim=3).abs().mean() > 0.5 * real.diff(dim=3).abs().mean()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("codec.kind=latent", "codec.kind: Input should be 'pixels' or 'autoencoder'"),
        ("codec.kind=[3]", "codec.kind: Input should be 'pixels' or 'autoencoder'"),
        ("codec.depht=4", "codec.depht: unknown key, did you mean 'depth'?"),
        ("codec.size=60", "size 60 is not a multiple of 8, unshuffle 4 times 2 for every width but the first"),
    ],
)
def test_a_wrong_codec_is_one_clear_error(override: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.load("frames", [override])
    assert said in str(caught.value)


def test_pixels_take_no_keys_of_the_autoencoder() -> None:
    with pytest.raises(RecipeError, match=r"codec\.depth: unknown key"):
        recipe.load("clips", ["codec.depth=4"])


def test_a_denoiser_on_an_untrained_codec_is_refused() -> None:
    with pytest.raises(ModelError, match=r"codec\.weights is empty"):
        weights.build(recipe.load("clips-latent", [*TINY, *NETWORK, "codec.weights="]))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec trained for a step."""
    folder = tmp_path_factory.mktemp("codec")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIDIFF_CACHE", str(folder / "cache"))
        made = train(recipe.load("frames", [*TINY, "train.steps=1", "train.batch=2"]), folder / "run", device="cpu")
    assert made
    return made


def test_a_codec_of_another_make_is_refused(run: Path) -> None:
    with pytest.raises(ModelError, match="needs"):
        weights.build(recipe.load("clips-latent", [*TINY, *NETWORK, f"codec.weights={run}", "codec.depth=4"]))
    with pytest.raises(ModelError, match=r"has no tensor codec\."):
        weights.build(recipe.load("clips-latent", [*TINY, *NETWORK, "codec.weights=clips"]))


def model(kind: str, run: Path, *more: str) -> Model:
    own = [f"codec.weights={run}"] if kind == "clips-latent" else []
    sizes = TINY if own else ("codec.size=16", "data.size=16")
    built = weights.build(recipe.load(kind, [*sizes, *NETWORK, *own, "options.frames=6", "sample.steps=2", *more]))
    assert built.network
    built.network.eval()
    return built


@pytest.mark.parametrize("kind", ["clips", "clips-latent"])
@pytest.mark.parametrize("task", TASKS["video"])
def test_every_task_works_with_each_codec_and_keeps_what_is_given(kind: str, task: str, run: Path) -> None:
    media = Video(frames(1, 4)[0].numpy(), 8.0)
    made = model(kind, run).complete(media, task, **TASKS["video"][task])[0]
    assert made.frames.shape[1:] == media.frames.shape[1:]
    if task == "fill":
        changed = (made.frames != media.frames).any(axis=3)
        assert changed[1:, 1:5, 2:6].any()
        changed[:, 1:5, 2:6] = False
        assert not changed.any()
    else:
        given = {tuple(frame.flatten()) for frame in media.frames[:: len(media) - 1]}
        assert given <= {tuple(frame.flatten()) for frame in made.frames}


@pytest.mark.parametrize("kind", ["clips", "clips-latent"])
def test_a_small_clip_is_made_larger_with_each_codec(kind: str, run: Path) -> None:
    media = Video(frames(1, 4, size=8)[0].numpy(), 8.0)
    made = model(kind, run, "network.low=true").complete(media, "super-resolution")[0]
    assert made.frames.shape == (4, 16, 16, 3)


def test_a_latent_model_is_saved_whole_and_samples_the_same(run: Path, tmp_path: Path) -> None:
    built = model("clips-latent", run)
    loaded = weights.load(built.save(tmp_path / "model"), "cpu")
    first, again = (each.sample(seed=3)[0] for each in (built, loaded))
    assert np.array_equal(first.frames, again.frames)
    assert first.frames.shape == (6, 16, 16, 3)
