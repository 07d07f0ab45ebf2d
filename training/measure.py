"""Accuracy, and batch-norm statistics measured anew for averaged weights."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.augment import to_pixels
from training.data import Pictures
from training.networks import Network
from training.progress import progress

Classifier = Callable[[Tensor], Tensor]  # RGB 0..255 (B, 3, H, W) to scores (B, classes)
BATCH = 250
STATISTICS_PICTURES = 5000  # training pictures on which batch norm is measured


@dataclass(frozen=True)
class Accuracy:
    """Per cent of the pictures whose class is the first, or among the first five, of the network."""

    top1_percent: float
    top5_percent: float
    pictures: int

    def __str__(self) -> str:
        shares = f"top-1 {self.top1_percent:.2f} %, top-5 {self.top5_percent:.2f} %"
        return f"{shares} of {self.pictures:,} pictures"


@torch.inference_mode()
def accuracy(classify: Classifier, pictures: Pictures, device: torch.device | None = None) -> Accuracy:
    """Top-1 and top-5 of `classify` over the pictures, at their own size, not augmented."""
    first = five = 0
    with progress(total=len(pictures), desc="evaluating", unit="picture", brief=True) as bar:
        for images, labels in _batches(pictures):
            scores = classify(to_pixels(images.to(device)))
            ranked = scores.topk(min(5, scores.shape[1])).indices.to(labels.device)
            right = ranked == labels[:, None]  # (B, 5)
            first += int(right[:, 0].sum())
            five += int(right.any(1).sum())
            bar.update(len(labels))
    return Accuracy(100 * first / len(pictures), 100 * five / len(pictures), len(pictures))


@torch.no_grad()
def measure_statistics(network: Network, pictures: Pictures, device: torch.device) -> None:
    """Set the mean and variance of every batch norm not frozen to those over some pictures, not augmented.

    Averaged weights have statistics of their own, which are no average of those seen in training; and
    training saw smaller, augmented pictures.
    """
    some = spread(pictures, STATISTICS_PICTURES)
    before = network.training
    norms = [m for m in network.train().modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    for images, _ in _batches(some):
        network(to_pixels(images.to(device)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(before)


def spread(pictures: Pictures, count: int) -> Pictures:
    """About `count` of the pictures, evenly spread: training pictures come class by class."""
    step = max(1, len(pictures) // count)
    return Pictures(pictures.images[::step], pictures.labels[::step])


@contextlib.contextmanager
def evaluating(network: Network) -> Iterator[Network]:
    """The network in evaluation mode, and back."""
    training = network.training
    try:
        yield network.eval()
    finally:
        network.train(training)


def _batches(pictures: Pictures) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(pictures), BATCH):
        yield pictures.images[start : start + BATCH], pictures.labels[start : start + BATCH]
