"""catalog.py: the nearest names over all catalogues, from a list that ships and that is what the libraries have."""

import subprocess
import sys

import pytest
from training.network_names import installed_names

from filterscope.catalog import elsewhere, library_names, meant, names_like, network_names


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("resnet18", ["torchvision:resnet18", "timm:resnet18"]),
        ("ResNet-18", ["torchvision:resnet18", "timm:resnet18"]),
        ("torchvision.models.resnet18", ["torchvision:resnet18", "timm:resnet18"]),
        ("torchvison:resnet18", ["torchvision:resnet18", "timm:resnet18"]),
        ("efficientnet_b0", ["efficientnetb0", "torchvision:efficientnet_b0", "timm:efficientnet_b0"]),
        ("resnet151", ["resnet152", "torchvision:resnet152", "timm:resnet152"]),
        ("resnet", ["resnet50", "torchvision:resnet50", "timm:resnet50"]),
        ("ViT-B/16", ["torchvision:vit_b_16"]),
        ("google/vit-base-patch16-224", ["timm:vit_base_patch16_224"]),
        ("timm/resnet50.a1_in1k", ["resnet50", "torchvision:resnet50", "timm:resnet50.a1_in1k"]),
        ("tinyvgg16", ["tiny-vgg16"]),
        ("vgg16", ["vgg16", "torchvision:vgg16", "timm:vgg16"]),
        ("efficientnet_lite1", ["efficientnet-lite1", "timm:efficientnet_lite1"]),
        ("eficientnet-lite0", ["efficientnet-lite0", "timm:efficientnet_lite0"]),
        ("zebra", []),
        ("", []),
        ("/", []),
        ("x" * 100_000, []),
    ],
)
def test_names_like(name, found):
    """The same name of every catalogue, however it is spelt, else the nearest."""
    assert names_like(name) == found


def test_every_name_finds_itself():
    """No name of any catalogue leads to others than itself and its namesakes."""
    for library, names in library_names().items():
        for name in names:
            same = names_like(f"{library}:{name}", most=9)
            assert f"{library}:{name}" in same or any(n.startswith(f"{library}:") for n in same), name
    assert all(name in names_like(name) for name in network_names())


def test_meant():
    """One, two and three names as a phrase."""
    assert meant("tinyvgg16") == "; did you mean 'tiny-vgg16'?"
    assert meant("resnet18") == "; did you mean 'torchvision:resnet18' or 'timm:resnet18'?"
    assert meant("zebra") == ""


def test_elsewhere():
    """Only what another library has under that name."""
    assert elsewhere("tf_efficientnet_b0") == "; did you mean 'timm:tf_efficientnet_b0'?"
    assert elsewhere("resnt18") == ""


def test_list_that_ships():
    """It is what the libraries have; of other versions than those listed nearly all.

    python -m training.network_names --out src/filterscope/data/network-names.json writes it anew.
    """
    shipped = library_names()
    for library, told in installed_names().items():
        shared = set(shipped[library]) & set(told["names"])
        assert len(shared) > 0.9 * len(shipped[library])
        assert set(shipped[library]) == set(told["names"]) or not same_version(library, told["version"])


def same_version(library: str, version: str) -> bool:
    import json
    from importlib import resources

    text = (resources.files("filterscope") / "data" / "network-names.json").read_text("utf-8")
    return json.loads(text)[library]["version"] == version


def test_no_library_is_imported_to_answer():
    """Neither torchvision nor timm is, nor torch."""
    code = (
        "import sys; from filterscope.catalog import meant; meant('resnet18');"
        "print([m for m in ('torch', 'torchvision', 'timm', 'keras') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_network_imports_no_library():
    """Nor does an unknown network's message."""
    code = (
        "import sys; from filterscope.cli import main; main(['layers', 'resnet18']);"
        "print([m for m in ('torchvision', 'timm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "did you mean 'torchvision:resnet18' or 'timm:resnet18'?" in done.stderr
