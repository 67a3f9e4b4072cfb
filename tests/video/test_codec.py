"""The pixel codec loses nothing and clamps at black and white."""

import numpy as np
import pytest
import torch

from multidiff.errors import MediaError
from multidiff.video.codec import LIMIT, PixelCodec, VideoCodecSpec
from multidiff.video.media import Video
from multidiff.video.modality import VIDEO, VideoOptions


def noise_video(frames: int = 3, size: int = 16, seed: int = 0) -> Video:
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, size, size, 3), dtype=np.uint8)
    return Video(pixels, fps=12)


@pytest.mark.parametrize("unshuffle", [1, 2, 4, 8])
def test_the_round_trip_is_exact(unshuffle: int) -> None:
    codec = PixelCodec(VideoCodecSpec(size=16, unshuffle=unshuffle))
    videos = [noise_video(seed=0), noise_video(seed=1)]
    x = codec.encode(videos)
    assert tuple(x.shape) == (2, *codec.event_shape(3))
    for video, back in zip(videos, codec.decode(x, VideoOptions(fps=12)), strict=True):
        assert np.array_equal(video.frames, back.frames)
        assert back.fps == 12


def test_all_256_levels_survive() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16, 1).expand(-1, -1, -1, -1, 3)
    codec = PixelCodec(VideoCodecSpec(size=16))
    assert torch.equal(codec.to_frames(codec.to_model(ramp)), ramp)
    assert codec.to_model(ramp).aminmax() == (-LIMIT, LIMIT)


def test_grey_frames_survive_in_one_channel_and_colours_become_their_mean() -> None:
    codec = PixelCodec(VideoCodecSpec(size=16, unshuffle=4, channels=1))
    video = noise_video()
    grey = Video(video.frames[..., :1].repeat(3, -1), 12)
    x = codec.encode([grey])
    assert tuple(x.shape) == (1, *codec.event_shape(3)) == (1, 16, 3, 4, 4)
    assert np.array_equal(codec.decode(x, VideoOptions())[0].frames, grey.frames)
    mean = codec.decode(codec.encode([video]), VideoOptions())[0].frames
    assert np.abs(mean - video.frames.mean(-1, keepdims=True)).max() <= 0.5


def test_pixel_unshuffle_is_that_of_torch() -> None:
    codec = PixelCodec(VideoCodecSpec(size=16, unshuffle=4))
    video = noise_video(frames=1)
    pixels = torch.from_numpy(video.frames).permute(0, 3, 1, 2).float() * (2 * LIMIT / 255) - LIMIT
    torch.testing.assert_close(codec.encode([video])[:, :, 0], torch.nn.functional.pixel_unshuffle(pixels, 4))


def test_what_is_beyond_black_and_white_is_clamped() -> None:
    codec = PixelCodec(VideoCodecSpec(size=16))
    x = torch.full((1, *codec.event_shape(1)), 9.0)
    assert VIDEO.clamp(x, codec).max() == LIMIT
    assert codec.to_frames(x).min() == 255
    assert codec.to_frames(-x).max() == 0


def test_other_sizes_are_fitted_and_lengths_must_agree() -> None:
    codec = PixelCodec(VideoCodecSpec(size=16))
    wide = Video(np.zeros((2, 9, 31, 3), np.uint8))
    assert tuple(codec.encode([wide]).shape) == (1, *codec.event_shape(2))
    with pytest.raises(MediaError, match=r"\[2, 3\] frames"):
        codec.encode([wide, noise_video()])


def test_a_size_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        VideoCodecSpec(size=18, unshuffle=4)
