"""Train a network on Tiny ImageNet; the same command again goes on where it stopped.

python -m training.train --arch tiny-vgg16 --data DATA --out RUN
python -m training.train --arch tiny-vgg16 --data DATA --out RUN --init FOLDED.safetensors --peak-lr 0.02
"""

from pathlib import Path

import click
import torch

from training.architectures import ARCHITECTURES, architecture
from training.checkpoint import LABEL_SMOOTHING, Settings, fingerprint, fingerprint_file
from training.data import open_data
from training.errors import TrainingError
from training.folding import read_weights, unfold
from training.loop import Machine, Run, fast_bfloat16
from training.networks import Network

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(context_settings={"show_default": True})
@click.option("--arch", type=click.Choice(list(ARCHITECTURES)), required=True)
@click.option("--data", type=FOLDER, required=True, help="Folder with Tiny ImageNet.")
@click.option("--out", type=FOLDER, required=True, help="The run's folder.")
@click.option("--epochs", type=click.IntRange(1), default=18)
@click.option("--batch", type=click.IntRange(2), default=256, help="Pictures a step.")
@click.option("--peak-lr", type=click.FloatRange(0, min_open=True), default=0.2, help="Learning rate.")
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--limit", type=click.IntRange(1), help="Use only so many training pictures.")
@click.option(
    "--init",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Start from these folded weights instead of fresh ones.",
)
@click.option(
    "--freeze", metavar="BLOCK,...", help="With --init: layers whose names start so stay as they are."
)
@click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True), default=LABEL_SMOOTHING)
@click.option(
    "--size", type=click.IntRange(16), help="Picture size in all epochs.  [default: 40 to 64, growing]"
)
@click.option(
    "--low-contrast", type=click.FloatRange(0, 1), default=0, help="Share of pictures that lose contrast."
)
@click.option(
    "--decorrelate", type=click.FloatRange(0), default=0, help="Weight of the classes' likeness in the loss."
)
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
@click.option("--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto")
@click.option("--minutes", type=click.FloatRange(0), default=5, help="Between checkpoints.")
def main(
    arch: str,
    data: Path,
    out: Path,
    epochs: int,
    batch: int,
    peak_lr: float,
    seed: int,
    limit: int | None,
    init: Path | None,
    freeze: str | None,
    label_smoothing: float,
    size: int | None,
    low_contrast: float,
    decorrelate: float,
    device: str,
    precision: str,
    minutes: float,
) -> None:
    """Train a network on Tiny ImageNet; the same command again goes on where it stopped."""
    machine = choose_machine(device, precision)
    _check_freeze(arch, freeze, init)
    source = open_data(data)
    train, val = source.pictures("train", limit), source.pictures("val")
    if len(train) < batch:
        raise TrainingError(f"--batch {batch} is more than the {len(train)} training pictures")
    settings = Settings(
        arch,
        epochs,
        batch,
        peak_lr,
        seed,
        limit,
        len(source.classes()),
        fingerprint(train),
        label_smoothing,
        size,
        low_contrast,
        None if init is None else fingerprint_file(init),
        decorrelate,
        freeze,
    )
    start = None if init is None else open_start(init, settings)
    run = Run(settings, train, val, out, machine, minutes, start)
    if run.step:
        click.echo(f"going on in {out} after step {run.step} of {run.steps}")
    try:
        last = run.finish()[-1]
    except KeyboardInterrupt:
        where = f"interrupted at step {run.step} of {run.steps}"
        click.echo(f"{where}; the same command goes on from {out}", err=True)
        raise SystemExit(130) from None
    click.echo(f"{arch} in {out}: top-1 {last['top1_percent']} %, top-5 {last['top5_percent']} %")


def open_start(path: Path, settings: Settings) -> Network:
    """The folded network that a run starts from; TrainingError unless it fits the run."""
    network = unfold(read_weights(path))
    if (network.arch, network.classes) != (settings.arch, settings.classes):
        raise TrainingError(
            f"--init {path} is a {network.arch} of {network.classes} classes; "
            f"allowed: {settings.arch} of {settings.classes}"
        )
    return network


def _check_freeze(arch: str, freeze: str | None, init: Path | None) -> None:
    if freeze is None:
        return
    if init is None:
        raise click.UsageError("--freeze needs --init: fresh layers must learn")
    names = [layer.name for layer in architecture(arch, 1)]
    for part in freeze.split(","):
        if not part or not any(name.startswith(part) for name in names):
            raise TrainingError(
                f"--freeze {freeze}: no layer starts with '{part}'; there are {', '.join(names)}"
            )


def choose_machine(device: str, precision: str) -> Machine:
    """The device and precision asked for; `auto` takes a GPU, and bfloat16, where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(
            f"--device {device} cannot be used ({str(error).splitlines()[0]}); allowed: auto, cpu, cuda"
        ) from error
    return Machine(place, fast_bfloat16(place) if precision == "auto" else precision == "bfloat16")


if __name__ == "__main__":
    main()
