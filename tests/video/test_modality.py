"""The video modality keeps what is known, draws what is random from its generator, and tells frames apart."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from multidiff.errors import MediaError, Notice
from multidiff.modality import Example, Modality
from multidiff.nn.embedding import LOG_SNR_BOUND
from multidiff.video import tasks
from multidiff.video.media import Video
from multidiff.video.modality import MAX_FRAMES, VIDEO

CODEC = VIDEO.codec(VIDEO.codec_spec(size=16))
OPTIONS = VIDEO.options(frames=8)


def numbered(frames: int, height: int = 16, width: int = 16, fps: float = 5.0) -> Video:
    """Frame i is grey of level 10 i + 1."""
    levels = (10 * np.arange(frames) + 1).astype(np.uint8)
    return Video(np.broadcast_to(levels[:, None, None, None], (frames, height, width, 3)).copy(), fps)


def levels(video: Video) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in video.frames]


def rows(count: int = 4, frames: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"frames": torch.randint(256, (count, frames, 16, 16, 3), dtype=torch.uint8, generator=generator)}


def batch(seed: int = 0, count: int = 4, **data: object):
    generator = torch.Generator().manual_seed(seed)
    return VIDEO.batch(rows(count), CODEC, VIDEO.data_spec(**data), generator)


def completed(media: Video, task: str, generated: int = 255, **options: object) -> Video:
    """What completion returns when every generated pixel has one value."""
    given, sampling = VIDEO.given(media, task, VIDEO.tasks[task](**options), CODEC, OPTIONS)
    made = torch.full(given.known.shape, 2 * generated / 127.5 - 2)
    x = torch.where(given.mask.bool(), given.known, made)
    return VIDEO.merge(CODEC.decode(x, sampling)[0], media, given)


def test_it_is_a_modality() -> None:
    members = [name for name in vars(Modality) if not name.startswith("_")]
    assert [name for name in members if not hasattr(VIDEO, name)] == []


def test_importing_it_loads_no_media_library() -> None:
    code = (
        "import sys, multidiff.video.modality; "
        "print(*{'av', 'PIL', 'matplotlib', 'scipy', 'skimage'} & {name.split('.')[0] for name in sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == ""


def test_prediction_appends_to_the_given_video_untouched() -> None:
    media = numbered(10, height=24, width=20)
    result = completed(media, "predict", keep=3)
    assert levels(result) == levels(media) + [255] * 5
    assert np.array_equal(result.frames[:10], media.frames)
    assert result.fps == media.fps


def test_it_is_said_when_generated_frames_are_enlarged() -> None:
    with pytest.warns(Notice, match="generated at 16 x 16 pixels and enlarged to 20 x 24"):
        completed(numbered(4, height=24, width=20), "predict")
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        completed(numbered(4), "predict")


def test_a_picture_is_a_first_frame() -> None:
    result = completed(numbered(1, fps=25.0), "predict")
    assert levels(result) == [1] + [255] * 7
    assert result.fps == OPTIONS.fps


def test_prediction_always_leaves_frames_to_generate() -> None:
    assert levels(completed(numbered(20), "predict", keep=99))[20:] == [255]


def test_interpolation_generates_between_the_ends() -> None:
    assert levels(completed(numbered(4), "interpolate")) == [1] + [255] * 6 + [31]
    assert levels(completed(numbered(4), "interpolate", keep=9)) == [1, 11] + [255] * 4 + [21, 31]


def test_interpolation_of_one_frame_is_refused() -> None:
    with pytest.raises(MediaError, match="1 frame"):
        completed(numbered(1), "interpolate")


@pytest.mark.parametrize("task", ["predict", "interpolate"])
def test_too_few_frames_to_generate_any_are_refused(task: str) -> None:
    with pytest.raises(MediaError, match="ask for at least"):
        VIDEO.given(numbered(4), task, VIDEO.tasks[task](), CODEC, VIDEO.options(frames=1))


def test_known_frames_are_the_given_ones_in_model_space() -> None:
    media = numbered(6)
    given, _ = VIDEO.given(media, "predict", tasks.Predict(keep=2), CODEC, OPTIONS)
    assert given.mask.flatten().tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert torch.equal(given.known[:, :, :2], CODEC.encode([Video(media.frames[4:])]))
    assert not given.known[:, :, 2:].any()


def noisy(frames: int, height: int, width: int) -> Video:
    return Video(np.random.default_rng(0).integers(1, 255, (frames, height, width, 3), np.uint8), 5.0)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (24, 40), (40, 24), (7, 9), (32, 32)])
def test_filling_changes_the_box_alone_to_the_last_pixel(height: int, width: int) -> None:
    media, changed = noisy(8, height, width), np.zeros((8, height, width), bool)
    changed[2:6, 2:5, 3:6] = True
    with warnings.catch_warnings(action="ignore"):
        result = completed(media, "fill", box="3,2,6,5", **{"from": 0.4, "to": 1.2})
    assert np.array_equal((result.frames != media.frames).all(-1), changed)
    assert np.array_equal((result.frames != media.frames).any(-1), changed)
    assert (result.frames[changed] == 255).all()
    assert result.fps == media.fps


def test_all_positions_that_a_box_touches_are_made_anew() -> None:
    given, sampling = VIDEO.given(numbered(12), "fill", tasks.Fill(box="3,4,9,8"), CODEC, OPTIONS)
    assert sampling.frames == 12, "as long as the given video, whatever else is the default"
    assert given.mask.shape == (1, 1, 12, 4, 4)
    assert (given.mask == given.mask[:, :, :1]).all()
    # Patches of 4 x 4 pixels: columns 3 to 8 touch the first three, rows 4 to 7 the second.
    assert given.mask[0, 0, 0].tolist() == [[1, 1, 1, 1], [0, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize(("height", "width"), [(16, 32), (24, 16), (13, 17), (8, 8), (64, 48)])
def test_what_was_in_the_box_does_not_reach_what_the_model_is_told(height: int, width: int) -> None:
    one, other = noisy(2, height, width), noisy(2, height, width)
    other.frames[:, 3:7, 4:8] = 255
    box = tasks.Fill(box=(4, 3, 8, 7))
    with warnings.catch_warnings(action="ignore"):
        (first, _), (second, _) = (VIDEO.given(media, "fill", box, CODEC, OPTIONS) for media in (one, other))
    assert torch.equal(first.known, second.known)
    assert 0 < first.mask.mean() < 1
    # Where the box is: bars make the picture square, and nothing beyond the patches beside it is given up.
    longer = max(height, width)
    unknown = (first.mask[0, 0, 0] == 0).nonzero().float() * 4
    top, left = (longer - height) / 2, (longer - width) / 2
    for axis, (start, stop) in enumerate([(top + 3, top + 7), (left + 4, left + 8)]):
        reach = 4 + 2 * max(1, 16 / longer)
        assert start * 16 / longer - reach - 1 <= unknown[:, axis].min() <= start * 16 / longer
        assert stop * 16 / longer <= unknown[:, axis].max() + 4 <= stop * 16 / longer + reach + 4


def test_nor_does_it_through_latents_which_see_far() -> None:
    spec = {"kind": "autoencoder", "size": 16, "unshuffle": 2, "widths": (4, 4), "depth": 2}
    codec = VIDEO.codec(VIDEO.codec_spec.of(spec)(**spec))
    one, other = noisy(2, 16, 16), noisy(2, 16, 16)
    other.frames[:, 5:8, 5:8] = 255
    plain, changed = (codec.encode([media]) for media in (one, other))
    assert ((plain != changed).flatten(0, 2).any(0)).sum() > 1, "more than the latent of the box itself"
    told = [VIDEO.given(media, "fill", tasks.Fill(box="5,5,8,8"), codec, OPTIONS)[0] for media in (one, other)]
    assert torch.equal(told[0].known, told[1].known)
    assert told[0].mask[0, 0, 0].tolist() == [[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_filling_for_a_time_makes_whole_frames_anew() -> None:
    media = numbered(10)
    given, _ = VIDEO.given(media, "fill", tasks.Fill(**{"from": 0.4, "to": 1.0}), CODEC, OPTIONS)
    assert given.mask.flatten().tolist() == [1, 1, 0, 0, 0, 1, 1, 1, 1, 1]
    assert levels(completed(media, "fill", **{"from": 1.8})) == [*levels(media)[:9], 255]
    assert levels(completed(media, "fill", to=0.01)) == [255, *levels(media)[1:]]


@pytest.mark.parametrize("frames", [1, 8])
def test_what_is_white_in_a_mask_is_made_anew(tmp_path: Path, frames: int) -> None:
    media, white = noisy(8, 16, 16), np.zeros((frames, 16, 16, 3), np.uint8)
    white[-1, 3:9, 2:4] = 255
    path = Video(white).save(tmp_path / "mask.apng")
    result = completed(media, "fill", mask=str(path))
    changed = np.broadcast_to(white.any(-1), (8, 16, 16))
    assert np.array_equal((result.frames != media.frames).all(-1), changed)
    assert np.array_equal(result.frames[~changed], media.frames[~changed])


def test_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for frames, size, words in ((1, 8, "16 x 16"), (3, 16, "3 frames"), (1, 16, "white")):
        path = Video(np.zeros((frames, size, size, 3), np.uint8)).save(tmp_path / "mask.apng")
        with pytest.raises(MediaError, match=words):
            completed(numbered(8), "fill", mask=str(path))


@pytest.mark.parametrize("box", ["8,8,8,12", "8,12,12,8", "12,0,17,4", "0,12,4,17", "20,20,24,24"])
def test_a_box_that_is_empty_or_beyond_the_picture_is_refused(box: str) -> None:
    with pytest.raises(MediaError, match=f"box {box}: is no part of a picture of 16 x 16 pixels"):
        completed(numbered(4), "fill", box=box)


@pytest.mark.parametrize(("start", "end"), [(1.0, 0.5), (0.5, 0.5), (0.0, 2.0), (1.6, None)])
def test_a_time_beyond_the_video_is_refused(start: float, end: float | None) -> None:
    with pytest.raises(MediaError, match=r"the video is 1\.60 s long"):
        completed(numbered(8), "fill", **{"from": start, "to": end})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"box": "1,2,3"}, "for example 16,16,48,48"),
        ({"box": "1,2,3,-4"}, "for example 16,16,48,48"),
        ({"box": "1,2,3,4", "mask": "mask.png"}, "not both"),
        ({}, "say what to make anew"),
    ],
)
def test_a_fill_must_say_what(options: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        tasks.Fill(**options)


def test_slow_motion_puts_frames_between_the_given_ones() -> None:
    media = numbered(4, height=24, width=20)
    with warnings.catch_warnings(action="ignore"):
        result = completed(media, "slow-motion", times=3)
    assert levels(result) == [1, 255, 255, 11, 255, 255, 21, 255, 255, 31]
    assert np.array_equal(result.frames[::3], media.frames)
    assert result.fps == 3 * media.fps
    given, _ = VIDEO.given(media, "slow-motion", tasks.SlowMotion(times=2), CODEC, OPTIONS)
    assert given.condition["position"].flatten().tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3]


def test_slow_motion_of_one_frame_and_of_too_many_is_refused() -> None:
    with pytest.raises(MediaError, match="1 frame"):
        completed(numbered(1), "slow-motion")
    with pytest.raises(MediaError, match=f"at most {MAX_FRAMES} are made at once"):
        completed(Video(np.zeros((70, 16, 16, 3), np.uint8)), "slow-motion", times=4)


def test_predicted_frames_know_their_place_after_the_given_ones() -> None:
    for frames, first in ((4, 0), (10, 6)):
        given, _ = VIDEO.given(numbered(frames), "predict", tasks.Predict(), CODEC, OPTIONS)
        assert given.condition["position"].flatten().tolist() == list(range(first, first + 8))


def test_places_go_round_where_clips_do() -> None:
    sizes = {"widths": (16, 32), "attention": (1,), "head_dim": 16, "positions": True}
    network = VIDEO.network(VIDEO.network_spec(cycle=4, **sizes), CODEC)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    x, log_snr = torch.randn(1, *CODEC.event_shape(6)), torch.zeros(1)
    told = VIDEO.extra_condition(CODEC, VIDEO.options(frames=6), 1)
    assert torch.equal(network(x, log_snr, told), network(x, log_snr, {"position": torch.arange(6)[None] % 4}))
    assert torch.equal(network(x, log_snr, told), network(x, log_snr, {}))


def test_editing_takes_the_length_and_rate_of_the_video() -> None:
    assert VIDEO.options_of(numbered(5), OPTIONS).model_dump() == {"frames": 5, "fps": 5.0}
    with pytest.raises(MediaError, match="cut it"):
        VIDEO.options_of(Video(np.zeros((MAX_FRAMES + 1, 2, 2, 3), np.uint8)), OPTIONS)


def test_a_batch_is_a_function_of_its_generator() -> None:
    first, again, other = batch(seed=1, loop=True), batch(seed=1, loop=True), batch(seed=2, loop=True)
    assert torch.equal(first.x0, again.x0)
    assert torch.equal(first.condition["mask"], again.condition["mask"])
    assert not torch.equal(first.x0, other.x0)


def test_a_plain_batch_is_the_data() -> None:
    made = batch(known=0)
    assert torch.equal(CODEC.to_frames(made.x0), rows()["frames"])
    assert not made.condition["mask"].any()
    assert made.condition["position"].tolist() == [list(range(8))] * 4


def test_loops_begin_anywhere() -> None:
    frames, rolled = rows(16)["frames"], CODEC.to_frames(batch(count=16, loop=True).x0)
    starts = [next(s for s in range(8) if torch.equal(a.roll(-s, 0), b)) for a, b in zip(frames, rolled, strict=True)]
    assert len(set(starts)) > 2


def test_a_window_is_cut_out_and_knows_its_place() -> None:
    made = batch(count=16, window=3)
    position = made.condition["position"]
    assert position.shape == (16, 3)
    assert len(set(position[:, 0].tolist())) > 2
    shown = torch.stack([clip[p] for clip, p in zip(rows(16)["frames"], position, strict=True)])
    assert torch.equal(CODEC.to_frames(made.x0), shown)


def test_mirroring_is_off_unless_asked_for() -> None:
    frames, flipped = rows(16)["frames"], CODEC.to_frames(batch(count=16, flip=True).x0)
    kinds = {(torch.equal(a, b), torch.equal(a.flip(2), b)) for a, b in zip(frames, flipped, strict=True)}
    assert kinds == {(True, False), (False, True)}


def test_clips_are_turned_as_a_whole() -> None:
    frames = CODEC.to_frames(batch(count=4).x0)
    turned = CODEC.to_frames(batch(seed=3, count=4, turn=True).x0)
    quarters = [
        [torch.equal(clip.rot90(k, (1, 2)), found) for k in range(4)]
        for clip, found in zip(frames, turned, strict=True)
    ]
    assert [sum(row) for row in quarters] == [1] * 4
    assert len({row.index(True) for row in quarters}) > 1


def test_masks_know_some_frames_or_all_around_a_box_of_the_asked_share_and_never_all() -> None:
    masks = tasks.random_masks((3000, 16, 8, 8), 0.5, tasks.PARTS, torch.Generator().manual_seed(0)).bool()
    share = masks.flatten(1).any(1).float().mean()
    assert 0.45 < share <= 0.5
    assert not masks.flatten(1).all(1).any()
    whole = masks.amin((1, 3, 4))
    assert (whole[:, 0] & ~whole[:, -1]).any()
    assert (whole[:, 0] & whole[:, -1] & ~whole[:, 7]).any()
    boxes = masks[masks.flatten(1).any(1) & ~whole.any(1)]
    assert 0.2 < len(boxes) / masks.flatten(1).any(1).sum() < 0.3
    assert torch.equal(boxes, boxes[:, :, :1].expand_as(boxes))
    for box in ~boxes[:50, 0, 0]:
        rows, columns = box.any(1), box.any(0)
        assert torch.equal(box, rows[:, None] & columns[None])
        for side in (rows, columns):
            assert 2 <= side.sum() <= 6
            assert (side.int().diff() == 1).sum() <= 1


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_masks_of_short_clips_leave_a_frame(frames: int) -> None:
    masks = tasks.random_masks((500, frames, 4, 4), 1.0, tasks.PARTS, torch.Generator().manual_seed(0))
    assert not masks.flatten(1).bool().all(1).any()


def test_only_the_asked_parts_are_known() -> None:
    masks = tasks.random_masks((500, 8, 4, 4), 1.0, ["first"], torch.Generator().manual_seed(0)).bool()[:, 0, :, 0, 0]
    assert masks[:, 0].all()
    assert (masks.int().diff() <= 0).all()
    assert masks.sum(1).unique().tolist() == [1, 2, 3, 4]


def test_a_share_of_batches_are_pictures() -> None:
    lengths = [batch(seed=i, pictures=0.5).x0.shape[2] for i in range(40)]
    assert set(lengths) == {1, 8}
    assert 10 < lengths.count(1) < 30


def test_the_network_sees_known_frames_as_clean() -> None:
    network = VIDEO.network(VIDEO.network_spec(widths=(16, 32), attention=(1,), head_dim=16), CODEC)
    seen = []
    network.unet.level_embedding.register_forward_hook(lambda _, inputs, out: seen.append(inputs[0]))
    mask = torch.tensor([1.0, 0, 0, 1]).reshape(1, 1, 4, 1, 1).repeat(1, 1, 1, 4, 4)
    mask[:, :, 1, :2] = 1  # half of a frame is not a clean frame
    network(torch.randn(1, *CODEC.event_shape(4)), torch.tensor([-3.0]), {"mask": mask})
    assert seen[0].tolist() == [[LOG_SNR_BOUND, -3.0, -3.0, LOG_SNR_BOUND]]


def test_positions_count_from_zero_unless_given() -> None:
    spec = VIDEO.network_spec(widths=(16, 32), attention=(1,), head_dim=16, positions=True)
    network = VIDEO.network(spec, CODEC)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    x, log_snr = torch.randn(1, *CODEC.event_shape(4)), torch.zeros(1)
    plain = network(x, log_snr, {})
    assert torch.equal(plain, network(x, log_snr, {"position": torch.arange(4)[None]}))
    assert not torch.allclose(plain, network(x, log_snr, {"position": torch.arange(4, 8)[None]}), atol=1e-3)


def test_the_frame_rate_goes_from_the_file_to_the_network_and_from_the_options_to_a_sample() -> None:
    data = VIDEO.data_spec()
    row = VIDEO.prepare(Example(numbered(8, fps=12.5)), data, CODEC)
    stacked = {name: torch.stack([value] * 3) for name, value in row.items()}
    made = VIDEO.batch(stacked, CODEC, data, torch.Generator().manual_seed(0))
    assert made.condition["fps"].tolist() == [12.5] * 3
    asked = VIDEO.options(frames=8, fps=20.0)
    assert VIDEO.extra_condition(CODEC, asked, 2)["fps"].tolist() == [20.0, 20.0]
    for media, fps in ((numbered(4, fps=6.0), 6.0), (numbered(1, fps=6.0), 20.0)):
        given, options = VIDEO.given(media, "predict", tasks.Predict(), CODEC, asked)
        assert given.condition["fps"].tolist() == [fps] == [options.fps]
