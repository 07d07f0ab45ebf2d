"""Write the names of torchvision's and timm's networks, for messages that say where a network of a name is to be had.

python -m training.network_names --out src/filterscope/data/network-names.json
"""

from pathlib import Path
from typing import Any

import click
from tests.helpers.torchvision_cpu import torchvision_operators

from training.files import write_json


def installed_names() -> dict[str, dict[str, Any]]:
    """Of each library its version and its networks' names, as far as they open."""
    torchvision_operators()
    import timm
    import torchvision
    from torchvision import models

    shown = [*models.list_models(module=models), *models.list_models(module=models.segmentation)]
    return {
        "torchvision": {"version": torchvision.__version__.partition("+")[0], "names": shown},
        "timm": {"version": timm.__version__, "names": timm.list_models()},
    }


@click.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
def main(out: Path) -> None:
    """Write the names that are installed here."""
    write_json(out, installed_names(), indent=None)


if __name__ == "__main__":
    main()
