"""The video modality keeps what is known, draws what is random from its generator, and tells frames apart."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from multidiff.errors import MediaError, Notice
from multidiff.modality import Modality
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
