"""What every program of the speed benchmark is told and says; read in its own interpreter. Free of filterscope.

A plan is one JSON file: {"weights": safetensors file in Keras' layout or null, "model": a torchvision model's name or
null, "layer", "units", "size", "steps", "warm": steps left out of the timing, "threads", "clock": wall or cpu, and
more for filterscope}.
A program prints as its last line {"seconds": [of each step that counts, of one picture], ...}.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

VGG16 = (("block1", 2, 64), ("block2", 2, 128), ("block3", 3, 256), ("block4", 3, 512), ("block5", 3, 512))


def read():
    """The plan named on the command line."""
    return json.loads(Path(sys.argv[1]).read_text())


def convolutions():
    """VGG16's convolutions, in order: name, channels in, channels out."""
    before = 3
    for block, count, channels in VGG16:
        for i in range(1, count + 1):
            yield f"{block}_conv{i}", before, channels
            before = channels


def random_vgg16():
    """Tensors of a VGG16 with random weights, convolutions only: {"block1_conv1/kernel": (3, 3, in, out), ...}."""
    generator = np.random.default_rng(0)
    tensors = {}
    for name, before, channels in convolutions():
        scale = np.sqrt(2 / (9 * before))  # He et al. 2015: activations of about one size throughout
        kernel = generator.standard_normal((3, 3, before, channels)) * scale
        tensors[f"{name}/kernel"] = kernel.astype(np.float32)
        tensors[f"{name}/bias"] = np.zeros(channels, np.float32)
    return tensors


def now_of(plan):
    """What tells the time: the clock on the wall, or the processor time that this process was given."""
    return time.process_time if plan["clock"] == "cpu" else time.perf_counter


class Clock:
    """Times between ticks, each divided by the pictures that a step works on."""

    def __init__(self, plan):
        self.warm, self.marks, self.spans, self.now = plan["warm"], [], [], now_of(plan)

    def begin(self):
        self.marks = [self.now()]

    def tick(self, *_, **__):
        self.marks.append(self.now())

    def end(self, pictures=1):
        spans = [(b - a) / pictures for a, b in zip(self.marks, self.marks[1:])]  # noqa: B905
        self.spans += spans[self.warm :]


def say(**told):
    """The program's answer."""
    print(json.dumps(told))
