"""The training loop: steps, epochs, checkpoints, interruption."""

import copy
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from training import augment, checkpoint, schedule
from training.checkpoint import Settings
from training.data import Pictures
from training.folding import add_batch_norm
from training.measure import accuracy, evaluating, measure_statistics, spread
from training.networks import Network
from training.progress import progress

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
INIT_PICTURES = 1000  # training pictures on which batch norm is measured when a run starts from weights


@dataclass(frozen=True)
class Machine:
    """Where a run computes; it may change from one part of a run to the next."""

    device: torch.device
    bfloat16: bool

    def autocast(self) -> torch.autocast:
        """bfloat16 for convolutions and matrix products, where it is fast."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)


class Run:
    """One run of training in one folder: begins there, or goes on where the folder's checkpoint stands."""

    def __init__(
        self,
        settings: Settings,
        train: Pictures,
        val: Pictures,
        folder: Path,
        machine: Machine,
        minutes: float,
        init: Network | None = None,
    ) -> None:
        self.settings, self.train, self.val = settings, train, val
        self.folder, self.machine, self.minutes = folder, machine, minutes
        torch.manual_seed(schedule.mixed_seed(settings.seed))
        network = Network(settings.arch, settings.classes)
        if init is not None:
            network = add_batch_norm(init, augment.to_pixels(spread(train, INIT_PICTURES).images))
        if settings.freeze is not None:
            network.freeze(settings.freeze.split(","))
        self.network = network.to(machine.device).channels_last()
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = _optimiser(self.network)
        self.step, self.loss_sum, self.seconds = 0, 0.0, 0.0
        self.history: list[dict[str, Any]] = []
        self.steps_per_epoch = len(train) // settings.batch
        self.steps = settings.epochs * self.steps_per_epoch
        self._clock = self._saved = time.monotonic()
        state = checkpoint.load(folder)
        if state is not None:
            checkpoint.check_same(folder, state["settings"], settings)
            self._restore(state)

    def finish(self) -> list[dict[str, Any]]:
        """Train to the end; the figures of every epoch.  KeyboardInterrupt leaves a checkpoint."""
        with self._bar() as bar:
            while len(self.history) < self.settings.epochs:
                if self.step < (len(self.history) + 1) * self.steps_per_epoch:
                    self._epoch(bar)
                self._measure(bar)
        return self.history

    def _epoch(self, bar: tqdm) -> None:
        """The steps that are left of the present epoch, then a checkpoint."""
        epoch, first = divmod(self.step, self.steps_per_epoch)
        generator = torch.Generator().manual_seed(schedule.mixed_seed(self.settings.seed, 0, epoch))
        order = torch.randperm(len(self.train), generator=generator)
        size = self._size(epoch)
        bar.set_description(f"epoch {epoch + 1}/{self.settings.epochs}, {size} px")
        self.network.train()
        with _stops() as stops:
            for i in range(first, self.steps_per_epoch):
                self._step(order[i * self.settings.batch : (i + 1) * self.settings.batch], size)
                bar.set_postfix(loss=f"{self.loss_sum / (i + 1):.3f}", refresh=False)
                bar.update(size * size)
                if stops or time.monotonic() - self._saved > 60 * self.minutes:
                    self._save()
                if stops:
                    raise KeyboardInterrupt
            self._save()
        if stops:
            raise KeyboardInterrupt

    def _step(self, pick: Tensor, size: int) -> None:
        """One step of stochastic gradient descent on the pictures numbered `pick` (batch,)."""
        device, step = self.machine.device, self.step
        torch.manual_seed(schedule.mixed_seed(self.settings.seed, 1, step))
        for group in self.optimiser.param_groups:
            group["lr"] = schedule.learning_rate(step, self.steps, self.settings.peak_lr)
        pixels = augment.augment(augment.to_pixels(self.train.images[pick].to(device)), size)
        pixels = augment.lower_contrast(pixels, self.settings.low_contrast)
        with self.machine.autocast():
            logits = self.network(pixels.to(memory_format=torch.channels_last))
        labels = self.train.labels[pick].to(device)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.settings.label_smoothing)
        if self.settings.decorrelate:
            head = self.network.get_parameter("units.predictions.weight")
            loss = loss + self.settings.decorrelate * likeness(head)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        _average_towards(self.average, self.network, 1 - schedule.average_decay(step))
        self.step, self.loss_sum = step + 1, self.loss_sum + loss.item()

    def _measure(self, bar: tqdm) -> None:
        """The figures of an epoch that has ended, then a checkpoint."""
        with self.machine.autocast():
            measure_statistics(self.average, self.train, self.machine.device)
            with evaluating(self.average) as network:
                result = accuracy(network, self.val, self.machine.device)
        figures = {
            "epoch": len(self.history) + 1,
            "loss": round(self.loss_sum / self.steps_per_epoch, 4),
            "top1_percent": round(result.top1_percent, 2),
            "top5_percent": round(result.top5_percent, 2),
            "seconds": round(self._passed()),
        }
        self.history.append(figures)
        self.loss_sum = 0.0
        self._save()
        bar.write(", ".join(f"{name} {value}" for name, value in figures.items()))

    def _bar(self) -> tqdm:
        """A bar that counts pixels of pictures, so that its estimate foresees the larger pictures."""
        work = [
            self._size(epoch) ** 2
            for epoch in range(self.settings.epochs)
            for _ in range(self.steps_per_epoch)
        ]
        form = "{desc} {percentage:3.0f}% |{bar}| {elapsed} < {remaining}{postfix}"
        return progress(total=sum(work), initial=sum(work[: self.step]), bar_format=form)

    def _size(self, epoch: int) -> int:
        """The side of the pictures in an epoch counted from 0."""
        return schedule.picture_size(epoch, self.settings.epochs, self.settings.size)

    def _passed(self) -> float:
        """Seconds of this run, all its parts together."""
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        return self.seconds

    def _save(self) -> None:
        state = {
            "settings": asdict(self.settings),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "loss_sum": self.loss_sum,
            "seconds": self._passed(),
            "history": self.history,
        }
        checkpoint.save(self.folder, state)
        self._saved = time.monotonic()

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.loss_sum, self.seconds = state["step"], state["loss_sum"], state["seconds"]
        self.history = state["history"]


def likeness(kernel: Tensor) -> Tensor:
    """How alike the classes' weights (classes, features) are: squared positive cosines, summed for a class.

    A picture drawn to raise one class's logit raises those of alike classes with it, sometimes further.
    """
    unit = F.normalize(kernel)
    cosines = (unit @ unit.T).clamp(min=0).square()
    return (cosines.sum() - cosines.diagonal().sum()) / len(kernel)


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    can = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return device.type == "cpu" and bool(can.get("amx_bf16") or can.get("avx512_bf16"))


def _optimiser(network: nn.Module) -> torch.optim.SGD:
    """SGD with Nesterov's momentum; weight decay on kernels only."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=0.1, momentum=MOMENTUM, nesterov=True)


@torch.no_grad()
def _average_towards(average: nn.Module, network: nn.Module, share: float) -> None:
    """Move the averaged parameters and batch-norm statistics a share of the way to the network's."""
    for mean, now in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, share)
        else:
            mean.copy_(now)


@contextmanager
def _stops() -> Iterator[list[int]]:
    """Within it, a first Ctrl-C only lands in the list, for the loop to end at a whole step."""
    stops: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if stops:
            raise KeyboardInterrupt
        stops.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield stops
    finally:
        signal.signal(signal.SIGINT, before)
