"""Model: what is saved is what is loaded, and sampling answers to what it is asked."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from multidiff import recipe, weights
from multidiff.audio.media import Audio
from multidiff.errors import InputError, ModelError, Notice
from multidiff.model import Model
from multidiff.points.media import PointCloud
from multidiff.video.media import Video
from tests.tiny import CODEC, RECIPES, given, tiny_model, tiny_recipe, values


@pytest.fixture(scope="module")
def shapes(tiny_codec: Path) -> Model:
    return tiny_model("points", tiny_codec)


def points(model: Model, prompt: str = "", **asked: Any) -> np.ndarray:
    return values(model.sample(prompt, steps=3, **asked)[0])


def tensors(model: Model) -> dict[str, torch.Tensor]:
    return {
        f"{prefix}.{key}": value
        for prefix, module in (("network", model.network), ("codec", model.codec))
        for key, value in (module.state_dict().items() if module else ())
    }


@pytest.mark.parametrize("medium", RECIPES)
def test_a_saved_model_is_loaded_to_the_bit_and_samples_the_same(medium: str, tiny_codec: Path, tmp_path: Path) -> None:
    model = tiny_model(medium, tiny_codec)
    again = weights.load(model.save(tmp_path / "m", card="# card\n"), "cpu")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["README.md", "model.safetensors", "recipe.yaml"]
    assert again.recipe == model.recipe
    assert all(torch.equal(value, tensors(again)[key]) for key, value in tensors(model).items())
    assert not any(p.requires_grad for module in (again.network, again.codec) if module for p in module.parameters())
    one, other = (m.sample("a red ball", steps=3, seed=4)[0] for m in (model, again))
    np.testing.assert_array_equal(values(one), values(other))


@pytest.mark.parametrize("medium", RECIPES)
def test_half_precision_keeps_weights_to_rounding_in_half_the_space(
    medium: str, tiny_codec: Path, tmp_path: Path
) -> None:
    model = tiny_model(medium, tiny_codec)
    whole, half = model.save(tmp_path / "whole"), model.save(tmp_path / "half", half=True)
    sizes = [sum(t.nbytes for t in load_file(folder / "model.safetensors").values()) for folder in (whole, half)]
    assert sizes[1] < 0.51 * sizes[0]
    loaded = tensors(weights.load(half, "cpu"))
    for key, value in tensors(model).items():
        assert loaded[key].dtype == value.dtype
        torch.testing.assert_close(loaded[key], value, rtol=2**-11, atol=1e-7)


def test_captions_stay_with_the_weights(shapes: Model, tmp_path: Path) -> None:
    assert weights.load(shapes.save(tmp_path / "none"), "cpu").captions == ()
    captions = ("a chair", 'a "wing" chair')
    model = weights.load(tmp_path / "none", "cpu")
    model.captions = captions
    assert weights.load(model.save(tmp_path / "some", half=True), "cpu").captions == captions


def test_sampling_neither_reads_nor_moves_the_global_random_state(shapes: Model) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = points(shapes, sampler="ddpm")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    np.testing.assert_array_equal(points(shapes, sampler="ddpm"), first)


def test_an_item_is_the_same_file_alone_and_among_others(shapes: Model, tmp_path: Path) -> None:
    many = shapes.sample("a chair", count=3, seed=5, steps=3)
    alone = shapes.sample("a chair", seed=7, steps=3)
    paths = [media.save(tmp_path / f"{i}.ply") for i, media in enumerate([many[2], alone[0]])]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_guidance_one_is_off_and_zero_ignores_the_prompt(shapes: Model) -> None:
    def alike(a: np.ndarray, b: np.ndarray) -> bool:
        return np.allclose(a, b, atol=1e-4)

    assert alike(points(shapes, "a chair", guidance=1), points(shapes, "a chair", guidance=1, negative="a table"))
    assert not alike(points(shapes, "a chair", guidance=1), points(shapes, "a table", guidance=1))
    assert alike(points(shapes, "a chair", guidance=0), points(shapes, "a table", guidance=0))
    assert alike(points(shapes, "a chair", guidance=1), points(shapes, "a chair", guidance=1 + 1e-6))
    assert not alike(points(shapes, "a chair", guidance=1), points(shapes, "a chair", guidance=3))


def test_a_negative_prompt_leads_away_from_itself(shapes: Model) -> None:
    plain, negative = points(shapes, "a chair"), points(shapes, "a chair", negative="a table")
    assert not np.allclose(plain, negative, atol=1e-3)
    np.testing.assert_allclose(
        points(shapes, "a chair", negative="a chair", guidance=3), points(shapes, "a chair", guidance=1), atol=1e-3
    )


def test_a_model_without_text_refuses_prompts(tiny_codec: Path) -> None:
    model = tiny_model("points", tiny_codec, "text.encoder=none")
    assert np.isfinite(points(model)).all()
    for asked in ({"prompt": "a chair"}, {"negative": "a chair"}):
        with pytest.raises(InputError, match="takes no prompt"):
            points(model, **asked)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"stepz": 3}, r"shapes \(points\): no option 'stepz', did you mean 'steps'"),
        ({"seconds": 3}, r"shapes \(points\): no option 'seconds'"),
        ({"sampler": "dmp++2m"}, "sampler: unknown method 'dmp[+][+]2m', did you mean 'dpm[+][+]2m'"),
        ({"sampler": {"name": "ddim", "options": {"etta": 1}}}, "ddim: unknown option 'etta', did you mean 'eta'"),
        ({"sampler": {"name": "ddim", "options": {"eta": 2}}}, r"eta 2 must lie in \[0, 1\]"),
        ({"grid": "karas"}, "grid: unknown method 'karas', did you mean 'karras'"),
        ({"grid": "trailing", "steps": 2000}, "trailing.* 2000 steps do not fit into the schedule's 1000 levels"),
        ({"steps": 0}, "steps: .* greater than 0"),
        ({"guidance": -1}, "guidance: .* greater than or equal to 0"),
        ({"points": 3}, "points: .* greater than or equal to 16"),
        ({"points": 10**9}, "points: .* less than or equal to"),
    ],
    ids=str,
)
def test_a_wrong_setting_names_itself_and_the_nearest(shapes: Model, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        shapes.sample(**asked)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"prompt": None}, "prompt None: give a text"),
        ({"prompt": ["a dog", "rain"]}, "call once for each"),
        ({"count": "2"}, "count '2': give a whole number"),
        ({"count": 0}, "count 0: give a whole number of at least 1"),
        ({"seed": 1.5}, "seed 1.5: give a whole number"),
        ({"seed": -1}, "seed -1"),
    ],
    ids=str,
)
def test_what_is_no_prompt_count_or_seed_is_refused(shapes: Model, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        shapes.sample(**asked)
    with pytest.raises(InputError, match=re.escape(said)):
        shapes.complete(given("points"), **asked)


def test_python_can_say_from_by_the_fields_name(tiny_codec: Path) -> None:
    model = tiny_model("audio", tiny_codec)
    first, second = (
        model.complete(given("audio"), steps=1, **gap)[0]
        for gap in ({"from": 0.1, "to": 0.2}, {"start": 0.1, "end": 0.2})
    )
    np.testing.assert_array_equal(first.samples, second.samples)


def test_a_wrong_task_names_the_nearest(shapes: Model) -> None:
    with pytest.raises(InputError, match="shapes: unknown task 'compleet', did you mean 'complete'"):
        shapes.complete(given("points"), "compleet")


def test_a_task_is_found_by_its_options(tiny_codec: Path) -> None:
    model = tiny_model("audio", tiny_codec)
    assert model.task_of(None, {"from": 1.0, "to": 2.0}) == "fill"
    assert model.task_of(None, {"extend": 2.0}) == "extend"


@pytest.mark.parametrize("medium", RECIPES)
def test_a_full_edit_forgets_what_was_given_and_a_slight_one_keeps_it(
    medium: str, tiny_codec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for its form, which `restore` brings back and which is left out here."""
    model = tiny_model(medium, tiny_codec, "diffusion.parameterization=velocity")
    monkeypatch.setattr(type(model.modality), "restore", lambda self, edited, media, codec: edited)
    one, other = given(medium), given(medium, seed=1)

    def plain(media: Any) -> np.ndarray:
        options = model.modality.options_of(media, model.settings().options)
        return values(model.codec.decode(model.codec.encode([media]), options)[0]).astype(float)

    def edited(media: Any, strength: float) -> np.ndarray:
        return values(model.edit(media, "a dog", strength=strength, steps=8)[0]).astype(float)

    apart = np.abs(plain(one) - plain(other)).mean()
    assert np.abs(edited(one, 0.01) - plain(one)).mean() < 0.2 * apart
    assert np.abs(edited(one, 0.5) - plain(one)).mean() > 0.3 * apart
    assert np.abs(edited(one, 1.0) - edited(other, 1.0)).mean() < 0.01 * apart


@pytest.mark.parametrize("strength", [0, -0.1, 1.1, float("nan")])
def test_a_strength_outside_zero_to_one_is_refused(shapes: Model, strength: float) -> None:
    with pytest.raises(InputError, match="give a number above 0 and at most 1"):
        shapes.edit(given("points"), "a chair", strength=strength)


def test_progress_is_told_of_every_step(shapes: Model) -> None:
    told: list[tuple[int, int]] = []
    shapes.sample(steps=3, progress=lambda step, steps: told.append((step, steps)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    told.clear()
    shapes.edit(given("points"), "", strength=0.5, steps=8, progress=lambda step, steps: told.append((step, steps)))
    assert told == [(step, 4) for step in range(5)]


def test_training_starts_from_the_network_that_init_names(tiny_codec: Path, tmp_path: Path) -> None:
    model = tiny_model("points", tiny_codec)
    folder = model.save(tmp_path / "m")
    started = weights.build(tiny_recipe("points", tiny_codec, f"train.init={folder}"))
    assert all(torch.equal(value, tensors(started)[key]) for key, value in tensors(model).items())
    with pytest.raises(ModelError, match=r"is \(.*\), recipe 'shapes' needs \(.*\); use the recipe"):
        weights.build(tiny_recipe("points", tiny_codec, f"train.init={folder}", "network.dim=32"))
    with pytest.raises(InputError, match=r"train\.init: .* codec\.weights"):
        weights.build(recipe.load("codec", [*CODEC, f"train.init={folder}"]))


def test_a_denoiser_is_never_built_on_an_untrained_codec(tiny_codec: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"codec\.weights is empty.*name a model or run"):
        weights.build(tiny_recipe("audio", tiny_codec, "codec.weights=null"))
    with pytest.raises(ModelError, match="nowhere: no such model"):
        weights.build(tiny_recipe("audio", tiny_codec, "codec.weights=nowhere"))
    model = weights.build(tiny_recipe("audio", tiny_codec))
    codec = load_file(tiny_codec / "model.safetensors")
    assert all(torch.equal(value, codec[f"codec.{key}"]) for key, value in model.codec.state_dict().items())
    folder = model.save(tmp_path / "m")
    loaded = weights.load(folder, "cpu")  # its own codec: the one it was trained on may be gone
    assert all(torch.equal(value, codec[f"codec.{key}"]) for key, value in loaded.codec.state_dict().items())


def test_a_codec_alone_has_nothing_to_sample_from(tiny_codec: Path) -> None:
    with pytest.raises(ModelError, match=r"codec: holds no denoiser to sample from \(its train.objective is vae\)"):
        weights.load(tiny_codec, "cpu").sample()


def test_the_seed_decides_a_new_models_weights(tiny_codec: Path) -> None:
    def built(seed: int) -> dict[str, torch.Tensor]:
        return tensors(weights.build(tiny_recipe("points", tiny_codec, f"train.seed={seed}")))

    first, again, other = built(1), built(1), built(2)
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    assert any(not torch.equal(value, other[key]) for key, value in first.items())


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "meta"])
def test_a_device_that_is_not_there_is_named(shapes: Model, tmp_path: Path, device: str) -> None:
    with pytest.raises(InputError, match=f"device {device}: not on this machine; use auto or cpu"):
        weights.load(shapes.save(tmp_path / "m"), device)


def test_an_unknown_precision_is_refused(shapes: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision bf61: unknown, did you mean 'bf16'"):
        weights.load(shapes.save(tmp_path / "m"), "cpu", precision="bf61")


def test_bf16_samples_are_near_those_of_fp32(shapes: Model, tmp_path: Path) -> None:
    folder = shapes.save(tmp_path / "m")
    whole, half = (points(weights.load(folder, "cpu", precision), "a chair") for precision in ("fp32", "bf16"))
    assert not np.array_equal(whole, half)
    np.testing.assert_allclose(whole, half, atol=0.15)


def test_a_broken_checkpoint_says_what_is_wrong_with_it(shapes: Model, tmp_path: Path) -> None:
    folder = shapes.save(tmp_path / "m")
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    with safe_open(path, "pt") as file:
        metadata, saved = file.metadata(), load_file(path)
    name = sorted(saved)[0]

    def said(**change: Any) -> str:
        save_file(change.get("tensors", saved), path, change.get("metadata", metadata))
        with pytest.raises(ModelError) as caught:
            weights.load(folder, "cpu")
        return str(caught.value)

    assert "checkpoint format 99; this version reads 1" in said(metadata={"format": "99"})
    assert "checkpoint format unknown" in said(metadata={})
    assert f"has no tensor {name} (1 missing)" in said(tensors={k: v for k, v in saved.items() if k != name})
    assert "tensor network.extra is not in the recipe's network" in said(
        tensors={**saved, "network.extra": torch.zeros(1)}
    )
    assert f"{name} is (7,), recipe 'shapes' needs" in said(tensors={**saved, name: torch.zeros(7)})
    for broken in (whole[:100], b"", b"not a checkpoint"):
        path.write_bytes(broken)
        with pytest.raises(ModelError, match=r"model\.safetensors: cannot be read as safetensors"):
            weights.load(folder, "cpu")
    (folder / "recipe.yaml").unlink()
    with pytest.raises(ModelError, match=r"has no recipe\.yaml beside its weights"):
        weights.load(folder, "cpu")


def test_the_file_names_the_recipe_and_version_it_was_made_with(shapes: Model, tmp_path: Path) -> None:
    with safe_open(shapes.save(tmp_path / "m") / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "1"
    assert metadata["recipe"] == shapes.recipe.hash


def test_an_edited_sound_keeps_rate_channels_and_level(tiny_codec: Path) -> None:
    wave = 0.3 * np.sin(np.arange(16000) / 9).astype(np.float32)
    sound = Audio(np.stack([wave, -wave]), 32000)
    edited = tiny_model("audio", tiny_codec).edit(sound, "rain", steps=3)[0]
    assert (edited.rate, edited.channels, edited.samples.shape[1]) == (32000, 2, 16000)
    assert edited.peak == pytest.approx(sound.peak, rel=1e-3)


def test_an_edited_video_keeps_its_size(tiny_codec: Path) -> None:
    clip = Video(np.full((4, 10, 24, 3), 128, np.uint8), 12)
    edited = tiny_model("video", tiny_codec).edit(clip, "a ball", steps=3)[0]
    assert edited.frames.shape == clip.frames.shape
    assert edited.fps == 12


def test_a_barely_edited_cloud_lies_on_the_given_one(tiny_codec: Path) -> None:
    """In its own unit and place: here metres, far from the origin."""
    cloud = PointCloud(np.random.default_rng(0).normal([5, 1, -3], [0.4, 0.2, 0.3], (64, 3)))
    edited = tiny_model("points", tiny_codec).edit(cloud, "a chair", strength=0.02, steps=50)[0]
    assert np.abs(edited.points - cloud.points).max() < 0.1


def test_what_goes_on_for_long_without_a_prompt_goes_on_as_what_it_sounds_like() -> None:
    model = weights.load("sfx", "cpu")
    given = model.sample("rain falling steadily", seed=1)[0]
    assert model.described(given) == "rain falling steadily"
    named, plain = (
        model.complete(given, "extend", extend=5, prompt=prompt, steps=2, describe=False)[0]
        for prompt in ("rain falling steadily", "")
    )
    with pytest.warns(Notice, match="rain falling steadily"):
        found = model.complete(given, "extend", extend=5, steps=2, describe=True)[0]
    assert np.array_equal(found.samples, named.samples)
    assert not np.array_equal(found.samples, plain.samples)
    near = [model.complete(given, "extend", extend=1, steps=2, describe=describe)[0] for describe in (True, False)]
    assert np.array_equal(near[0].samples, near[1].samples)


def test_what_has_a_given_beginning_makes_no_loop(tiny_codec: Path) -> None:
    model, sound = tiny_model("audio", tiny_codec), given("audio")
    for make in (
        lambda: model.complete(sound, "extend", extend=0.1, loop=True, steps=1),
        lambda: model.restore(sound, "averaged:factor=2", loop=True, steps=1),
        lambda: model.interpolate(sound, sound, loop=True, steps=1),
    ):
        with pytest.raises(InputError, match="leave loop out"):
            make()
