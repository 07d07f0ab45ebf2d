"""benchmarks/networks: rows as they are written and read back; a row that fails says so; the page that stands."""

from pathlib import Path

import pytest
from benchmarks.networks import table as networks
from benchmarks.networks.table import Row, known_rows, main, replaced, table
from benchmarks.networks.torch_modules import compared, examine, fill, made

from filterscope.networks import open_network
from filterscope.networks.keras.applications import APPLICATIONS

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"


def test_a_pages_rows_are_read_back():
    """What a page says of a section comes back as it was, beside another section's and the person's own words."""
    rows = [
        Row("a", True, 3, 1e-6, "x", 64, "x:1", 0.5, 2.0).cells(),
        Row("b", False, remark="broken").cells(),
    ]
    page = replaced("# Networks\n\nWords.\n", "keras", table(rows))
    page = replaced(page, "timm", table(rows[:1]))
    assert list(known_rows(page, "keras").values()) == rows
    assert list(known_rows(page, "timm")) == ["a"]
    assert known_rows(page, "torchvision") == {}
    assert replaced(page, "keras", table(rows)) == page
    assert page.startswith("# Networks\n\nWords.\n")


def test_a_row_that_is_no_yes_says_so():
    """A channel that did not rise, a network that did not open."""
    assert Row("a", True, 3, 0.0, "x", 64, "x:1", 0.5, 0.5).cells()[-1] == "`x:1`: 0.5 to 0.5, **no**"
    assert Row("a", False, remark="broken").cells()[1] == "**no**: broken"


def test_rows_that_are_not_made_anew_stay(tmp_path, monkeypatch):
    """Row by row, failures among them, into a page that has others."""
    page = tmp_path / "page.md"
    page.write_text(replaced("# Networks\n", "timm", table([Row("resnet26d", True).cells()])))

    def breaks(section, name):
        raise ValueError(f"{name} is broken\nat length")

    monkeypatch.setattr("benchmarks.networks.torch_modules.examine", breaks)
    main(["timm", "--only", "vit_tiny*", "--out", str(page)])
    rows = known_rows(page.read_text(), "timm")
    assert list(rows) == ["resnet26d", "vit_tiny_patch16_224"]
    assert rows["vit_tiny_patch16_224"][1] == "**no**: vit_tiny_patch16_224 is broken"


@pytest.mark.parametrize(
    ("section", "name"), [("torchvision", "mobilenet_v3_small"), ("timm", "vit_tiny_patch16_224")]
)
def test_examine(section, name):
    """A network of maps and one of tokens: every layer compared, one channel drawn."""
    row = examine(section, name)
    assert row.opened
    assert row.layers > 100
    assert row.difference < 1e-5
    assert row.gains


def test_a_difference_is_seen():
    """Tokens that stand for no patch are compared too: one of their numbers moved, and the layer is named."""
    module = made("timm", "vit_tiny_patch16_224")
    fill(module, 224)
    net = open_network(module)
    module.cls_token.data[0, 0, 0] += 1
    errors = compared(module, net, 224)
    assert errors["patch_embed.proj"] < 1e-6
    assert errors["blocks.0"] > 1e-2
    assert errors["head"] > 1e-4


def test_the_page_is_whole_and_all_yes():
    """Every Keras application, 20 torchvision and 30 timm architectures: opened, alike, drawn with a gain."""
    page = PAGE.read_text(encoding="utf-8")
    least = {"keras": len(APPLICATIONS), "torchvision": 20, "timm": 30}
    for section in networks.SECTIONS:
        rows = known_rows(page, section)
        assert len(rows) >= least[section], section
        for name, (_, opened, _, _, difference, gain) in rows.items():
            assert opened.partition(",")[0] == "yes", name
            assert float(difference.partition(" ")[0]) <= 1e-4, name
            assert gain.endswith(", yes"), name
    assert set(known_rows(page, "keras")) == set(APPLICATIONS)
