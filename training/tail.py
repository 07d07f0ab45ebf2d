"""Retrain the last layers of a folded network on what the frozen layers before them make of each picture.

python -m training.tail FOLDED.safetensors --data DATA --out NEW.safetensors --separate 10 --decorrelate 3

The frozen layers see every picture once, augmented; the last layers learn from these maps, which are so small
that an epoch takes minutes on one processor core.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call

from training import augment, schedule
from training.architectures import INPUT
from training.checkpoint import fingerprint, fingerprint_file
from training.data import Pictures, open_data
from training.errors import TrainingError
from training.files import write_json, write_whole
from training.folding import fold, half, read_weights, unfold, write_weights
from training.loop import MOMENTUM, WEIGHT_DECAY, fast_bfloat16, likeness
from training.measure import accuracy
from training.networks import DROPOUT, Network
from training.progress import progress

SIDE = 64  # of the augmented pictures
READ, SHARD = 250, 10_000  # pictures that go through the frozen layers together; that share a seed
RIVALS = 5  # classes with the largest logits, of which one is kept apart from a picture's own
LARGEST = 10.0  # overlap of one pair, so that a vanishing gradient does not drown the others


@dataclass(frozen=True)
class Settings:
    """What decides the retrained weights, beside the network and the pictures."""

    layers: str = "block5"  # the first layer whose name begins so learns, and all that follow
    epochs: int = 2
    batch: int = 256
    peak_lr: float = 0.01
    decorrelate: float = 3.0  # weight of `loop.likeness` in the loss
    separate: float = 10.0  # weight of `overlap`
    separated: int = 128  # pictures of each step on which the overlap is measured
    distil: float = 0.5  # share of the network's own answers, before it learns, among the labels
    seed: int = 0


class Tail(nn.Module):
    """A network from the first layer that learns to `predictions`: frozen maps (B, C, H, W) to logits."""

    def __init__(self, network: Network, layers: str) -> None:
        super().__init__()
        names = [layer.name for layer in network.layers]
        first = next((i for i, name in enumerate(names) if name.startswith(layers)), None)
        if first is None:
            raise TrainingError(f"no layer starts with '{layers}'; there are {', '.join(names)}")
        self.source = names[first - 1] if first else INPUT
        self.units = nn.ModuleDict({name: network.units[name] for name in names[first:]})
        for before, layer in zip([self.source, *names[first:]], network.layers[first:], strict=False):
            if layer.inputs != (before,):
                raise TrainingError(f"from '{names[first]}' on the layers are no plain chain; begin later")

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) to logits (B, classes)."""
        for unit in self.units.values():
            maps = unit(maps)
        return maps.float()


def overlap(logits: Tensor, maps: Tensor, labels: Tensor) -> Tensor:
    """How far a step that raises one class's logit raises a rival's with it, as a scalar to differentiate.

    logits (B, classes) of maps (B, C, H, W), whose gradients are wanted; labels (B,). With g and h the
    gradients of the own class's logit and of a rival's by the maps: the squares of g.h / g.g and g.h / h.h
    where they are positive, halved. The rival is drawn from the five other classes with the largest logits.
    """
    others = logits.detach().scatter(1, labels[:, None], -math.inf).topk(min(RIVALS, logits.shape[1] - 1))
    drawn = torch.randint(others.indices.shape[1], (len(labels), 1), device=labels.device)
    rivals = others.indices.gather(1, drawn)
    own, rival = (
        torch.autograd.grad(logits.gather(1, chosen).sum(), maps, create_graph=True)[0].flatten(1)
        for chosen in (labels[:, None], rivals)
    )
    shared = (own * rival).sum(1).clamp(min=0)
    shares = [shared / (g.square().sum(1) + 1e-12) for g in (own, rival)]
    return (0.5 * (shares[0].square() + shares[1].square())).clamp(max=LARGEST).mean()


def shuffled(pictures: Pictures, seed: int) -> Pictures:
    """The pictures, which come class by class, in an order drawn by the seed."""
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))
    return Pictures(pictures.images[order], pictures.labels[order])


@torch.no_grad()
def frozen_maps(network: Network, tail: Tail, pictures: Pictures, seed: int, bfloat16: bool) -> Tensor:
    """What the frozen layers make of each picture, augmented once: float16 (N, C, H, W)."""
    maps = []
    for start in progress(range(0, len(pictures), READ), desc="frozen layers"):
        torch.manual_seed(schedule.mixed_seed(seed, *divmod(start, SHARD)))
        pixels = augment.augment(augment.to_pixels(pictures.images[start : start + READ]), SIDE)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            maps.append(network.up_to(tail.source, pixels).half())
    return torch.cat(maps)


def retrain(tail: Tail, maps: Tensor, labels: Tensor, settings: Settings, bfloat16: bool) -> None:
    """Train the tail in place; it ends with the average of its weights."""
    before = {name: p.detach().clone() for name, p in tail.named_parameters()}
    average = {name: p.clone() for name, p in before.items()}
    groups = [
        {"params": [p for p in tail.parameters() if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in tail.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.SGD(groups, lr=settings.peak_lr, momentum=MOMENTUM, nesterov=True)
    an_epoch = len(labels) // settings.batch
    steps = settings.epochs * an_epoch
    bar = progress(range(steps), desc="last layers")
    for step in bar:
        torch.manual_seed(schedule.mixed_seed(settings.seed, 1, step))
        for group in optimiser.param_groups:
            group["lr"] = schedule.learning_rate(step, steps, settings.peak_lr)
        pick = _pick(step, an_epoch, len(labels), settings)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = _loss(tail, before, maps[pick].float(), labels[pick], settings)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        for name, p in tail.named_parameters():
            average[name].lerp_(p.detach(), 1 - schedule.average_decay(step))
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    tail.load_state_dict(average, strict=False)
    tail.eval()


def _pick(step: int, an_epoch: int, count: int, settings: Settings) -> Tensor:
    """The numbers of a step's pictures: each epoch has an order of its own."""
    epoch, place = divmod(step, an_epoch)
    generator = torch.Generator().manual_seed(schedule.mixed_seed(settings.seed, 0, epoch))
    order = torch.randperm(count, generator=generator)
    return order[place * settings.batch : (place + 1) * settings.batch]


def _loss(tail: Tail, before: dict[str, Tensor], maps: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    maps = maps.contiguous(memory_format=torch.channels_last)
    logits = tail.train()(maps)
    loss = (1 - settings.distil) * F.cross_entropy(logits, labels)
    tail.eval()  # without dropout from here on
    if settings.distil:
        with torch.no_grad():
            answers = functional_call(tail, before, (maps,)).softmax(1)
        loss = loss + settings.distil * F.cross_entropy(logits, answers)
    if settings.decorrelate:
        loss = loss + settings.decorrelate * likeness(tail.get_parameter("units.predictions.weight"))
    if settings.separate:
        some = maps[: settings.separated].detach().requires_grad_()
        loss = loss + settings.separate * overlap(tail(some), some, labels[: settings.separated])
    return loss


@click.command(context_settings={"show_default": True})
@click.argument("folded", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder with Tiny ImageNet.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="*.safetensors")
@click.option("--maps", "kept", type=click.Path(path_type=Path, dir_okay=False), help="Keep the maps here.")
@click.option("--layers", default=Settings.layers, help="Where the layers that learn begin.")
@click.option("--epochs", type=click.IntRange(1), default=Settings.epochs)
@click.option("--batch", type=click.IntRange(2), default=Settings.batch, help="Pictures a step.")
@click.option("--peak-lr", type=click.FloatRange(0, min_open=True), default=Settings.peak_lr)
@click.option("--decorrelate", type=click.FloatRange(0), default=Settings.decorrelate)
@click.option("--separate", type=click.FloatRange(0), default=Settings.separate)
@click.option("--separated", type=click.IntRange(1), default=Settings.separated)
@click.option("--distil", type=click.FloatRange(0, 1), default=Settings.distil)
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--limit", type=click.IntRange(1), help="Use only so many training pictures.")
def main(folded: Path, data: Path, out: Path, kept: Path | None, limit: int | None, **chosen: object) -> None:
    """Retrain the last layers of FOLDED and write the whole network's folded float16 weights to --out."""
    settings = Settings(**chosen)  # type: ignore[arg-type]
    network = unfold(read_weights(folded)).channels_last()
    tail = Tail(network, settings.layers)
    source = open_data(data)
    train = shuffled(source.pictures("train", limit), settings.seed)
    if len(train) < settings.batch:
        raise TrainingError(f"--batch {settings.batch} is more than the {len(train)} training pictures")
    bfloat16 = fast_bfloat16(torch.device("cpu"))
    stamp = {
        "init": fingerprint_file(folded),
        "data": fingerprint(train),
        "source": tail.source,
        "seed": str(settings.seed),
    }
    maps = _kept(kept, stamp)
    if maps is None:
        maps = frozen_maps(network, tail, train, settings.seed, bfloat16)
        _keep(kept, maps, stamp)
    retrain(tail, maps, train.labels, settings, bfloat16)
    weights = half(fold(network))
    result = accuracy(unfold(weights), source.pictures("val"))
    write_weights(out, weights, {"format": "np", "architecture": network.arch})
    told = {"settings": asdict(settings) | {"dropout": DROPOUT}, "start": stamp, "result": str(result)}
    write_json(out.with_suffix(".json"), told)
    click.echo(f"{out}: {result}")


def _kept(path: Path | None, stamp: dict[str, str]) -> Tensor | None:
    """The maps that an earlier run with the same frozen layers, pictures and seed kept."""
    if path is None or not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        found = file.metadata()
        if found != stamp:
            raise TrainingError(f"{path} holds maps of {found}, wanted {stamp}; give another --maps")
        return file.get_tensor("maps")


def _keep(path: Path | None, maps: Tensor, stamp: dict[str, str]) -> None:
    if path is not None:
        write_whole(path, lambda part: save_file({"maps": maps.contiguous()}, part, stamp))


if __name__ == "__main__":
    main()
