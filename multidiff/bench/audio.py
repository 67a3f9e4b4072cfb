"""The work of making sound, ours beside what one would use instead: seconds per second of audio, parameters, memory.

Ours is at 22.05 kHz, as shipped and at the size of the recipe for GPUs, with random weights; the peers are at 16 kHz,
with random weights of their published sizes (`audioldm.py`). So this compares speed and memory, not how it sounds. What
AudioLDM takes for a whole request is the sum of its parts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from multidiff import recipe as recipes
from multidiff import registry, weights
from multidiff.bench import audioldm, meter
from multidiff.bench.meter import MIB, Build, Built
from multidiff.model import Model
from multidiff.torchaudio_door import import_torchaudio

SECONDS, STEPS, PROMPT = 4.0, 8, "rain falling steadily"
DDIM_STEPS = 200
"""With which AudioLDM is published."""
BUDGET = 5.0
"""Seconds of runs in turns for each piece of work."""

Size = Literal["shipped", "base"]


@dataclass(frozen=True)
class Part:
    """One way to do a piece of work; `needs`: a package that may be missing."""

    work: str
    name: str
    build: Build
    needs: str = "torch"


@dataclass(frozen=True)
class Row:
    """What a part takes for a sound of SECONDS: seconds of time, parameters, and MiB with those."""

    work: str
    name: str
    seconds: float
    parameters: int
    memory: float


def _model(size: Size) -> Model:
    if size == "shipped":
        return weights.load("sfx", "cpu")
    recipe = recipes.load("sfx", [f"size={size}"])
    modality = registry.modality(recipe.modality)
    codec = modality.codec(recipe.codec)
    return Model(recipe, modality, codec, modality.network(recipe.network, codec))


def _codec(size: Size = "shipped") -> Any:
    return _model(size).codec


def _wave(rate: int) -> Tensor:
    return torch.randn(1, round(SECONDS * rate))


def mel() -> Built:
    features = _codec().log_mel
    return Built(partial(features, _wave(features.rate)))


def torchaudio_mel() -> Built:
    ours = _codec().log_mel
    transform = import_torchaudio().transforms.MelSpectrogram(
        ours.rate, ours.n_fft, hop_length=ours.hop, n_mels=ours.n_mels, power=1.0, norm="slaney", mel_scale="slaney"
    )
    wave = _wave(ours.rate)
    return Built(lambda: transform(wave).clamp(min=ours.floor).log())


def librosa_mel() -> Built:
    import librosa
    import numpy as np

    ours = _codec().log_mel
    spectrogram = partial(librosa.feature.melspectrogram, y=_wave(ours.rate)[0].numpy(), sr=ours.rate, power=1.0)
    sizes = {"n_fft": ours.n_fft, "hop_length": ours.hop, "n_mels": ours.n_mels}
    return Built(lambda: np.log(np.maximum(spectrogram(**sizes), ours.floor)))


def _text_parameters(model: Model) -> int:
    tensors: dict[str, Tensor] = getattr(model.text, "weights", {})
    return sum(value.numel() for value in tensors.values() if value.is_floating_point())


def prompt() -> Built:
    model = _model("shipped")
    return Built(lambda: (model.tokens([PROMPT]), model.tokens([""])), _text_parameters(model))


def encoder(size: Size) -> Built:
    codec = _codec(size)
    log_mel = codec.log_mel(_wave(codec.rate))
    return Built.of(partial(codec.autoencoder.encode, log_mel), codec.autoencoder.encoder)


def decoder(size: Size) -> Built:
    codec = _codec(size)
    x = torch.randn(1, codec.spec.channels, codec.length(codec.samples(SECONDS)))
    return Built.of(partial(codec.autoencoder.decode, x), codec.autoencoder.decoder)


def denoiser(size: Size) -> Built:
    model = _model(size)
    asked = model.settings(seconds=SECONDS)
    x = torch.randn(1, *model.modality.event_shape(model.codec, asked.options))
    condition = model.tokens([PROMPT]) | model.modality.extra_condition(model.codec, asked.options, 1)
    guided = model.guided(asked.sampling)
    return Built.of(partial(guided, x, torch.tensor([0.5]), condition), model.denoiser().network)


def vocoder(size: Size) -> Built:
    codec = _codec(size)
    return Built.of(partial(codec.vocoder, codec.log_mel(_wave(codec.rate))), codec.vocoder)


def griffin_lim() -> Built:
    codec = _codec()
    return Built.of(partial(codec.griffin_lim, codec.log_mel(_wave(codec.rate))), codec.griffin_lim)


def request() -> Built:
    """From the prompt to the file, by a loaded model."""
    model = _model("shipped")

    def run() -> None:
        [sound] = model.sample(PROMPT, seconds=SECONDS, steps=STEPS)
        with tempfile.TemporaryDirectory() as folder:
            sound.save(Path(folder) / "rain.wav")

    return Built(run, model.parameters + _text_parameters(model))


OURS, LARGE = "multidiff", "multidiff, size=base"
MEL, TEXT, ENCODE, DECODE = "log-mel", "text encoder, 2 prompts", "autoencoder: encode", "autoencoder: decode"
STEP, VOCODE, REQUEST = "denoiser, a guided step", "vocoder", "whole request"

PARTS = [
    Part(MEL, OURS, mel),
    Part(MEL, "torchaudio MelSpectrogram", torchaudio_mel, "torchaudio"),
    Part(MEL, "librosa melspectrogram", librosa_mel, "librosa"),
    Part(MEL, "transformers SpeechT5FeatureExtractor", partial(audioldm.features, SECONDS), "transformers"),
    Part(TEXT, OURS, prompt),
    Part(TEXT, "transformers ClapTextModel", audioldm.prompt, "transformers"),
    Part(ENCODE, OURS, partial(encoder, "shipped")),
    Part(ENCODE, LARGE, partial(encoder, "base")),
    Part(ENCODE, "diffusers AutoencoderKL", partial(audioldm.autoencoder, "encode", SECONDS), "diffusers"),
    Part(DECODE, OURS, partial(decoder, "shipped")),
    Part(DECODE, LARGE, partial(decoder, "base")),
    Part(DECODE, "diffusers AutoencoderKL", partial(audioldm.autoencoder, "decode", SECONDS), "diffusers"),
    Part(STEP, OURS, partial(denoiser, "shipped")),
    Part(STEP, LARGE, partial(denoiser, "base")),
    Part(STEP, "diffusers UNet2DConditionModel", partial(audioldm.denoiser, SECONDS), "diffusers"),
    Part(VOCODE, OURS, partial(vocoder, "shipped")),
    Part(VOCODE, LARGE, partial(vocoder, "base")),
    Part(VOCODE, "multidiff, Griffin-Lim of 32 iterations", griffin_lim),
    Part(VOCODE, "transformers SpeechT5HifiGan", partial(audioldm.vocoder, SECONDS), "transformers"),
    Part(REQUEST, f"{OURS}, {STEPS} steps", request),
]


def rows(parts: Sequence[Part] = PARTS, budget: float = BUDGET) -> Iterator[Row]:
    """A row for each part whose package is installed, then the sums for a whole request of AudioLDM."""
    found = []
    for _, group in groupby((part for part in parts if find_spec(part.needs)), lambda part: part.work):
        ways = list(group)
        built = [part.build() for part in ways]
        for part, made, least in zip(ways, built, meter.seconds([made.run for made in built], budget), strict=True):
            found.append(Row(part.work, part.name, least, made.parameters, meter.memory(part.build)))
            yield found[-1]
    peers = {row.work: row for row in found if not row.name.startswith(OURS)}
    if {TEXT, STEP, DECODE, VOCODE} <= peers.keys():
        for steps in (STEPS, DDIM_STEPS):
            yield _sum(peers[TEXT], peers[STEP], peers[DECODE], peers[VOCODE], steps)


def _sum(text: Row, step: Row, decode: Row, vocode: Row, steps: int) -> Row:
    """All weights, and the most that one part needs besides its own."""
    parts = text, step, decode, vocode
    parameters = sum(row.parameters for row in parts)
    besides = max(row.memory - 4 * row.parameters / MIB for row in parts)
    seconds = text.seconds + steps * step.seconds + decode.seconds + vocode.seconds
    return Row(REQUEST, f"AudioLDM-S, {steps} steps", seconds, parameters, 4 * parameters / MIB + besides)


def markdown(found: Iterator[Row]) -> Iterator[str]:
    """The lines of the table, each as soon as its figures are known."""
    yield "| work | by | seconds per second of audio | times ours | parameters, M | memory, MiB |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    ours: dict[str, float] = {}
    for row in found:
        times = row.seconds / ours.setdefault(row.work, row.seconds)
        size = f"{row.parameters / 1e6:.1f} | {row.memory:.0f}"
        yield f"| {row.work} | {row.name} | {_short(row.seconds / SECONDS)} | {_short(times)} | {size} |"
    yield ""
    yield (
        f"A sound of {SECONDS:g} s, threads: {torch.get_num_threads()}, torch {torch.__version__}. "
        "multidiff at 22.05 kHz; what is AudioLDM's at 16 kHz, with random weights."
    )
    if missing := sorted({part.needs for part in PARTS if not find_spec(part.needs)}):
        yield f"Left out, not installed: {', '.join(missing)}."


def _short(value: float) -> str:
    """Two digits that say something."""
    return f"{float(f'{value:.2g}'):g}"
