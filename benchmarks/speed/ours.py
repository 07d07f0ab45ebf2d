"""filterscope's share of the speed benchmark; run by run.py in a process of its own, with a plan
(runners/speed_plan.py).

"what" says which: "rate" times steps, "reach" finds how long the default recipe takes to reach given excitations,
"excitation" draws pictures and tells their activations, "measure" those of pictures in a file, "memory" draws all.
"""

import importlib
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.runners.speed_plan import Clock, now_of, read, say
from PIL import Image

from filterscope.ascent.engine.batch import batch_size
from filterscope.ascent.engine.prepare import Prepared, prepare
from filterscope.ascent.loop import ascend
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Given, Run
from filterscope.measure.scores import Measurers
from filterscope.networks import Network, open_network
from filterscope.recipe import Recipe, get_recipe
from filterscope.target import Target

Plan = dict[str, Any]


def network(plan: Plan) -> Network:
    """The plan's network: a model of `speed_models` with random weights, or VGG16."""
    if plan["model"]:
        sys.path.insert(0, str(Path(__file__).parents[1] / "runners"))
        made = importlib.import_module("speed_models").made
        return open_network(made(plan["model"], plan.get("packages")), size=plan["size"])
    return open_network(plan.get("net") or "vgg16", weights=plan["weights"])


def chunks(net: Network, plan: Plan) -> list[list[Target]]:
    """The plan's targets, as many at a time as filterscope draws."""
    targets = [Target(plan["layer"], unit) for unit in plan["units"]]
    count = plan.get("batch") or batch_size(plan["size"])
    return [targets[i : i + count] for i in range(0, len(targets), count)]


def recipe_of(plan: Plan) -> Recipe:
    """The plan's recipe; at one size only, for a time per step."""
    recipe = get_recipe(plan["recipe"], steps=plan["steps"] + plan["warm"], size=plan["size"])
    return recipe.changed({"stages": [{"scale": 1.0, "share": 1.0}]}) if len(recipe.stages) > 1 else recipe


def rate(plan: Plan) -> None:
    """Seconds of each step, and the arithmetic of one picture's step."""
    net, clock = network(plan), Clock(plan)
    dtype = getattr(torch, plan["precision"])
    for targets in chunks(net, plan):
        goals = targets * 2 if len(targets) == 1 and plan["precision"] == "float32" else targets
        prepared = prepare(net, goals, dtype=dtype, narrow=plan.get("narrow", True))
        clock.begin()
        ascend(prepared, goals, recipe_of(plan), size=plan["size"], on_step=clock.tick)
        clock.end(len(targets))
    say(seconds=clock.spans, gflop=arithmetic(net, plan), network=network_only(net, plan))


def network_only(net: Network, plan: Plan) -> float:
    """Seconds of a step's network, forward and gradient, without penalties and optimiser; per picture, median."""
    targets = chunks(net, plan)[0]
    prepared = prepare(net, targets, dtype=getattr(torch, plan["precision"]), narrow=plan.get("narrow", True))
    pixels = (torch.rand(len(targets), 3, plan["size"], plan["size"]) * 20 + 118).requires_grad_()
    spans, now = [], now_of(plan)
    for _ in range(plan["steps"] + plan["warm"]):
        began = now()
        gradient_of(prepared, targets, pixels)
        spans.append((now() - began) / len(targets))
    return float(np.median(spans[plan["warm"] :]))


def gradient_of(prepared: Prepared, targets: Sequence[Target], pixels: torch.Tensor) -> torch.Tensor:
    """The gradient of the targets' mean activations."""
    output = prepared(pixels, raw=True)[targets[0].layer].output
    rows = torch.arange(len(targets))
    assert prepared.units is not None
    (gradient,) = torch.autograd.grad(output[rows, prepared.units].float().mean(), pixels)
    return gradient


def arithmetic(net: Network, plan: Plan) -> float:
    """GFLOP of one picture's forward pass and gradient: what the layers before the last need, and one channel of it."""
    last = net.layer(plan["layer"])
    before = next(
        n for n in reversed(list(net.layers)[: list(net.layers).index(last.name)]) if net.layer(n).parameters
    )
    below = _gflop(net, before, plan["size"])
    return below + (_gflop(net, last.name, plan["size"]) - below) / last.units


def _gflop(net: Network, layer: str, size: int) -> float:
    """GFLOP of the forward pass to a layer and the gradient back."""
    from torch.utils.flop_counter import FlopCounterMode

    part = net.part(layer).graph
    image = torch.empty(1, net.input.channels, size, size, device="meta").requires_grad_()
    state = {
        n: torch.empty_like(t, device="meta") for n, t in [*part.named_parameters(), *part.named_buffers()]
    }
    for tensor in state.values():
        tensor.requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        outputs = torch.func.functional_call(part, state, (image,))
        outputs[1].sum().backward()  # autograd.grad and the counter do not go together
    return float(counter.get_total_flops() / 1e9)


def drawn(net: Network, plan: Plan, recipe: Recipe) -> tuple[list[float], float]:
    """Each picture's activation as saved, and the seconds of all, preparing and measuring included."""
    now = now_of(plan)
    began = now()
    targets = [Target(plan["layer"], unit) for unit in plan["units"]]
    pictures = list(
        draw(
            net,
            targets,
            recipe,
            run=Run(precision=plan["precision"]),
            given=Given(attempt=plan.get("attempt")),
        )
    )
    return [p.scores.activation for p in pictures], now() - began


def excitation(plan: Plan) -> None:
    """Activations of pictures drawn as told."""
    recipe = get_recipe(plan["recipe"], steps=plan["steps"], size=plan["size"])
    activations, seconds = drawn(network(plan), plan, recipe)
    say(activations=activations, whole=seconds)


def reach(plan: Plan) -> None:
    """The fewest steps of the default recipe with which all pictures reach `wanted`, and the seconds of that."""
    net = network(plan)
    drawn(net, {**plan, "units": plan["units"][:1]}, get_recipe(steps=1))  # opening and loading are done once
    tried = []
    for steps in plan["tries"]:
        activations, seconds = drawn(net, plan, get_recipe(steps=steps))
        reached = sum(a >= w for a, w in zip(activations, plan["wanted"], strict=True))
        tried.append({"steps": steps, "reached": reached, "of": len(activations), "seconds": seconds})
        if reached == len(activations):
            break
    say(tried=tried)


def measure(plan: Plan) -> None:
    """Activations of the 8-bit pictures in a file, (N, H, W, 3); of those that their program enlarges before its
    network sees them (`fed`), the better of both."""
    net, targets = network(plan), [Target(plan["layer"], unit) for unit in plan["units"]]
    images = np.load(plan["images"])
    measurers, found = Measurers(net, torch.device("cpu")), []
    for target, image in zip(targets, images, strict=True):
        measurer = measurers.of([target])
        larger = np.asarray(Image.fromarray(image).resize((plan["fed"],) * 2, Image.Resampling.BILINEAR))
        found.append(max(measurer.activations(measurer.taps(x[None]))[0] for x in (image, larger)))
    say(activations=found)


def memory(plan: Plan) -> None:
    """Seconds a picture and peak memory in MB of drawing all that is asked for."""
    net = network(plan)
    recipe = get_recipe(plan["recipe"], steps=plan["steps"], size=plan["size"])
    _, seconds = drawn(net, plan, recipe)
    kilobyte = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte / 1e6
    say(whole=seconds / len(plan["units"]), peak=peak)


PARTS: dict[str, Callable[[Plan], None]] = {f.__name__: f for f in (rate, excitation, reach, measure, memory)}

if __name__ == "__main__":
    plan = read()
    if plan["threads"]:
        torch.set_num_threads(plan["threads"])
    PARTS[plan["what"]](plan)
