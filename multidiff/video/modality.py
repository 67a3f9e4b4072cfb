"""VIDEO: what the rest of the house may ask of video."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from multidiff.errors import InputError, MediaError, Notice
from multidiff.modality import Batch, Example, Given, Objective, Spec, Trial
from multidiff.video import data as dataset
from multidiff.video import super_resolution, tasks
from multidiff.video.classifier import ClassifierObjective, ClassifierSpec, ClipClassifier
from multidiff.video.codec import AutoencoderSpec, FrameCodec, LatentCodec, PixelCodec, VideoCodecSpec
from multidiff.video.media import Video
from multidiff.video.network import TransformerSpec, VideoDenoiser, VideoNetworkSpec, network
from multidiff.video.objectives import AutoencoderObjective
from multidiff.video.super_resolution import Enlarged, SuperResolution
from multidiff.video.tasks import MAX_FRAMES


class VideoOptions(Spec):
    """Sampling options of video."""

    frames: int = Field(16, gt=0, le=MAX_FRAMES, description="frames of a clip")
    fps: float = Field(8.0, gt=0, le=240, description="frames per second it is shown at")


class VideoModality:
    """See `multidiff.modality.Modality` for what each method promises."""

    name = "video"
    media = Video
    data_spec = dataset.VideoData
    codec_spec = VideoCodecSpec
    network_spec = VideoNetworkSpec
    options = VideoOptions
    tasks: Mapping[str, type[Spec]] = {
        **{name: schema for name, (schema, _) in tasks.PLANS.items()},
        "super-resolution": SuperResolution,
    }
    time_axis = -3
    judge = "clip-classifier"

    def examples(self, data: dataset.VideoData, split: str) -> Iterator[Example]:
        return dataset.examples(data, split)

    def prepare(
        self, example: Example, data: dataset.VideoData, codec: FrameCodec | ClipClassifier
    ) -> dict[str, Tensor]:
        """`frames` (T, H, W, 3) uint8 and `fps` (); for a classifier `label` (K,), the index of its class in each
        column."""
        fitted = example.media.fit(codec.size, codec.size, data.fit)
        row = {"frames": torch.from_numpy(fitted.frames), "fps": torch.tensor(fitted.fps)}
        return row | {"label": codec.label(example)} if isinstance(codec, ClipClassifier) else row

    def codec(self, spec: VideoCodecSpec | ClassifierSpec) -> FrameCodec | ClipClassifier:
        if isinstance(spec, ClassifierSpec):
            return ClipClassifier(spec)
        return LatentCodec(spec) if isinstance(spec, AutoencoderSpec) else PixelCodec(spec)

    def network(self, spec: VideoNetworkSpec | TransformerSpec, codec: FrameCodec) -> VideoDenoiser:
        channels, _, side, _ = codec.event_shape(1)
        return network(spec, channels, side, codec.patch)

    def batch(
        self, rows: dict[str, Tensor], codec: FrameCodec, data: dataset.VideoData, generator: torch.Generator
    ) -> Batch:
        """Cycles begin anywhere (data.loop), a part is cut out (data.window), some batches are pictures (data.pictures:
        Ho et al. 2022, "Video Diffusion Models", section 3.1), clips are mirrored (data.flip) and turned
        (data.turn), some frames, or all around a box, are known (data.known, data.parts). Condition `position` (B, T):
        where in the clip each frame was; `fps` (B,); of the clip in fewer pixels (data.low) see
        `super_resolution.batch`."""
        frames = rows["frames"]
        count, length = frames.shape[:2]
        window = min(data.window or length, length)
        if data.pictures and torch.rand((), generator=generator) < data.pictures:
            window = 1
        offset = torch.randint(length - window + 1, (count, 1), generator=generator)
        position = (offset + torch.arange(window)).to(frames.device)
        shown = position
        if data.loop:
            phase = torch.randint(length, (count, 1), generator=generator).to(frames.device)
            shown = (phase + position) % length
        frames = frames[torch.arange(count, device=frames.device)[:, None], shown]
        if data.flip:
            is_flipped = torch.rand(count, generator=generator) < 0.5
            frames = torch.where(is_flipped.to(frames.device)[:, None, None, None, None], frames.flip(3), frames)
        if data.turn:
            quarters = torch.randint(4, (count,), generator=generator).tolist()
            frames = torch.stack([clip.rot90(k, (1, 2)) for clip, k in zip(frames, quarters, strict=True)])
        x0 = codec.to_model(frames)
        mask = tasks.random_masks((count, window, x0.shape[-2], x0.shape[-1]), data.known, data.parts, generator).to(
            x0.device
        )
        known = codec.known(x0, frames, mask)
        rate = {"fps": rows["fps"]} if "fps" in rows else {}  # packs of older versions have none
        low = super_resolution.batch(codec, frames, data.low, generator) if data.low else {}
        return Batch(x0, {"mask": mask, "known": known, "position": position} | rate | low)

    def objectives(self, codec: FrameCodec | ClipClassifier, data: dataset.VideoData) -> Mapping[str, Objective]:
        if isinstance(codec, ClipClassifier):
            return {"clip-classifier": ClassifierObjective(codec)}
        return {"vae": AutoencoderObjective(codec)} if isinstance(codec, LatentCodec) else {}

    def event_shape(self, codec: FrameCodec, options: VideoOptions) -> tuple[int, ...]:
        return codec.event_shape(options.frames)

    def extra_condition(self, codec: FrameCodec, options: VideoOptions, count: int) -> dict[str, Tensor]:
        places = _places(torch.arange(options.frames)).expand(count, -1, -1, -1, -1)
        return {"position": places, "fps": torch.full((count,), options.fps)}

    def clamp(self, x0: Tensor, codec: FrameCodec) -> Tensor:
        """No pixel is darker than black or lighter than white; latents have no bounds."""
        return x0.clamp(-codec.limit, codec.limit)

    def given(
        self, media: Video, task: str, task_options: Any, codec: FrameCodec, options: VideoOptions
    ) -> tuple[Given, VideoOptions]:
        """What is known at its position in the clip that is made.

        A Notice says so where what is generated will be enlarged.
        """
        if isinstance(task_options, SuperResolution):
            options, small = self.options_of(media, options), super_resolution.given(media, task_options, codec)
            return replace(small, condition=small.condition | self.extra_condition(codec, options, 1)), options
        if max(media.height, media.width) > codec.size:
            made, asked = f"{codec.size} x {codec.size}", f"{media.width} x {media.height}"
            warnings.warn(f"frames are generated at {made} pixels and enlarged to {asked}", Notice, stacklevel=2)
        _, plan = tasks.PLANS[task]
        canvas = plan(media, task_options, options.frames, options.fps)
        _, *shape = codec.event_shape(len(canvas.frames))
        mask = canvas.mask(codec.size, shape)
        frames = torch.from_numpy(Video(canvas.frames).fit(codec.size, codec.size, "pad").frames)[None]
        known = codec.known(codec.to_model(frames), frames, mask).to(mask) * mask
        asked_for = options.model_copy(update={"frames": len(canvas.frames), "fps": canvas.fps})
        told = self.extra_condition(codec, asked_for, 1)
        told["position"] = _places(torch.from_numpy(canvas.place).float())
        return Given(known, mask, told, canvas), asked_for

    def merge(self, generated: Video, media: Video, given: Given) -> Video:
        """What was given in its place, in its own size; or all of it, larger."""
        if isinstance(given.context, Enlarged):
            return super_resolution.merged(generated, given.context)
        canvas: tasks.Canvas = given.context
        return canvas.merged(generated)

    def restore(self, edited: Video, media: Video, codec: FrameCodec) -> Video:
        """In the given video's size: bars that were added to make it square are cut off again."""
        side = max(media.height, media.width)
        return edited.resize(side, side).fit(media.height, media.width)

    def alike(self, first: Video, last: Video) -> tuple[Video, Video]:
        frames = min(len(first), len(last))
        return Video(first.frames[:frames], first.fps), Video(last.frames[:frames], first.fps)

    def options_of(self, media: Video, options: VideoOptions) -> VideoOptions:
        """Raises MediaError for a video that is too long to be denoised as a whole."""
        if len(media) > MAX_FRAMES:
            raise MediaError(f"the video has {len(media)} frames; at most {MAX_FRAMES} are edited at once, cut it")
        return options.model_copy(update={"frames": len(media), "fps": media.fps})

    def metrics(self, real: Sequence[Video], generated: Sequence[Video]) -> dict[str, float]:
        from multidiff.video.metrics import metrics

        return metrics(real, generated)

    def loop_metrics(self, media: Sequence[Video]) -> dict[str, float]:
        from multidiff.video.metrics import loop_metrics

        return loop_metrics(media)

    def judged(self, judge: ClipClassifier, real: Sequence[Example], generated: Sequence[Example]) -> dict[str, float]:
        from multidiff.video.metrics import judged

        return judged(judge, real, generated)

    def prompt_accuracy(self, made: Sequence[Example]) -> dict[str, float]:
        from multidiff.video.prompts import prompt_accuracy

        return prompt_accuracy(made)

    def faults(self, examples: Sequence[Example], seed: int) -> Mapping[str, Sequence[Example]]:
        from multidiff.video.faults import faults

        return faults(examples, seed)

    def trials(self, whole: Video, task: str, seed: int, options: Mapping[str, Any]) -> Sequence[Trial]:
        if options:
            raise InputError(f"completions of {self.name} are measured under options of their own, not {dict(options)}")
        from multidiff.video.trials import trials

        return trials(whole, task)

    def completion_metrics(
        self, trials: Sequence[Trial], completions: Sequence[Sequence[Video]], training: Sequence[Video]
    ) -> dict[str, dict[str, float]]:
        from multidiff.video.trials import completion_metrics

        return completion_metrics(trials, completions, training)

    def plot(self, media: Video, path: str | Path, title: str = "", given: Video | None = None) -> Path:
        from multidiff.video.plot import contact_sheet

        return contact_sheet(media, path, title, given=given)


def _places(places: Tensor) -> Tensor:
    """(1, 1, T, 1, 1), which lies along time, from the places (T,) of frames."""
    return places[None, None, :, None, None]


VIDEO = VideoModality()
