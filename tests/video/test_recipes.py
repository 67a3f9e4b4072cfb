"""The video recipes at both sizes: what each is for can be asked of it, and size=base is as large as it says."""

import pytest
import torch

from multidiff import core, recipe
from multidiff.video.modality import VIDEO

ALL = sorted(path.stem for path in recipe.RECIPES.glob("video/*.yaml"))
NAMES = [name for name in ALL if recipe.load(name).train.of_denoiser]
PREDICTED = {"radar": (4, 20), "moving-mnist": (10, 10)}


def parameters(name: str, size: str) -> int:
    loaded = recipe.load(name, [f"size={size}"])
    with torch.device("meta"):
        network = VIDEO.network(loaded.network, VIDEO.codec(loaded.codec))
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_both_sizes_are_built(name: str) -> None:
    assert 1e6 < parameters(name, "small") < 8e6
    assert parameters(name, "base") > 20 * parameters(name, "small")


@pytest.mark.parametrize("size", ["small", "base"])
def test_latents_are_those_of_the_codec_recipe(size: str) -> None:
    made, used = (recipe.load(name, [f"size={size}"]).codec.model_dump() for name in ("frames", "clips-latent"))
    assert {**made, "weights": "runs/frames"} == used


@pytest.mark.parametrize("name", NAMES)
def test_clips_are_made_as_long_and_large_as_those_learned(name: str) -> None:
    loaded = recipe.load(name)
    assert loaded.options.frames == loaded.data.frames
    assert loaded.codec.size == loaded.data.size
    assert loaded.data.fps in (None, loaded.options.fps)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("clips")])
def test_many_pixels_get_twice_the_noise(name: str) -> None:
    spec = recipe.load(name).diffusion.schedule
    t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    ratio = lambda schedule: schedule.sigma(t) / schedule.alpha(t)
    torch.testing.assert_close(ratio(spec.make(core.SCHEDULES)), 2 * ratio(core.make(core.SCHEDULES, "cosine")))


@pytest.mark.parametrize(("name", "frames"), PREDICTED.items())
def test_prediction_recipes_are_grey_and_mostly_see_a_past(name: str, frames: tuple[int, int]) -> None:
    loaded = recipe.load(name)
    assert sum(frames) == loaded.options.frames
    assert loaded.codec.channels == 1
    assert loaded.data.known > 0.5
