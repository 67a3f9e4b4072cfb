"""What can be asked of a generated sound: its duration, in seconds or in bars of a tempo."""

from __future__ import annotations

import math
from collections.abc import Collection

from pydantic import Field

from multidiff.audio.completion import Extend
from multidiff.audio.tempo import stated
from multidiff.errors import InputError
from multidiff.modality import Spec

MIN_SECONDS, MAX_SECONDS = 0.05, 60.0
"""Durations that can be generated. Far beyond the clips of the training data (5 s) quality falls."""

BEATS = 4
"""Of a bar."""


class AudioOptions(Spec):
    """What can be asked of a generated sound. `bars` of a tempo decide `seconds`; see `reconciled`."""

    seconds: float = Field(4.0, ge=MIN_SECONDS, le=MAX_SECONDS, description="duration")
    bars: int | None = Field(None, gt=0, description="duration in bars of 4 beats, of --bpm or the prompt's tempo")
    bpm: float | None = Field(None, ge=20, le=400, description="beats per minute, of bars and of what is prompted")


def lasting(seconds: float, options: AudioOptions) -> AudioOptions:
    """The options of a sound of this duration. Raises InputError for one that cannot be generated."""
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise InputError(
            f"{seconds:.2f} s of sound is not between {MIN_SECONDS:g} and {MAX_SECONDS:g} s; cut or lengthen it"
        )
    return options.model_copy(update={"seconds": seconds})


def reconciled(
    prompt: str, options: AudioOptions, task: Spec | None, asked: Collection[str], example: str
) -> tuple[str, AudioOptions, Spec | None]:
    """Prompt, options and task options that say the same; `asked` are those that are no defaults.

    The tempo is that of `bpm`, else the prompt's, and a prompt that states none is told it. `bars` last bars * 4 beats
    * 60/bpm seconds, as a sound or as what extends one; bars that are a default give way to seconds that are asked
    for, and to a prompt without a tempo. A model whose `example` of a prompt states no tempo knows none: its sounds are
    so long, and that is all. Raises InputError for what contradicts itself.
    """
    said, bpm = stated(prompt), options.bpm
    if said and bpm and "bpm" not in asked:
        bpm = said
    if said and bpm and not math.isclose(said, bpm):
        raise InputError(f"bpm {bpm:g} contradicts the prompt's {said:g} bpm; leave one of them out")
    knows = stated(example) is not None
    if bpm and not said and knows:
        prompt = f"{prompt} at {bpm:g} bpm".strip()
    bpm, bars = bpm or said, options.bars
    if bars and "bars" not in asked and ("seconds" in asked or task is not None or not bpm):
        bars = None
    agreed = options.model_copy(update={"bars": bars, "bpm": bpm} if knows else {"bars": None, "bpm": None})
    if not bars:
        return prompt, agreed, task
    if not bpm:
        raise InputError(f"bars {bars}: need a tempo; give bpm, or state it in the prompt (for example: at 120 bpm)")
    seconds = bars * BEATS * 60 / bpm
    length = f"{bars} bars at {bpm:g} bpm last {seconds:g} s"
    if "seconds" in asked and not math.isclose(seconds, options.seconds):
        raise InputError(f"seconds {options.seconds:g} contradict bars: {length}; leave one of them out")
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise InputError(f"{length}, not between {MIN_SECONDS:g} and {MAX_SECONDS:g}; give another number of bars")
    if isinstance(task, Extend):
        if "extend" in asked and not math.isclose(seconds, abs(task.seconds)):
            raise InputError(f"extend {task.seconds:g} contradicts bars: {length}; leave one of them out")
        task = Extend(seconds=math.copysign(seconds, task.seconds))
    return prompt, agreed.model_copy(update={"seconds": seconds}), task
