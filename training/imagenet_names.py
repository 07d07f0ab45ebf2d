"""Write ImageNet's 1,000 class names from a folder of sample pictures, one of each class.

    python -m training.imagenet_names SAMPLE --out imagenet-classes.json

File names are WNID_NAME.jpg; sorted by WordNet id they are in the order of the classes.
"""

from pathlib import Path

import click

from training.errors import TrainingError
from training.files import write_json

CLASSES = 1000


@click.command()
@click.argument("sample", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
def main(sample: Path, out: Path) -> None:
    """Write [[WNID, NAME], ...] in class order, from the names of the files in SAMPLE."""
    names = sorted(path.stem.split("_", 1) for path in sample.glob("n*_*.[jJ]*"))
    if len(names) != CLASSES or len({wnid for wnid, _ in names}) != CLASSES:
        raise TrainingError(f"{sample} has {len(names)} files WNID_NAME.jpg; allowed: {CLASSES}, one a class")
    write_json(out, names, indent=None)


if __name__ == "__main__":
    main()
