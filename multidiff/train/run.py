"""A training run and its folder.

`runs/<name>-<n>` (or `-o`) holds `recipe.yaml` (resolved), `log.csv`, `val.csv`, `samples/`, and after every
checkpoint `model.safetensors` with the averaged weights and a model card (so that the folder is a model at any
time) and `state.safetensors`, from which `--resume` goes on. With `train.power_ema` there is `snapshots/`, from
which `multidiff posthoc` builds averages of other lengths. Nothing in it is pickled.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from multidiff import files, weights
from multidiff.errors import InputError
from multidiff.modality import Objective, OfCaptions
from multidiff.model import Model
from multidiff.nn.embedding import masked_mean
from multidiff.recipe import Recipe
from multidiff.recipe import load as load_recipe
from multidiff.train import card, checkpoint, folder, overfit, pack, posthoc
from multidiff.train.classifier import ClassifierObjective
from multidiff.train.distill import DistillationObjective
from multidiff.train.folder import STATE
from multidiff.train.log import Log, read
from multidiff.train.loop import Training, accelerator_for, agreed
from multidiff.train.objective import DenoiserObjective
from multidiff.train.pack import Pack, Rows

VALIDATION_ROWS = 64
PICTURES = 4
CAPTIONS = 100
"""Kept with the weights, so that one can see what a model may be asked for."""


class Run:
    """A recipe, its data and its modules, ready to train."""

    def __init__(self, recipe: Recipe, accelerator: Accelerator, source: Path | None, console: Console) -> None:
        """`source`: the run folder to go on from. Raises InputError, ModelError."""
        self.recipe, self.accelerator = recipe, accelerator
        at = str(accelerator.device)
        self.model = weights.load(source, at) if source else weights.build(recipe, at)
        self.model.recipe = recipe
        make = objective(self.model)
        with accelerator.main_process_first(), console.status("preparing data") as status:
            self.pack = pack.load(recipe, self.model.codec, lambda n: status.update(f"preparing data: {n} items"))
        self.train, self.val = rows(self.pack, recipe)
        self.model.captions = self.pack.frequent(CAPTIONS)
        self.model.codec.eval().requires_grad_(False)
        self.objective = make(self.pack)
        self.training = Training(self.objective, recipe.train, accelerator)

    def save(self, target: Path, seconds: float) -> None:
        """Weights, card and training state into the run folder."""
        if not self.accelerator.is_main_process:
            return
        device = f"{self.accelerator.num_processes} x {self.accelerator.device.type}"
        text = card.markdown(self.recipe, self.pack, self.training.step, seconds, read(target / "val.csv"), device)
        with self.training.averaged():
            self.model.save(target, text)
        checkpoint.save(target / STATE, self.training, {"seconds": seconds})
        if self.training.power:
            posthoc.keep(files.folder(target / posthoc.SNAPSHOTS), self.training)

    def pictures(self, target: Path) -> None:
        """One sample for each of the first few validation captions, as PNG."""
        captions = [self.pack.captions[i] for i in self.val.tensors["caption"].unique().tolist()[:PICTURES]]
        with self.training.averaged():
            for number, caption in enumerate(captions):
                media = self.model.sample(caption, count=1, seed=number)[0]
                path = target / f"{self.training.step:07d}-{number}.png"
                self.model.modality.plot(media, path, caption or self.recipe.name)


def rows(data: Pack, recipe: Recipe) -> tuple[Rows, Rows]:
    """Rows to train and to validate on. With `train.overfit`, or without held-out items, both are training items."""
    if recipe.train.overfit:
        few = data.train.first(recipe.train.overfit)
        return few, few.first(VALIDATION_ROWS)
    return data.train, (data.val if len(data.val) else data.train).first(VALIDATION_ROWS)


def objective(built: Model) -> Callable[[Pack], Objective]:
    """Makes what `train.objective` names: the denoiser, its distillation, or one of the medium's own.

    Raises InputError.
    """
    name = built.recipe.train.objective
    known: dict[str, Callable[[Pack], Objective]] = {
        "denoiser": partial(DenoiserObjective, built),
        "distillation": partial(DistillationObjective, built),
        "classifier": partial(ClassifierObjective, built),
    }
    own = built.modality.objectives(built.codec, built.recipe.data)
    known |= {key: partial(_of_medium, made) for key, made in own.items()}
    if name not in known:
        medium = built.recipe.modality
        raise InputError(f"train.objective: {medium} has no objective '{name}'; known: {', '.join(known)}")
    return known[name]


def _of_medium(made: Objective | OfCaptions, data: Pack) -> Objective:
    return made(masked_mean(data.tokens.float(), data.tokens_mask)) if callable(made) else made


def report_skipped(data: Pack, console: Console, most: int = 10) -> None:
    """Count the files that could not be used and name the first; the model card lists more."""
    skipped = data.info["skipped"]
    if skipped:
        console.print(f"skipped {len(skipped)} files that cannot be used:", highlight=False)
    for _, reason in skipped[:most]:
        console.print(f"  {reason}", highlight=False, soft_wrap=True)
    if len(skipped) > most:
        medium, roots = data.info["modality"], " ".join(data.info["data"]["root"])
        rest = f"  and {len(skipped) - most} more; `multidiff data check {medium} {roots}` lists all"
        console.print(rest, highlight=False, soft_wrap=True)


def train(
    recipe: Recipe,
    out: str | Path | None = None,
    resume: bool = False,
    max_minutes: float | None = None,
    dry_run: bool = False,
    device: str = "auto",
) -> Path | None:
    """Train a recipe; returns the run folder (None after a dry run).

    Ctrl-C, SIGTERM and `max_minutes` end it after the current step with a checkpoint. `resume` goes on from `out`,
    or from the newest run of this recipe. Raises InputError, ModelError, MultidiffError.
    """
    console, recipe = Console(stderr=True), recipe.placed()
    if recipe.train.overfit and recipe.train.of_denoiser:
        recipe = overfit.fitted(recipe)
    accelerator = accelerator_for(device, recipe.train.precision)
    if dry_run:
        few = max(recipe.train.batch * recipe.train.accumulate, VALIDATION_ROWS)
        recipe = recipe.override([f"data.limit={few}"])
        card.dry_run(Run(recipe, accelerator, None, console), Console())
        return None
    target = folder.begun(recipe, out) if resume else folder.new(recipe, out)
    files.folder(target if resume else target.parent)  # said before data are prepared
    if resume:
        folder.compare(load_recipe(target / "recipe.yaml"), recipe, target)
    run = Run(recipe, accelerator, target if resume else None, console)
    seconds = checkpoint.load(target / STATE, run.training)["seconds"] if resume else 0.0
    if accelerator.is_main_process:
        folder.prepared(target, recipe)
        report_skipped(run.pack, console)
    loop(run, target, seconds, max_minutes, console)
    if recipe.train.overfit and run.model.can_sample and accelerator.is_main_process:
        with run.training.averaged():
            console.print(overfit.report(run.model, target / "overfit"), highlight=False, soft_wrap=True)
    return target


def loop(run: Run, target: Path, before: float, max_minutes: float | None, console: Console) -> None:
    """Drive the steps: log, validate, sample, checkpoint, stop. `before`: seconds trained earlier."""
    spec, training, main = run.recipe.train, run.training, run.accelerator.is_main_process
    log = Log(target, training.step) if main else None
    started = time.perf_counter()
    validated = saved = -1

    def elapsed() -> float:
        return before + time.perf_counter() - started

    def due(every: int) -> bool:
        return training.step % every == 0 or training.step == spec.steps

    def validate() -> None:
        nonlocal validated
        if validated == training.step:
            return
        validated = training.step
        if log:
            log.write("val", training.step, elapsed(), training.validate(run.val))
        run.accelerator.wait_for_everyone()

    with stop_requested() as stop, bar(console, main) as progress:
        task = progress.add_task(run.recipe.name, total=spec.steps, completed=training.step, loss="")
        if training.step == 0:
            validate()
        for record in training.steps(run.train):
            figures = flat(record.losses, "loss") | {"lr": record.lr} | flat(record.grad_norms, "grad_norm")
            if log:
                log.write("train", record.step, elapsed(), figures)
            progress.update(task, completed=record.step, loss=" ".join(f"{v:.4f}" for v in record.losses.values()))
            if due(spec.validate_every):
                validate()
            if main and spec.sample_every and due(spec.sample_every) and run.model.can_sample:
                run.pictures(files.folder(target / "samples"))
            if due(spec.checkpoint_every):
                run.save(target, elapsed())
                saved = record.step
            late = max_minutes is not None and time.perf_counter() - started > 60 * max_minutes
            if agreed(stop.is_set() or late, run.accelerator):
                break
        if saved != training.step:
            validate()
            run.save(target, elapsed())
    if log:
        log.close()
    if training.step < spec.steps and main:
        console.print(
            f"stopped after {training.step} of {spec.steps} steps; go on with: multidiff train {target} --resume"
        )


def flat(values: dict[str, float], name: str) -> dict[str, float]:
    """One group: {name: value}; several: {name[group]: value}."""
    return {name: next(iter(values.values()))} if len(values) == 1 else {f"{name}[{k}]": v for k, v in values.items()}


def bar(console: Console, visible: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]}"),
        console=console,
        disable=not visible,
    )


@contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; a second Ctrl-C interrupts at once."""
    event = threading.Event()
    previous: dict[int, Any] = {}

    def request(number: int, frame: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
