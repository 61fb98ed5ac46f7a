"""The trajectory of a run while it trains, without keeping its checkpoints; needs `dmft[torch]`.

Every recorded step costs one random projection (see `sketch`): a random sign for every parameter,
added to one of `width` numbers, about four passes over the parameters. The map has error bars, in
which the projection's error is contained. Besides, the last `window` checkpoints and those at the
steps `anchors` may be kept whole, and their trajectory is exact.

The width is an odd number, so that the places of one column of a weight, whose period is usually a
power of two, spread over all numbers.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.errors import InputError
from dmft.trajectory.blocks import Factors
from dmft.trajectory.gram import of_arrays
from dmft.trajectory.measures import Trajectory

if TYPE_CHECKING:
    import torch

WIDTH = 4093


class Recorder:
    """Records the trajectory of a module's trainable parameters.

    Units: steps are calls of the optimiser.

    Parameters
    ----------
    module : the model; may be given later, by `start` or a callback.
    every : steps between records of the hooks. At 10 a record costs far less than a training
        step of any batch; at 1 it costs as much as four passes over the parameters.
    width : numbers that a projection keeps.
    window, anchors : the last checkpoints, and steps, that are kept whole.
    seed : of the signs.

    Raises
    ------
    InputError : numbers below one (`window`: below zero).

    Examples
    --------
    With a loop of one's own, every 10th call of the optimiser is recorded::

        recorder = Recorder(net, every=10)
        recorder.attach(optimizer)
        ...
        recorder.trajectory().map()
        recorder.save("run.h5")

    With libraries: `Trainer(..., callbacks=[recorder.trainer_callback()])` of transformers, or
    `lightning.Trainer(callbacks=[recorder.lightning_callback()])`.
    """

    def __init__(
        self,
        module: torch.nn.Module | None = None,
        *,
        every: int = 10,
        width: int = WIDTH,
        window: int = 0,
        anchors: Sequence[int] = (),
        seed: int = 0,
    ) -> None:
        for name, value, least in (("every", every, 1), ("width", width, 1), ("window", window, 0)):
            if value < least:
                raise InputError(f"given {value}, must be at least {least}", name)
        self.every, self.width, self.seed = every, width, seed
        self.anchors = frozenset(anchors)
        self._parameters: Sequence[torch.Tensor] = []
        self._projector: _Projector | None = None
        self._steps: list[int] = []
        self._rows: list[torch.Tensor] = []
        self._kept: deque[tuple[int, np.ndarray]] = deque(maxlen=window)
        self._anchored: dict[int, np.ndarray] = {}
        self._calls = 0
        if module is not None:
            self.start(module)

    def start(self, module: torch.nn.Module) -> None:
        """Choose the model; nothing is recorded yet.

        Raises
        ------
        InputError : no trainable parameters, or another model after the first record.
        """
        parameters = [value for value in module.parameters() if value.requires_grad]
        if not parameters:
            raise InputError("given a model without trainable parameters", "module")
        if self._rows and [id(p) for p in parameters] != [id(p) for p in self._parameters]:
            raise InputError("given another model after the first record", "module")
        self._parameters = parameters

    def record(self, step: int) -> None:
        """Note the present parameters.

        Raises
        ------
        InputError : no model yet, or a step that does not increase.
        """
        if not self._parameters:
            raise InputError("given no model, call `start` first")
        if self._steps and step <= self._steps[-1]:
            raise InputError(f"given {step} after {self._steps[-1]}, must increase", "step")
        if self._projector is None:
            self._projector = _Projector(self._parameters, self.width, self.seed)
        self._rows.append(self._projector.row(self._parameters))
        self._steps.append(step)
        if self._kept.maxlen or step in self.anchors:
            whole = np.concatenate([_array(parameter).ravel() for parameter in self._parameters])
            self._kept.append((step, whole))
            if step in self.anchors:
                self._anchored[step] = whole

    def attach(self, optimizer: torch.optim.Optimizer) -> Any:
        """Record the start now, and then every `every`-th step of the optimiser.

        Returns what removes the hook (`.remove()`).
        """
        if not self._steps:
            self.record(self._calls)
        return optimizer.register_step_post_hook(lambda *_: self._called())

    def _called(self) -> None:
        self._calls += 1
        if self._calls % self.every == 0 or self._calls in self.anchors:
            self.record(self._calls)

    def trainer_callback(self) -> Any:
        """A callback for `transformers.Trainer`, by the steps of its state."""
        from transformers import TrainerCallback

        recorder = self

        class _Callback(TrainerCallback):
            def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                recorder._begin(kwargs["model"], state.global_step)

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                recorder._at(state.global_step)

        return _Callback()

    def lightning_callback(self) -> Any:
        """A callback for Lightning's Trainer, by its global step."""
        try:
            library: Any = importlib.import_module("lightning.pytorch")
        except ImportError:  # its older name
            library = importlib.import_module("pytorch_lightning")

        recorder = self

        class _Callback(library.Callback):  # type: ignore[misc, name-defined, unused-ignore]
            def on_train_start(self, trainer: Any, pl_module: Any) -> None:
                recorder._begin(pl_module, trainer.global_step)

            def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
                recorder._at(trainer.global_step)

        return _Callback()

    def _begin(self, module: torch.nn.Module, step: int) -> None:
        self.start(module)
        if not self._steps:
            self.record(step)

    def _at(self, step: int) -> None:
        """Several batches may make one step."""
        if step > self._steps[-1] and (step % self.every == 0 or step in self.anchors):
            self.record(step)

    def trajectory(self, name: str = "") -> Trajectory:
        """What was recorded, with error bars.

        Raises
        ------
        InputError : fewer than two records; NaN or infinity.
        """
        rows = np.array([_array(row) for row in self._rows], dtype=np.float64)
        blocks = Factors(rows.reshape(len(rows), -1))
        total = sum(parameter.numel() for parameter in self._parameters)
        sizes = np.full(len(blocks), total / max(len(blocks), 1))
        return Trajectory(np.array(self._steps), blocks, sizes, total, name)

    def exact(self) -> Trajectory:
        """The trajectory of what was kept whole: anchors and the last checkpoints.

        Raises
        ------
        InputError : fewer than two of them.
        """
        kept = {**self._anchored, **dict(self._kept)}
        steps = sorted(kept)
        if len(steps) < 2:
            raise InputError(f"kept {len(steps)} checkpoint(s) whole, must be at least 2")
        return of_arrays(np.array([kept[step] for step in steps]), steps)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write what `dmft trajectory plot` and `compare` read.

        Raises
        ------
        InputError : fewer than two records; `path` cannot be written.
        """
        from dmft.trajectory.files import save_report
        from dmft.trajectory.report import Report

        names = tuple(f"step {step}" for step in self._steps)
        report = Report(self.trajectory(), "recorder", names, settings={"width": self.width})
        save_report(path, report, overwrite=overwrite)


class _Projector:
    """Random signs, the parameters at the last record, and room for their differences."""

    def __init__(self, parameters: Sequence[torch.Tensor], width: int, seed: int) -> None:
        import torch

        self._width = width
        generator = torch.Generator().manual_seed(seed)
        self._signs = [
            (1 - 2 * torch.randint(0, 2, (p.numel(),), generator=generator, dtype=torch.int8)).to(
                p.device, torch.float32
            )
            for p in parameters
        ]
        self._before: list[torch.Tensor] | None = None

    def row(self, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
        """The projection of the change since the last call; of the parameters at the first."""
        import torch

        with torch.no_grad():
            now = [p.detach().reshape(-1) for p in parameters]
            if self._before is None:
                self._before = [p.to(torch.float32, copy=True) for p in now]
                changes = [p.clone() for p in self._before]
            else:
                changes = [p.float() - before for p, before in zip(now, self._before, strict=True)]
                for before, p in zip(self._before, now, strict=True):
                    before.copy_(p)
            total: Any = 0.0
            place = 0
            for change, signs in zip(changes, self._signs, strict=True):
                total = total + self._folded(change.mul_(signs), place).cpu()
                place += len(change)
            return torch.as_tensor(total)

    def _folded(self, values: torch.Tensor, place: int) -> torch.Tensor:
        """Sums over the elements whose number is equal modulo the width."""
        import torch

        width = self._width
        whole = len(values) // width * width
        out = values[:whole].view(-1, width).sum(0).double()
        out = out if whole else torch.zeros(width, dtype=torch.float64, device=values.device)
        out[: len(values) - whole] += values[whole:]
        return out.roll(place % width)


def _array(tensor: torch.Tensor) -> np.ndarray:
    values = tensor.detach().cpu()
    # NumPy has no bfloat16.
    return np.asarray((values.float() if values.dtype.itemsize < 4 else values).numpy())
