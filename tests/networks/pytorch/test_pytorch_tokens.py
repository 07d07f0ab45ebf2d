"""layout.py, attention.py: tokens, channels last, windows, attention heads."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterscope.drawing.draw import draw
from filterscope.drawing.run import Run
from filterscope.errors import ArgumentError, TargetError
from filterscope.networks import open_network
from filterscope.networks.patches import grid
from filterscope.networks.pytorch.layout import Layout, View, layout_of
from filterscope.networks.pytorch.untraced import UntracedNetwork
from filterscope.recipe import get_recipe
from filterscope.selection import Selection
from filterscope.target import Target


class Attention(nn.Module):
    """Two heads, their outputs mixed by `proj`."""

    def __init__(self):
        super().__init__()
        self.num_heads = 2
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 2, 4).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))


class ViT(nn.Module):
    """A vision transformer of 16 px pictures: 4 x 4 patches behind a class token and two registers."""

    def __init__(self, *, own: bool = True, values: bool = False):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 8))
        self.reg_token = nn.Parameter(torch.randn(1, 2, 8))
        self.pos_embed = nn.Parameter(torch.randn(1, 19, 8))
        self.norm = nn.LayerNorm(8)
        self.attn = Attention() if own else nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 4)
        self.own, self.values = own, values

    def forward(self, x):
        if self.values and float(x.detach().sum()) > 1e30:
            return x
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat(
            [self.cls_token.expand(x.shape[0], -1, -1), self.reg_token.expand(x.shape[0], -1, -1), x], 1
        )
        x = x + self.pos_embed
        y = self.norm(x)
        x = x + (self.attn(y) if self.own else self.attn(y, y, y, need_weights=False)[0])
        return self.head(x[:, 0])


def vit(**kind) -> ViT:
    torch.manual_seed(0)
    return ViT(**kind).eval()


def picture(net, batch=2):
    pixels = torch.rand(batch, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 255
    return net.input.preprocess(pixels)


@pytest.mark.parametrize(
    "kind", [{}, {"own": False}, {"values": True}], ids=["traced", "torch's own", "untraced"]
)
def test_tokens_are_places_and_tokens(kind):
    """Patch tokens are a map row by row; class token and registers answer by name."""
    module = vit(**kind)
    net = open_network(
        module, size=16 if kind.get("values") else None
    )  # its forward asks for values: none to try
    assert isinstance(net, UntracedNetwork) is bool(kind.get("values"))
    assert (net.input.size, net.input.fixed) == (16, True)
    row = net.layers["norm"]
    assert row.output_shape == (8, 4, 4)
    assert sorted(n for n in net.tokens if n.startswith("norm@")) == ["norm@cls", "norm@reg1", "norm@reg2"]
    heard = {}
    module.norm.register_forward_hook(lambda m, a, out: heard.update(norm=out.clone()))
    x = picture(net)
    with torch.no_grad():
        module(x)
        truth = heard["norm"]
        assert torch.allclose(
            net.part("norm")(x).output, truth[:, 3:].transpose(1, 2).reshape(2, 8, 4, 4), atol=1e-6
        )
        for i, name in enumerate(("cls", "reg1", "reg2")):
            assert torch.allclose(net.part(f"norm@{name}")(x).output, truth[:, i], atol=1e-6)


def test_targets_of_tokens():
    """One patch, the class token, all patches: each is a target of its own, and drawn as such."""
    net = open_network(vit())
    texts = ["norm:3", "norm:3@1,2", "norm:3@cls", "attn.heads:1", "head:2"]
    targets = [t for text in texts for t in net.targets(text)]
    assert [str(t) for t in targets] == texts
    assert targets[2] == Target("norm@cls", 3)
    pictures = list(draw(net, targets, get_recipe("linear", steps=24), run=Run(precision="float32")))
    # before the attention no picture reaches the class token
    assert [p.status for p in pictures] == ["ok", "ok", "no-gain", "ok", "ok"]
    assert [p.target.stem for p in pictures][2] == "norm-0003@cls"
    x = picture(net, 1)
    with torch.no_grad():
        whole = net.part("norm")(x).output
    assert float(whole[0, 3].mean()) == pytest.approx(float(whole[0, 3].flatten().mean()))
    with pytest.raises(TargetError, match=r"norm of ViT has no token 'dist': its tokens are cls, reg1, reg2"):
        net.targets("norm:3@dist")
    with pytest.raises(TargetError, match="rows 0 to 3 and columns 0 to 3"):
        list(draw(net, net.targets("norm:3@4,0"), get_recipe(steps=1)))
    with pytest.raises(ArgumentError, match=r"norm of ViT runs at 16 x 16 px only \(got 32\)"):
        net.output_shape("norm", 32)


@pytest.mark.parametrize("own", [True, False])
def test_attention_heads(own):
    """`attn.concat` is what goes into the projection; `attn.heads` the root mean square of each head's share."""
    module = vit(own=own)
    net = open_network(module)
    assert net.layers["attn.concat"].output_shape == (8, 4, 4)
    assert net.layers["attn.heads"].output_shape == (2, 4, 4)
    x = picture(net)
    with torch.no_grad():
        concat, heads = net.part("attn.concat")(x).output, net.part("attn.heads")(x).output
        projection = module.attn.proj if own else module.attn.out_proj
        expected = projection(concat.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        name = "attn.proj" if own else "attn.out_proj"
        assert torch.allclose(net.part(name)(x).output, expected, atol=1e-5)
    assert torch.allclose(heads[:, 1], concat[:, 4:].square().mean(1).sqrt(), atol=1e-5)


def test_torch_attention_opened_gives_the_same():
    """torch's MultiheadAttention in steps: the same numbers, batch first or not; the module keeps its own."""
    from filterscope.networks.pytorch.attention import OpenAttention

    for first in (True, False):
        torch.manual_seed(0)
        own = nn.MultiheadAttention(8, 2, batch_first=first).eval()
        x = torch.randn(3, 5, 8)
        assert torch.allclose(OpenAttention(own)(x, x, x)[0], own(x, x, x)[0], atol=1e-6)


def test_masked_attention_stays_as_it_is():
    """A mask is not followed by the opened attention: the network runs untraced, and gives its own numbers."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.attn = (
                nn.Conv2d(3, 8, 4, stride=4),
                nn.MultiheadAttention(8, 2, batch_first=True),
            )
            self.register_buffer("mask", torch.triu(torch.ones(16, 16), 1).bool())

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2)
            return self.attn(x, x, x, attn_mask=self.mask, need_weights=False)[0].mean(1)

    torch.manual_seed(0)
    module = Masked().eval()
    net = open_network(module, size=16)
    x = picture(net)
    with torch.no_grad():
        assert torch.allclose(net.part("output")(x).output, module(x), atol=1e-5)


def test_channels_last_blocks():
    """(B, H, W, C) between convolutions: channels are found where they are."""

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.mlp = nn.Conv2d(3, 6, 3, padding=1), nn.LayerNorm(6), nn.Linear(6, 10)
            self.act, self.back = nn.GELU(), nn.Conv2d(10, 4, 1)

        def forward(self, x):
            x = self.conv(x).permute(0, 2, 3, 1)
            x = self.act(self.mlp(self.norm(x)))
            return self.back(x.permute(0, 3, 1, 2)).mean((2, 3))

    torch.manual_seed(0)
    net = open_network(Last(), size=12)
    shapes = {n: row.output_shape for n, row in net.layers.items()}
    assert shapes["norm"] == (6, 12, 12)
    assert shapes["mlp"] == shapes["act"] == (10, 12, 12)
    assert net.layers["act"].receptive_field == 3
    taps = net.part("act")(picture(net)[:, :, :12, :12])
    assert torch.allclose(taps.output, F.gelu(taps.linear))


def test_windows():
    """Windowed attention's values, (B * windows, N, C), are told apart picture by picture."""
    x = torch.arange(2 * 4 * 9 * 5.0).reshape(8, 9, 5)
    layout = layout_of(x, 2, 2, 0)
    assert layout == Layout("windows")
    seen = View(layout)(x, torch.zeros(2, 3, 12, 12))
    assert seen.shape == (2, 5, 4, 9)
    assert torch.equal(seen[1, :, 2, 7], x[4 + 2, 7])


@pytest.mark.parametrize(
    ("count", "height", "width", "expected"),
    [
        (196, 224, 224, (14, 14)),
        (197, 224, 224, None),
        (98, 112, 224, (7, 14)),
        (98, 224, 112, (14, 7)),
        (1, 32, 32, (1, 1)),
        (7, 32, 32, None),
    ],
)
def test_grid(count, height, width, expected):
    """Patches lie in the picture's proportions."""
    assert grid(count, height, width) == expected


@pytest.mark.parametrize(
    ("text", "layer", "target"),
    [
        ("blocks.3:30@cls", "blocks.3@cls", "blocks.3:30@cls"),
        ("blocks.3@cls:30", "blocks.3@cls", "blocks.3:30@cls"),
        ("x:1-2@reg1", "x@reg1", "x:1@reg1"),
        ("x:*@ dist", "x@dist", "x:0@dist"),
    ],
)
def test_token_grammar(text, layer, target):
    """A layer's token is written behind @, both ways."""
    selection = Selection.parse(text)
    assert selection.layer == layer
    first = selection.resolve(64)[0]
    assert str(first) == target
    assert Selection.parse(target).resolve(64) == [first]
    assert Selection.parse(str(selection)) == selection


@pytest.mark.parametrize("text", ["x:1@", "x:1@1,", "x:1@a b", "x:1@-1,2", "x:1@cls@1,2"])
def test_token_grammar_refuses(text):
    """What stands behind @ is a place or a token."""
    with pytest.raises(TargetError, match=r"after @ comes ROW,COLUMN, .* or a token as @cls"):
        Selection.parse(text)
