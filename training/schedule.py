"""How a run goes: picture sizes, learning rate, weight of the average, randomness of each step."""

import math

import numpy as np

SIZES = ((0.40, 40), (0.78, 56), (1.0, 64))  # until this share of the epochs, pictures of this side
WARMUP = 0.08  # of all steps
AVERAGE_DECAY = 0.998  # of the averaged weights, per step


def picture_size(epoch: int, epochs: int, fixed: int | None = None) -> int:
    """The side of the training pictures in an epoch counted from 0: `fixed`, else small ones first."""
    return fixed or next(size for share, size in SIZES if epoch < epochs * share)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up to `peak`, times a cosine from 1 to 0 over all steps."""
    warm = min(1.0, (step + 1) / max(1.0, WARMUP * steps))
    return peak * warm * 0.5 * (1 + math.cos(math.pi * step / steps))


def average_decay(step: int) -> float:
    """How much of the averaged weights stays at a step: little at first, so that the start is forgotten."""
    return min(AVERAGE_DECAY, (1 + step) / (10 + step))


def mixed_seed(*numbers: int) -> int:
    """One 32-bit seed from several numbers, well mixed.

    The randomness of a step depends on (seed, step) and of an epoch's order on (seed, epoch) alone: a
    run that goes on after an interruption needs no saved generator.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
