"""Measure top-1 and top-5 of a network on Tiny ImageNet's validation pictures.

python -m training.evaluate FILE --data DATA
"""

from pathlib import Path

import click

from training.checkpoint import averaged_network
from training.data import open_data
from training.errors import TrainingError
from training.folding import read_weights, unfold
from training.keras_twin import open_twin
from training.measure import Classifier, accuracy


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder with Tiny ImageNet.")
@click.option("--limit", type=click.IntRange(1), help="Only so many pictures, evenly spread.")
def main(file: Path, data: Path, limit: int | None) -> None:
    """Print top-1 and top-5 of FILE: a run's folder, folded .safetensors, or a .keras file."""
    classify = open_classifier(file)
    click.echo(f"{file}: {accuracy(classify, open_data(data).pictures('val', limit))}")


def open_classifier(path: Path) -> Classifier:
    """The network in a run's folder, a .safetensors or a .keras file, computing in float32 on the CPU."""
    if path.is_dir():
        return averaged_network(path)[0].channels_last()
    match path.suffix:
        case ".safetensors":
            return unfold(read_weights(path)).channels_last()
        case ".keras":
            return open_twin(path)
    raise TrainingError(
        f"{path} is no network; allowed: a folder that training.train wrote, a .safetensors file of folded "
        "weights, a .keras file"
    )


if __name__ == "__main__":
    main()
