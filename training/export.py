"""Make the files that ship from a trained network: batch norm folded, float16, Keras layout.

python -m training.export --checkpoint RUN --data DATA --out DEST --keras tiny-vgg16.keras
python -m training.export --weights FOLDED.safetensors --recipe RECIPE.json --data DATA --out DEST
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from training import keras_twin
from training.augment import ASPECT, SMALLEST_CROP
from training.card import card, text
from training.checkpoint import Settings, averaged_network
from training.data import ClassName, TinyImageNet, open_data
from training.errors import TrainingError
from training.files import write_json, write_whole
from training.folding import Weights, fold, half, read_weights, unfold, write_weights
from training.loop import MOMENTUM, WEIGHT_DECAY
from training.measure import accuracy
from training.networks import DROPOUT
from training.schedule import AVERAGE_DECAY, SIZES, WARMUP

PATH = click.Path(path_type=Path, exists=True)


@click.command()
@click.option("--checkpoint", type=PATH, help="The folder of a run of training.train.")
@click.option("--weights", type=PATH, help="Folded weights, instead of a checkpoint.")
@click.option(
    "--recipe", type=PATH, help="With --weights: how they were trained, a JSON object, for the card."
)
@click.option("--data", type=PATH, required=True, help="Folder with Tiny ImageNet.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option(
    "--keras", "twin", type=click.Path(path_type=Path), help="Write the Keras twin to this file, *.keras."
)
def main(
    checkpoint: Path | None,
    weights: Path | None,
    recipe: Path | None,
    data: Path,
    out: Path,
    twin: Path | None,
) -> None:
    """Write ARCH.safetensors, ARCH.json (Keras config), cards and class names into the folder --out."""
    if checkpoint is not None and weights is None:
        network, state = averaged_network(checkpoint)
        folded, how = fold(network), describe(state)
    elif weights is not None and checkpoint is None:
        folded, how = read_weights(weights), _read_recipe(recipe)
    else:
        raise click.UsageError("give either --checkpoint or --weights")
    export(folded, how, open_data(data), out, twin)


def export(
    weights: Weights, recipe: Mapping[str, Any], data: TinyImageNet, out: Path, twin: Path | None
) -> None:
    """Measure the float16 weights and write every file; `twin` is the path of the .keras file."""
    weights = half(weights)
    network = unfold(weights)
    names = data.classes()
    if network.classes != len(names):
        raise TrainingError(f"the weights have {network.classes} classes, the data {len(names)}")
    result = accuracy(network, data.pictures("val"))
    path = out / f"{network.arch}.safetensors"
    write_weights(
        path,
        weights,
        {
            "format": "np",
            "layout": "Keras: LAYER/kernel (kh, kw, in, out), LAYER/bias; batch norm folded",
            "architecture": network.arch,
            "source": "filterscope, training/, on Tiny ImageNet",
            "classes": str(network.classes),
            "top1_percent": f"{result.top1_percent:.2f}",
            "top5_percent": f"{result.top5_percent:.2f}",
        },
    )
    model = keras_twin.fill(keras_twin.keras_model(network.arch, network.classes), weights)
    write_json(out / f"{network.arch}.json", keras_twin.config(model), indent=None)
    facts = card(network.arch, weights, path, result, recipe)
    write_json(out / f"{network.arch}.card.json", facts)
    write_whole(out / "MODEL_CARD.md", lambda part: part.write_text(text(facts), encoding="utf-8"))
    pairs = [[c.wnid, short] for c, short in unique_names(names)]
    write_json(out / "tiny-imagenet-classes.json", pairs, indent=None)
    if twin is not None:
        keras_twin.save_twin(model, twin)
    click.echo(f"{path}: {result}")


def unique_names(classes: list[ClassName]) -> list[tuple[ClassName, str]]:
    """Each class with its short name; where two share one, the WordNet id is added to both."""
    shorts = [c.short for c in classes]
    return [
        (c, short if shorts.count(short) == 1 else f"{short}_{c.wnid}")
        for c, short in zip(classes, shorts, strict=True)
    ]


def describe(state: Mapping[str, Any]) -> dict[str, Any]:
    """How a run was trained, for the card."""
    settings = Settings(**state["settings"])
    sizes = SIZES if settings.size is None else ((1.0, settings.size),)
    done = state["step"] if len(state["history"]) < settings.epochs else "all"
    return {
        "code": "training/train.py",
        "settings": {k: v for k, v in asdict(settings).items() if k not in ("arch", "classes", "data")},
        "steps_done": done,
        "hours": round(state["seconds"] / 3600, 2),
        "optimiser": f"SGD, Nesterov momentum {MOMENTUM}, weight decay {WEIGHT_DECAY} on kernels",
        "learning_rate": f"linear warm-up over {WARMUP:.0%} of the steps, then cosine to 0",
        "picture_sizes": ", ".join(f"{size} px to {share:.0%} of the epochs" for share, size in sizes),
        "augmentation": f"crop of {SMALLEST_CROP:.0%} to 100 % of the area, aspect e^±{ASPECT}, flip",
        "dropout": DROPOUT,
        "averaging": f"of weights, decay {AVERAGE_DECAY} a step, batch-norm statistics measured anew",
    }


def _read_recipe(path: Path | None) -> dict[str, Any]:
    if path is None:
        raise click.UsageError("--weights needs --recipe: the card says how the weights were trained")
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingError(f"{path} is no JSON: {error}") from error
    if not isinstance(recipe, dict):
        raise TrainingError(f"{path} holds a {type(recipe).__name__}; allowed: a JSON object")
    return recipe


if __name__ == "__main__":
    main()
