"""The `Modality` object of audio."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multidiff.audio import batch as rows_to_batch
from multidiff.audio import completion, data, restoration
from multidiff.audio.autoencoder import BAND
from multidiff.audio.beat import beat
from multidiff.audio.codec import CodecSpec, MelCodec, MelModule
from multidiff.audio.completion import Extend, Fill
from multidiff.audio.contrastive import ScorerObjective
from multidiff.audio.data import AudioData
from multidiff.audio.media import SILENCE, Audio, usable
from multidiff.audio.multilabel import MultiLabelTagger
from multidiff.audio.network import LatentTransformer, LatentUNet, NetworkSpec, TransformerSpec, UNetSpec, network
from multidiff.audio.objectives import AutoencoderObjective, TaggerObjective
from multidiff.audio.options import AudioOptions, lasting, reconciled
from multidiff.audio.restoration import Degraded, Denoise, SuperResolution
from multidiff.audio.scorer import Scorer
from multidiff.audio.tagger import Tagger
from multidiff.audio.vocoder import MEL_MEAN, RealVocos
from multidiff.audio.vocoder_objective import VocoderObjective
from multidiff.errors import InputError, Notice
from multidiff.modality import Batch, Example, Given, Objective, OfCaptions, Part, Spec, Trial

Task = Fill | Extend | Denoise | SuperResolution


class AudioModality:
    """See `multidiff.modality.Modality`; latents are (B, C, T)."""

    name = "audio"
    media = Audio
    data_spec = AudioData
    codec_spec = CodecSpec
    network_spec = NetworkSpec
    options = AudioOptions
    tasks: Mapping[str, type[Spec]] = {
        "fill": Fill,
        "extend": Extend,
        "denoise": Denoise,
        "super-resolution": SuperResolution,
    }
    time_axis = -1
    judge, scorer = "classifier", "scorer"

    def examples(self, data_spec: AudioData, split: str) -> Iterator[Example]:
        return data.examples(data_spec, split)

    def prepare(self, example: Example, data_spec: AudioData, codec: MelModule) -> dict[str, Tensor]:
        row = rows_to_batch.prepare(example, data_spec, codec)
        return row | {"label": codec.label(example)} if isinstance(codec, Tagger) else row

    def codec(self, spec: CodecSpec) -> MelCodec | Tagger | Scorer:
        if spec.joint:
            return Scorer(spec)
        if not spec.classes:
            return MelCodec(spec)
        return MultiLabelTagger(spec) if spec.multi_label else Tagger(spec)

    def network(self, spec: TransformerSpec | UNetSpec, codec: MelCodec) -> LatentTransformer | LatentUNet:
        bands = codec.spec.mel.n_mels // BAND if codec.spec.autoencoder == "2d" else 1
        return network(spec, codec.channels, bands)

    def batch(
        self, rows: dict[str, Tensor], codec: MelCodec, data_spec: AudioData, generator: torch.Generator
    ) -> Batch:
        return rows_to_batch.batch(rows, codec, generator)

    def objectives(
        self, codec: MelCodec | Tagger | Scorer, data_spec: AudioData
    ) -> Mapping[str, Objective | OfCaptions]:
        if isinstance(codec, Scorer):
            return {"scorer": partial(ScorerObjective, codec)}
        if isinstance(codec, Tagger):
            return {"tagger": TaggerObjective(codec)}
        return {"vae": AutoencoderObjective(codec), "vocoder": VocoderObjective(codec)}

    def parts(self, codec: MelModule) -> Mapping[str, Part]:
        if not isinstance(codec, MelCodec):
            return {}
        log_mel = torch.full((2, codec.spec.mel.n_mels, 64), MEL_MEAN)
        return {"vocoder": Part(RealVocos(codec.vocoder), log_mel, {0: "batch", 2: "frames"}, "log_mel", "wave")}

    def reconciled(
        self, prompt: str, options: AudioOptions, task: Spec | None, asked: Collection[str], example: str
    ) -> tuple[str, AudioOptions, Spec | None]:
        return reconciled(prompt, options, task, asked, example)

    def event_shape(self, codec: MelCodec, options: AudioOptions) -> tuple[int, ...]:
        return codec.channels, codec.length(codec.samples(options.seconds))

    def extra_condition(self, codec: MelCodec, options: AudioOptions, count: int) -> dict[str, Tensor]:
        return self._told(codec, options, count, 0.0)

    def _told(self, codec: MelCodec, options: AudioOptions, count: int, before: float) -> dict[str, Tensor]:
        """The duration, and the beat where there is one, the first `before` seconds after the beginning."""
        told = {"seconds": torch.tensor([[0.0, options.seconds]]).expand(count, 2)}
        if options.bpm:
            bpm, start = torch.tensor([options.bpm]), torch.tensor([-before])
            told["beat"] = beat(codec, bpm, start, self.event_shape(codec, options)[1]).expand(count, -1, -1)
        return told

    def clamp(self, x0: Tensor, codec: MelModule) -> Tensor:
        return x0

    def given(
        self, audio: Audio, task: str, task_options: Task, codec: MelCodec, options: AudioOptions
    ) -> tuple[Given, AudioOptions]:
        if audio.channels > codec.sides:
            message = f"the model is mono: what it makes is the same in all {audio.channels} channels"
            warnings.warn(message, Notice, stacklevel=2)
        if isinstance(task_options, Denoise | SuperResolution):
            options, found = self.options_of(audio, options), restoration.given(audio, task_options, codec)
            return replace(found, condition=found.condition | self.extra_condition(codec, options, 1)), options
        place = completion.gap(audio, task_options)
        options = lasting(place.length / audio.rate, options)
        return replace(
            completion.given(audio, place, codec), condition=self._told(codec, options, 1, place.offset / audio.rate)
        ), options

    def merge(self, generated: Audio, audio: Audio, given: Given) -> Audio:
        if isinstance(given.context, Degraded):
            return restoration.restored(generated, audio, given.context)
        return completion.merge(generated, audio, given.context)

    def restore(self, edited: Audio, audio: Audio, codec: MelModule) -> Audio:
        """At the given sound's rate, peak and number of channels."""
        edited = edited.remix(audio.channels).resample(audio.rate)
        return Audio(edited.samples * (audio.peak / max(edited.peak, SILENCE)), audio.rate)

    def alike(self, first: Audio, last: Audio) -> tuple[Audio, Audio]:
        usable(first, "the first sound")
        usable(last, "the last sound")
        seconds = min(first.seconds, last.seconds)
        return first.cut(0, seconds), last.cut(0, seconds)

    def options_of(self, audio: Audio, options: AudioOptions) -> AudioOptions:
        usable(audio, "the given sound")
        return lasting(audio.seconds, options)

    def metrics(self, real: Sequence[Audio], generated: Sequence[Audio]) -> dict[str, float]:
        from multidiff.audio.metrics import metrics

        return metrics(real, generated)

    def judged(self, judge: Tagger, real: Sequence[Example], generated: Sequence[Example]) -> dict[str, float]:
        from multidiff.audio.metrics import judged

        return judged(judge, real, generated)

    def similarity(self, scorer: MelModule, media: Sequence[Audio], prompts: Tensor) -> Tensor:
        if not isinstance(scorer, Scorer):
            raise InputError("the codec is no scorer; train one by recipes/audio/scorer.yaml")
        return scorer.similarity(media, prompts)

    def faults(self, examples: Sequence[Example], seed: int) -> Mapping[str, Sequence[Example]]:
        from multidiff.audio.faults import faults

        return faults(examples, seed)

    def prompt_accuracy(self, made: Sequence[Example]) -> dict[str, float]:
        from multidiff.audio.tempo import prompt_accuracy

        return prompt_accuracy(made)

    def loop_metrics(self, media: Sequence[Audio]) -> dict[str, float]:
        from multidiff.audio.metrics import loop_metrics

        return loop_metrics(media)

    def there_and_back(self, codec: MelModule, audio: Audio) -> Mapping[str, tuple[Audio, float]]:
        from multidiff.audio.reconstruction import there_and_back

        return there_and_back(codec, audio)

    def losses(self, codec: MelCodec, real: Sequence[Audio], made: Sequence[Audio], seconds: float) -> dict[str, float]:
        from multidiff.audio.reconstruction import losses

        return losses(codec, real, made, seconds)

    def memorisation(self, training: Sequence[Audio], media: Sequence[Audio]) -> dict[str, float]:
        from multidiff.audio.metrics import memorisation

        return memorisation(training, media)

    def trials(self, whole: Audio, task: str, seed: int, options: Mapping[str, Any]) -> Sequence[Trial]:
        from multidiff.audio.trials import trials

        return trials(whole, task, seed, options)

    def completion_metrics(
        self, trials: Sequence[Trial], completions: Sequence[Sequence[Audio]], training: Sequence[Audio]
    ) -> dict[str, dict[str, float]]:
        from multidiff.audio.trials import completion_metrics

        return completion_metrics(trials, completions)

    def plot(self, audio: Audio, path: str | Path, title: str = "", given: Audio | None = None) -> Path:
        from multidiff.audio.plot import plot

        return plot(audio, path, title, given)


AUDIO = AudioModality()
