"""Model = recipe + weights: sample, complete, edit, restore, interpolate."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from multidiff import core
from multidiff.errors import InputError, MultidiffError, Notice
from multidiff.modality import Confident, Looping
from multidiff.settings import Settings, named, resolve, task_of
from multidiff.specs import MethodSpec, SampleSpec
from multidiff.trained import Trained, checked

FAR = 1e3
"""Values of model space, where data have unit variance, that only a run which diverged reaches."""

APART = 1_000_000
"""Between the streams of noise of one window and the next."""

INVERSIONS, TOLERANCE = 8, 1e-3
"""Evaluations for each step of an inversion at most, and the error at which they end."""

INVERSION: Mapping[str, Any] = {"guidance": 1.0, "sampler": "ddim", "steps": 24}
"""Settings under which sampling leads from an inverted noise back to what was inverted: in 8 steps it does not."""

CANDIDATE = 2**40
"""Between the seeds of the candidates for one sample, far from those of other samples."""

MOST = 2**63
"""Seeds lie below it."""

WITNESSES = 8
"""Others that a completion is compared with, at most: the time would grow with the square of their number."""

Progress = Callable[[int, int], None]
"""Called as progress(step, steps) while sampling."""


def seeds(count: int, seed: int) -> range:
    """seed, seed + 1, ... for each of `count` items. Raises InputError for anything but whole numbers that can be."""
    if not isinstance(count, int) or count < 1:
        raise InputError(f"count {count!r}: give a whole number of at least 1")
    if not isinstance(seed, int) or not 0 <= seed < MOST:
        raise InputError(f"seed {seed!r}: give a whole number from 0 to 2^63 - 1")
    return range(seed, seed + count)


def others(each: Sequence[Any]) -> list[list[Any]]:
    """For each of several those that it is compared with: the next ones, in a ring."""
    ring = [*each, *each]
    return [ring[i + 1 : i + 1 + min(WITNESSES, len(each) - 1)] for i in range(len(each))]


class Model(Trained):
    """A model of one medium, and what it can be asked for.

    `values` of every method are sampling settings (`SampleSpec`: steps, sampler, guidance, ...) and the medium's own
    options; what is not given has the recipe's default. Item i of `count` has seed + i and is the same alone as among
    others. Every method raises InputError for wrong values, MediaError for media that cannot be used, ModelError where
    the model holds no denoiser, and MultidiffError where sampling diverges.
    """

    def task_of(self, task: str | None, options: dict[str, Any]) -> str:
        """The completion task that is named or implied; see `settings.task_of`."""
        return task_of(self.recipe, self.modality, task, options)

    def settings(self, task: str = "", **values: Any) -> Settings:
        """Settings and options resolved from the recipe's defaults and `values`."""
        return resolve(self.recipe, self.modality, task, values)

    def sample(
        self,
        prompt: str = "",
        *,
        count: int = 1,
        seed: int = 0,
        best_of: int = 1,
        progress: Progress | None = None,
        **values: Any,
    ) -> list[Any]:
        """`count` media from a prompt, each the likest to it of `best_of` candidates by the medium's scorer.

        The first candidate is the one made with best_of = 1.
        """
        self.denoiser()  # a model without one is an error before its prompt is looked at
        asked = self._asked(prompt, **values)
        prompt = asked.sampling.prompt
        if best_of > 1:
            fitness, make = self.fitness(prompt), partial(self.sample, prompt, progress=progress, **values)
            return [
                max((make(seed=first + k * CANDIDATE)[0] for k in range(best_of)), key=fitness)
                for first in seeds(count, seed)
            ]
        options = self._closed(asked.options) if asked.sampling.loop else asked.options
        shape = self.modality.event_shape(self.codec, options)
        plan = self._plan(asked.sampling, shape, self._told(options))
        if self._slides(asked.sampling, shape):
            nothing = torch.zeros(1, *shape, device=self.device)
            mask = nothing.new_zeros([1] * nothing.ndim)
            made = self._slide(plan, asked.sampling, nothing, mask, count, seed, progress)
        else:
            made = self._samples(plan, shape, count, seed, progress)
        return [self._decode(x, asked.options, asked.sampling.loop)[0] for x in made]

    def complete(
        self,
        media: Any,
        task: str | None = None,
        *,
        prompt: str = "",
        count: int = 1,
        seed: int = 0,
        progress: Progress | None = None,
        **values: Any,
    ) -> list[Any]:
        """`count` different wholes for one part: what is given is kept, the rest is generated.

        Of several, where the medium can tell it, each says how sure it is by how far others agree (`Confident`).
        `values` may hold the options of the task, as on the command line, or by the names of their fields: a gap in a
        sound is start=1.2, end=1.8. With `describe` an empty prompt stands for the likeliest caption that the model
        knows, where some of what is made is so far from what is given that it would else be of any kind.
        """
        self._takes(media)
        self.denoiser()  # a model without one is an error before the media are looked at
        asked = self._asked(prompt, self.task_of(task, values), **values)
        self._open(asked.sampling)
        given, options = self.modality.given(media, asked.task, asked.task_options, self.codec, asked.options)
        known, mask = given.known.to(self.device), given.mask.to(self.device)
        shape = tuple(known.shape[1:])
        describe = asked.sampling.describe and not asked.sampling.prompt and self._far(mask)
        if describe and (likeliest := self.described(media)):
            warnings.warn(Notice(f'without a prompt, it goes on as "{likeliest}"'), stacklevel=2)
            asked = replace(asked, sampling=asked.sampling.model_copy(update={"prompt": likeliest}))
        plan = self._plan(asked.sampling, shape, given.condition)
        if self._slides(asked.sampling, shape):
            made = self._slide(plan, asked.sampling, known, mask, count, seed, progress)
        elif given.noise:
            try:
                times, start = core.noisy_start(plan.denoiser.schedule, plan.times, known, given.noise)
            except ValueError as error:
                raise InputError(f"{self.name}: {error}; take another grid or schedule") from None
            made = self._samples(replace(plan, times=times), shape, count, seed, progress, start)
        else:
            plan = asked.sampling.completion.make(core.COMPLETIONS)(plan, known, mask)
            made = self._samples(plan, shape, count, seed, progress)
        wholes = [self.modality.merge(self._decode(x, options)[0], media, given) for x in made]
        if count == 1 or not isinstance(self.modality, Confident):
            return wholes
        return [self.modality.confident(*pair) for pair in zip(wholes, others(wholes), strict=True)]

    def edit(
        self,
        media: Any,
        prompt: str = "",
        *,
        strength: float | None = 0.6,
        count: int = 1,
        seed: int = 0,
        progress: Progress | None = None,
        **values: Any,
    ) -> list[Any]:
        """`count` versions of given media changed towards a prompt, by SDEdit or another `editing`; without a prompt,
        variations of them.

        `strength` in (0, 1]: the share of the sampling steps that is gone through again.
        """
        strength = 0.6 if strength is None else strength
        if not 0 < strength <= 1:
            raise InputError(f"strength {strength}: give a number above 0 and at most 1")
        asked = self._asked(prompt, **values)
        loop = asked.sampling.loop
        x0, told = self.encode(media, loop=loop)
        options = self.modality.options_of(media, asked.options)
        shape = tuple(x0.shape[1:])
        plan = self._plan(asked.sampling, shape, self._told(self._closed(options) if loop else options))
        plain = self.under(self.denoiser(), asked.sampling)
        edit = core.Edit(x0, strength, plain, told | self.tokens([asked.sampling.source]))
        method = asked.sampling.editing.make(core.EDITINGS)
        steps = max(1, round(strength * (len(plan.times) - 1)))
        made = []
        for each in seeds(count, seed):
            x = self._end(method(plan, self.noise([each], shape), edit), steps, progress)
            decoded = self._decode(x, options, loop)[0]
            made.append(self.modality.restore(decoded, media, self.codec))
        return made

    def restore(
        self,
        media: Any,
        operator: core.Operator | str | MethodSpec,
        *,
        prompt: str = "",
        count: int = 1,
        seed: int = 0,
        progress: Progress | None = None,
        **values: Any,
    ) -> list[Any]:
        """`count` media that would be measured as these were, by `posterior` sampling.

        `operator` acts in model space (latents of a sound, unshuffled pixels of a clip): any differentiable function
        of x (1, *event), or the name of one in OPERATORS. Where it keeps the shape the media are its result (a blur);
        else it is applied to them (an average over blocks).
        """
        acting: core.Operator = named(operator, core.OPERATORS) if isinstance(operator, str | MethodSpec) else operator
        x, _ = self.encode(media)
        asked = self._asked(prompt, **values)
        self._open(asked.sampling)
        options = self.modality.options_of(media, asked.options)
        try:
            measured = acting(x)
        except (RuntimeError, ValueError, TypeError) as error:
            raise InputError(f"{self.name}: the operator does not take x of shape {tuple(x.shape)}: {error}") from None
        y, shape = x if measured.shape == x.shape else measured, tuple(x.shape[1:])
        plan = self._plan(asked.sampling, shape, self._told(options))
        plan = asked.sampling.posterior.make(core.POSTERIORS)(plan, acting, y)
        return [
            self.modality.restore(self._decode(x, options)[0], media, self.codec)
            for x in self._samples(plan, shape, count, seed, progress)
        ]

    def interpolate(
        self,
        first: Any,
        last: Any,
        shares: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        *,
        prompt: str = "",
        seed: int = 0,
        progress: Progress | None = None,
        **values: Any,
    ) -> list[Any]:
        """Media on the way from the first (share 0) to the last (share 1), both ends as the model makes them.

        Both, cut to what both have, are inverted to the noises that DDIM would make them from, and what lies between
        these on the sphere is sampled (Song et al. 2021, 2010.02502, section 5.3). The ends come back under the default
        settings: no guidance, no noise.
        """
        self._takes(first)
        self._takes(last)
        given = {key: value for key, value in values.items() if value is not None}
        asked = self._asked(prompt, **{**INVERSION, **given})
        self._open(asked.sampling)
        first, last = self.modality.alike(first, last)
        (a, told), (b, _) = self.encode(first, asked.sampling.prompt), self.encode(last)
        shape = tuple(a.shape[1:])
        plan = self._plan(asked.sampling, shape, told)
        start, end = (self._inverted(x, plan, asked.sampling) for x in (a, b))
        made = []
        for share in shares:
            x = core.slerp(start, end, torch.tensor([share]))
            x = self._sampled(plan, self.noise([seed], shape), progress, x)
            made += self._decode(x, self.modality.options_of(first, asked.options))
        return made

    def _asked(self, prompt: str, task: str = "", **values: Any) -> Settings:
        """The settings under a prompt, which is asked for even where it is empty."""
        return self.settings(task, prompt=checked(prompt), **values)

    def _told(self, options: Any) -> dict[str, Tensor]:
        """The medium's own condition of one sample."""
        own = self.modality.extra_condition(self.codec, options, 1)
        return {key: value.to(self.device) for key, value in own.items()}

    def _plan(self, sampling: SampleSpec, shape: tuple[int, ...], told: Mapping[str, Tensor]) -> core.Plan:
        """What a run for its prompt does, with windows, as a loop or into another prompt where that is asked for.

        Raises InputError.
        """
        axis = self.modality.time_axis
        if (sampling.windows or sampling.loop or sampling.into) and axis is None:
            raise InputError(f"{self.name}: {self.modality.name} have no time: no windows, no loop, no second prompt")
        told = {key: value.to(self.device) for key, value in told.items()} | self.tokens([sampling.prompt])
        times, denoiser = sampling.times(self.denoiser().schedule), self.guided(sampling)
        if sampling.into and axis is not None:
            told |= {core.SHARE: core.ramp(shape, axis, sampling.loop).to(self.device)}
            denoiser = core.Blended(denoiser, self.tokens([sampling.into]))
        plan = core.Plan(denoiser, sampling.sampler.make(core.SAMPLERS), times, told)
        if axis is None:
            return plan
        if sampling.windows and shape[axis] > (size := self._window(axis)):
            # Each window is told of its own length, and of what lies along time by its place in it.
            own, ndim = self._told(self.recipe.options), 1 + len(shape)
            of_window = {key: value for key, value in own.items() if not core.is_local(key, value, ndim)}
            plan = replace(plan, condition=told | of_window)
            if sampling.windows == "sliding":
                return plan
            plan = replace(plan, denoiser=core.Windows(plan.denoiser, axis, size, -(-size // 2), sampling.loop))
        return replace(plan, sampler=core.Loop(plan.sampler, axis)) if sampling.loop else plan

    def _window(self, axis: int) -> int:
        """The length of time that the recipe's own options ask for, in model space."""
        return self.modality.event_shape(self.codec, self.recipe.options)[axis]

    def _open(self, sampling: SampleSpec) -> None:
        """Raises InputError where what has a given beginning or end is asked to go round."""
        if sampling.loop and isinstance(self.codec, Looping):
            raise InputError(f"{self.name}: only what is sampled or edited can be a loop; leave loop out")

    def _far(self, mask: Tensor) -> bool:
        """Whether something is given, and a whole window lies beyond it or between it."""
        axis = self.modality.time_axis
        if axis is None:
            return False
        known = mask.movedim(axis, -1).flatten(0, -2).any(dim=0).nonzero()[:, 0].tolist()
        if not known:
            return False
        edges = [-1, *known, mask.shape[axis]]
        return max(after - before - 1 for before, after in pairwise(edges)) >= self._window(axis)

    def _slides(self, sampling: SampleSpec, shape: tuple[int, ...]) -> bool:
        axis = self.modality.time_axis
        return sampling.windows == "sliding" and axis is not None and shape[axis] > self._window(axis)

    def _samples(
        self,
        plan: core.Plan,
        shape: tuple[int, ...],
        count: int,
        seed: int,
        progress: Progress | None,
        start: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """x (1, *shape) in model space of seed, seed + 1, ...; from pure noise, or all from `start`."""
        for each in seeds(count, seed):
            yield self._sampled(plan, self.noise([each], shape), progress, start)

    def _sampled(
        self, plan: core.Plan, noise: core.Noise, progress: Progress | None, start: Tensor | None = None
    ) -> Tensor:
        run = core.states(plan.denoiser, plan.sampler, plan.times, noise, plan.condition, start)
        return self._end(run, len(plan.times) - 1, progress)

    def _slide(
        self,
        plan: core.Plan,
        sampling: SampleSpec,
        known: Tensor,
        mask: Tensor,
        count: int,
        seed: int,
        progress: Progress | None,
    ) -> Iterator[Tensor]:
        """x (1, *event) of seed, seed + 1, ..., window after window, half a window known of each but the first."""
        axis = self.modality.time_axis or -1
        size, meet = self._window(axis), sampling.completion.make(core.COMPLETIONS)
        for each in seeds(count, seed):

            def complete(number: int, index: Tensor, part: Tensor, mask: Tensor, each: int = each) -> Tensor:
                window = replace(plan, condition=core.local(plan.condition, known, axis, index))
                noise = self.noise([each], tuple(part.shape[1:]))
                # Stream by stream, as far apart as no sampler goes, so that no window repeats another's noise.
                return self._sampled(meet(window, part, mask), lambda i, s=0: noise(i, s + APART * number), progress)

            yield core.sliding(complete, known, mask, size, size // 2, axis, sampling.loop)

    @cached_property
    def _inversions(self) -> dict[str, Tensor]:
        """Noises that were found, by what they are the noises of: each of many jobs between two media asks for both."""
        return {}

    def _inverted(self, x0: Tensor, plan: core.Plan, sampling: SampleSpec) -> Tensor:
        """The noise (1, *event) from which DDIM without guidance makes x0 (1, *event)."""
        data = x0.cpu().numpy().tobytes(), *(value.cpu().numpy().tobytes() for value in plan.condition.values())
        key = hashlib.sha256(b"".join((repr(sampling).encode(), *data))).hexdigest()
        if key not in self._inversions:
            plain = self.under(self.denoiser(), sampling)
            with torch.no_grad(), self._autocast():
                self._inversions[key] = core.ddim_inversion(
                    plain, plan.times, x0, plan.condition, INVERSIONS, TOLERANCE
                )
        return self._inversions[key]

    def _end(self, run: Iterator[core.State], steps: int, progress: Progress | None) -> Tensor:
        """x (1, *event) in model space at the end of a run. Raises MultidiffError where it diverges."""
        # Not inference mode: methods that follow a gradient enable it for their own part.
        with torch.no_grad(), self._autocast():
            for state in run:
                if progress is not None:
                    progress(state.step, steps)
        if not bool((state.x.abs() < FAR).all()):
            raise MultidiffError(
                f"{self.name}: sampling diverged; take less guidance, more steps, another sampler or precision"
            )
        return state.x
