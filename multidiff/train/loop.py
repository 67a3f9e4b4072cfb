"""The one training loop: a generator of step records over any Objective.

Everything random in step i is a function of (seed, i): the items of its batch, the generator handed to the
objective, and torch's global stream (for dropout). A run that is interrupted and resumed therefore repeats the
losses of an uninterrupted one, with nothing but the step number to remember.

Across processes each takes an equal part of the batch and gradients are averaged in one flat all-reduce after the
backward pass. DistributedDataParallel would wrap a module's `forward`, while an objective may call any method of
its modules, several times a step, as GANs do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast
from torch import Tensor, nn

from multidiff.core import EMA
from multidiff.core.posthoc import PowerEMA
from multidiff.errors import InputError, MultidiffError
from multidiff.modality import Objective, Paced
from multidiff.specs import TrainSpec
from multidiff.train.pack import Rows
from multidiff.weights import choose_device


@dataclass(frozen=True)
class Record:
    """What happened in one step; `step` counts finished steps, losses and gradient norms are by group."""

    step: int
    losses: dict[str, float]
    grad_norms: dict[str, float]
    lr: float


def accelerator_for(device: str, precision: str) -> Accelerator:
    """Accelerate on a device (auto: the best there is) in a precision; auto is bf16 on a GPU that has it, else fp32.

    Raises InputError for a device that is not there.
    """
    # Accelerate keeps one state per process; without this a second run could not choose another precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    if choose_device(device).index is not None:
        torch.cuda.set_device(choose_device(device))
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if precision == "fp16" and not on_gpu:
        raise InputError("train.precision: fp16 needs a GPU; use fp32 or auto")
    if precision == "auto":
        precision = "bf16" if on_gpu and torch.cuda.is_bf16_supported() else "fp32"
    return Accelerator(cpu=device == "cpu", mixed_precision="no" if precision == "fp32" else precision)


def learning_rate(step: int, spec: TrainSpec) -> float:
    """Of step 0, 1, ...: linear warm-up, constant, then a linear fall to 0 over the last `decay` share of the steps."""
    rise = (step + 1) / spec.warmup if spec.warmup else 1.0
    fall = (spec.steps - step) / (spec.decay * spec.steps) if spec.decay else 1.0
    return spec.lr * min(1.0, rise, fall)


def stream(*key: int) -> int:
    """A 64-bit seed that is a function of `key`, for example (seed, step)."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed the streams that layers without a generator draw from.

    `torch.manual_seed` would do, but takes a millisecond where CUDA is not in use.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


@lru_cache(maxsize=4)
def permutation(count: int, seed: int, epoch: int) -> Tensor:
    """The order of `count` items in one epoch."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(stream(seed, epoch, 1)))


def items(step: int, batch: int, count: int, seed: int) -> Tensor:
    """Indices (batch,) of a step's items: every item once per epoch; a batch may run over an epoch's end."""
    positions = torch.arange(step * batch, (step + 1) * batch)
    epochs = positions // count
    return torch.cat(
        [
            permutation(count, seed, epoch)[positions[epochs == epoch] % count]
            for epoch in range(int(epochs[0]), int(epochs[-1]) + 1)
        ]
    )


class Training:
    """Everything that changes while a run trains: weights, optimisers, weight averages and the number of steps."""

    def __init__(self, objective: Objective, spec: TrainSpec, accelerator: Accelerator) -> None:
        """Raises InputError when the batch cannot be shared equally among the processes."""
        if spec.batch % accelerator.num_processes:
            raise InputError(
                f"train.batch: {spec.batch} items cannot be shared by {accelerator.num_processes} processes; "
                "choose a multiple"
            )
        self.objective, self.spec, self.accelerator = objective, spec, accelerator
        self.groups = dict(objective.groups)
        for module in self.groups.values():
            module.to(accelerator.device).train().requires_grad_(True)
            synchronize(module, accelerator)
            if spec.compile:
                module.compile()
        trained = {name: module for name, module in self.groups.items() if any(True for _ in module.parameters())}
        self.optimizers = {name: optimizer(module, spec) for name, module in trained.items()}
        self.ema = {name: EMA(module, spec.ema) for name, module in self.groups.items()}
        self.power = {(name, std): PowerEMA(module, std) for name, module in trained.items() for std in spec.power_ema}
        self.step = 0

    def steps(self, rows: Rows) -> Iterator[Record]:
        """Train on `rows` until `spec.steps`, one record a step. Raises MultidiffError when the loss is not finite."""
        while self.step < self.spec.steps:
            yield self._advance(rows)

    def _advance(self, rows: Rows) -> Record:
        lr = learning_rate(self.step, self.spec)
        losses: dict[str, Tensor] = {}
        norms: dict[str, Tensor] = {}
        for group, loss in self._backward(rows):
            losses[group], norms[group] = loss, self._update(group, lr)
        self.step += 1
        record = Record(
            self.step,
            {name: float(value) for name, value in losses.items()},
            {name: float(value) for name, value in norms.items()},
            lr,
        )
        if not all(np.isfinite(value) for value in record.losses.values()):
            raise MultidiffError(
                f"step {self.step}: the loss is {record.losses}; lower train.lr or look for extreme values in the data"
            )
        return record

    def _backward(self, rows: Rows) -> Iterator[tuple[str, Tensor]]:
        """The groups of one step in turn, each with its mean loss and its gradients in place."""
        parts = [self._losses(rows, part) for part in range(self.spec.accumulate)]
        while True:
            group, total = "", torch.zeros((), device=self.accelerator.device)
            for losses in parts:
                with self.accelerator.autocast():
                    item = next(losses, None)
                if item is None:
                    return
                if not group:
                    group = item[0]
                    self.optimizers[group].zero_grad(set_to_none=True)
                loss = item[1] / len(parts)
                self.accelerator.backward(loss)
                total += loss.detach()
            yield group, self.accelerator.reduce(total, "mean")

    def _losses(self, rows: Rows, part: int) -> Iterator[tuple[str, Tensor]]:
        """The objective's losses on one of the `accumulate` parts of this step's batch, this process's share."""
        spec, world, rank = self.spec, self.accelerator.num_processes, self.accelerator.process_index
        chosen = items(self.step * spec.accumulate + part, spec.batch, len(rows), spec.seed)[rank::world]
        seed = stream(spec.seed, self.step, part, rank)
        seed_dropout(seed, self.accelerator.device)
        generator = torch.Generator().manual_seed(seed)
        if isinstance(self.objective, Paced):
            self.objective.progress = self.step / spec.steps
        yield from self.objective.losses(rows.take(chosen, self.accelerator.device), generator)

    def _update(self, group: str, lr: float) -> Tensor:
        """One optimiser step of a group; returns the norm of its gradient before clipping."""
        optimizer, scaler = self.optimizers[group], self.accelerator.scaler
        parameters = [p for p in self.groups[group].parameters() if p.grad is not None]
        average_gradients(parameters, self.accelerator)
        if scaler:
            scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(parameters, self.spec.clip)
        for parameter_group in optimizer.param_groups:
            parameter_group["lr"] = lr
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        self.ema[group].update(self.groups[group])
        for (name, _), average in self.power.items():
            if name == group:
                average.update(self.groups[group])
        return norm

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, every group holds its averaged weights and is in eval mode; afterwards training goes on as before."""
        raw = {
            group: {name: value.clone() for name, value in module.state_dict().items()}
            for group, module in self.groups.items()
        }
        try:
            for group, module in self.groups.items():
                self.ema[group].copy_to(module)
                module.eval()
            yield
        finally:
            for group, module in self.groups.items():
                module.load_state_dict(raw[group])
                module.train()

    def validate(self, rows: Rows, seed: int = 0) -> dict[str, float]:
        """The averaged weights' figures on held-out rows, on the same noise every time: batches' mean by size."""
        totals: dict[str, float] = {}
        with self.averaged(), torch.no_grad(), self.accelerator.autocast():
            for start in range(0, len(rows), self.spec.batch):
                indices = torch.arange(start, min(start + self.spec.batch, len(rows)))
                generator = torch.Generator().manual_seed(stream(seed, start))
                figures = self.objective.validate(rows.take(indices, self.accelerator.device), generator)
                for name, value in figures.items():
                    totals[name] = totals.get(name, 0.0) + value * len(indices) / len(rows)
        return totals


def optimizer(module: nn.Module, spec: TrainSpec) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019); gains and biases are not decayed."""
    decayed = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": spec.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=spec.lr, fused=True)


def synchronize(module: nn.Module, accelerator: Accelerator) -> None:
    """Give every process the weights of the first."""
    if accelerator.num_processes > 1:
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data.copy_(broadcast(tensor.data, from_process=0))


def average_gradients(parameters: list[nn.Parameter], accelerator: Accelerator) -> None:
    """Replace gradients by their mean over the processes."""
    if accelerator.num_processes == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = accelerator.reduce(torch.cat([g.flatten() for g in gradients]), "mean")
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def agreed(stop: bool, accelerator: Accelerator) -> bool:
    """Whether any process wants to stop, so that all stop after the same step."""
    if accelerator.num_processes == 1:
        return stop
    return bool(accelerator.reduce(torch.tensor(float(stop), device=accelerator.device), "sum") > 0)
