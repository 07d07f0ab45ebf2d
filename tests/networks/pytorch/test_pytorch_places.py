"""places.py: tokens are a grid where the graph leads them back to the picture's places, and steps elsewhere."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterscope.api import visualize
from filterscope.errors import TargetError
from filterscope.networks import open_network
from filterscope.networks.patches import Patches
from filterscope.networks.pytorch.axes import COLUMNS, COLUMNS_WITHIN, ROWS, ROWS_WITHIN, reshaped
from filterscope.networks.pytorch.untraced import UntracedNetwork
from filterscope.target import Target

SIZE = 32


class Base(nn.Module):
    """Patches of 4 px: 8 x 8 of them, 64 tokens of 8 channels; `head` is what a test looks at."""

    def __init__(self):
        super().__init__()
        self.body: nn.Module = nn.Conv2d(3, 8, 4, 4)
        self.head = nn.Linear(8, 5)

    def patches(self, x):
        return self.body(x).flatten(2).transpose(1, 2)


class Queries(Base):
    """As DETR's: each looks at all patches."""

    def __init__(self, count):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(count, 8))

    def forward(self, x):
        tokens = self.patches(x)
        return self.head((9 * self.queries @ tokens.transpose(1, 2)).softmax(-1) @ tokens)


class Attending(Queries):
    def forward(self, x):
        tokens = self.patches(x)[:, None]
        queries = self.queries.expand(len(x), 1, -1, -1)
        return self.head(F.scaled_dot_product_attention(queries, tokens, tokens)[:, 0])


class Decoder(Queries):
    def __init__(self, count):
        super().__init__(count)
        self.decoder = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        return self.head(self.decoder(self.queries.expand(len(x), -1, -1), self.patches(x)))


class Text(nn.Module):
    """As a network that reads a line of text: columns are its steps, batch second."""

    def __init__(self, columns, *, recurrent=True):
        super().__init__()
        self.body, self.rnn = (
            nn.Conv2d(3, 8, (SIZE, 32 // columns or 1), (1, 32 // columns or 1)),
            nn.LSTM(8, 8),
        )
        self.head, self.recurrent = nn.Linear(8, 5), recurrent

    def forward(self, x):
        x = self.body(x).squeeze(2).permute(2, 0, 1)
        return self.head(self.rnn(x)[0] if self.recurrent else x)


class Untraced(Queries):
    def forward(self, x):
        if float(x.detach().sum()) > 1e30:
            x = x * 0
        return super().forward(x)


def step_values(model, x):
    with torch.no_grad():
        out = model(x)
    return out if out.shape[0] == len(x) and not isinstance(model, Text) else out.transpose(0, 1)


STEPS = [(Queries, n) for n in (4, 9, 10, 12, 17, 64, 65)] + [(Attending, 10), (Decoder, 9), (Decoder, 17)]
STEPS += [(Untraced, n) for n in (9, 10, 12, 26)] + [(Text, 16), (Text, 4)]


@pytest.mark.parametrize(("kind", "count"), STEPS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_steps_are_no_grid(kind, count):
    """However many they are: (channels, steps), the mean of a channel over all of them, each by its number."""
    torch.manual_seed(0)
    model = kind(count).eval()
    net = open_network(model, size=SIZE)
    assert kind is Decoder or isinstance(net, UntracedNetwork) == (kind is Untraced)
    assert net.layers["head"].output_shape == (5, count)
    assert not [name for name in net.tokens if name.startswith("head@")]
    x = torch.rand(2, 3, SIZE, SIZE)
    own = step_values(model, x)
    assert torch.allclose(net.part("head")(x).output[:, :, 0].mT, own, atol=1e-5)
    for text, value in (("head:1", lambda v: v[:, 1].mean()), (f"head:1@{count - 1}", lambda v: v[-1, 1])):
        picture = visualize(net, text, steps=2, size=SIZE, progress=False, precision="float32")
        assert str(picture.target) == text
        shown = net.input.preprocess(torch.from_numpy(picture.image).float().permute(2, 0, 1)[None])
        assert float(value(step_values(model, shown)[0])) == pytest.approx(
            picture.scores.activation, abs=1e-4
        )


def test_a_step_that_is_not_there():
    """Which steps there are; a map's places have a row and a column, and a vector has none."""
    net = open_network(Queries(10), size=SIZE)
    with pytest.raises(TargetError, match=r"head has steps 0 to 9 at 32 px \(got 10\)"):
        visualize(net, "head:1@10", steps=1, size=SIZE, progress=False)
    with pytest.raises(TargetError, match="head is a sequence of 10 steps: each is @NUMBER"):
        net.targets("head:1@1,2")
    with pytest.raises(TargetError, match="body is a map: its places are @ROW,COLUMN"):
        net.targets("body:1@1")
    assert net.objectives("direction(head, 1:1)@3")[0].at == (3,)
    assert net.objectives("head:1@3 + head:2")[0].terms[0][1] == Target("head", 1, (3,))


# --- patches --------------------------------------------------------------------------------------------------


class Flattened(Base):
    def forward(self, x):
        return self.head(self.patches(x))


class ClassBehind(Base):
    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, 8))

    def forward(self, x):
        return self.head(torch.cat([self.patches(x), self.cls_token.expand(len(x), -1, -1)], 1))


class ClassInFront(ClassBehind):
    def forward(self, x):
        return self.head(torch.cat([self.cls_token.expand(len(x), -1, -1), self.patches(x)], 1))


class Reshaped(Base):
    """As einops cuts a picture into patches, without a convolution."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(48, 8)

    def forward(self, x):
        b, c, h, w = x.shape
        x = (
            x.reshape(b, c, h // 4, 4, w // 4, 4)
            .permute(0, 2, 4, 1, 3, 5)
            .reshape(b, (h // 4) * (w // 4), c * 16)
        )
        return self.head(self.body(x))


class Unfolded(Reshaped):
    def forward(self, x):
        return self.head(self.body(F.unfold(x, 4, stride=4).transpose(1, 2)))


class UnfoldedTwice(Reshaped):
    def forward(self, x):
        x = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3)
        return self.head(self.body(x.flatten(1, 2)))


class Windowed(Base):
    """As Swin: cut into windows, worked on, put together again."""

    def forward(self, x):
        x = self.body(x).permute(0, 2, 3, 1)
        b, h, w, c = x.shape
        x = x.view(b, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, c).relu()
        x = x.view(b, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h * w, c)
        return self.head(x)


class BatchSecond(Base):
    def forward(self, x):
        return self.head(self.patches(x).transpose(0, 1)).transpose(0, 1)


class AsOneRow(Base):
    """Through a product of rows, as an exported program has its linear layers."""

    def forward(self, x):
        tokens = self.patches(x)
        b, n, c = tokens.shape
        return self.head(tokens.reshape(b * n, c).relu().reshape(b, n, c))


GRIDS = [
    Flattened,
    ClassBehind,
    ClassInFront,
    Reshaped,
    Unfolded,
    UnfoldedTwice,
    Windowed,
    BatchSecond,
    AsOneRow,
]


@pytest.mark.parametrize("kind", GRIDS)
def test_patches_are_a_grid(kind):
    """Row by row, in a picture of any proportions, whatever stands in front or behind."""
    torch.manual_seed(0)
    model = kind().eval()
    net = open_network(model, size=(32, 64))
    assert net.layers["head"].output_shape == (5, 8, 16)
    x = torch.rand(2, 3, 32, 64)
    with torch.no_grad():
        own = model(x)
    extra = kind in (ClassBehind, ClassInFront)
    tokens = own[:, :-1] if kind is ClassBehind else own[:, 1:] if extra else own
    assert torch.allclose(net.part("head")(x).output.flatten(2).mT, tokens, atol=1e-5)
    if extra:
        token = own[:, -1] if kind is ClassBehind else own[:, 0]
        assert torch.allclose(net.part("head@cls")(x).output, token, atol=1e-5)
    assert net.output_shape("head", (64, 64)) == (5, 16, 16)


def test_reshaped():
    """Rows and columns behind one another are patches; apart again, rows and columns; mixed, nothing."""
    none, patches = (None, None), Patches(4, 6)
    assert reshaped((2, 8, 4, 6), (*none, ROWS, COLUMNS), (2, 8, 24)) == (*none, patches)
    assert reshaped((2, 24, 8), (None, patches, None), (2, 4, 6, 8)) == (None, ROWS, COLUMNS, None)
    assert reshaped((2, 24, 8), (None, patches, None), (2, 6, 4, 8)) == (None,) * 4
    assert reshaped((2, 24, 8), (None, patches, None), (2, 24, 2, 4)) == (None, patches, None, None)
    assert reshaped((2, 25, 8), (None, Patches(4, 6, 1), None), (2, 1, 25, 8)) == (
        *none,
        Patches(4, 6, 1),
        None,
    )
    assert reshaped((2, 8, 4, 6), (*none, ROWS, COLUMNS), (2, 4, 48)) == (None,) * 3
    assert reshaped((2, 8, 4, 6), (*none, ROWS, COLUMNS), (2, 192)) != (None, patches)
    assert reshaped((2, 3, 8, 8), (*none, ROWS, COLUMNS), (2, 3, 2, 4, 2, 4)) == (
        *none, ROWS, ROWS_WITHIN, COLUMNS, COLUMNS_WITHIN,
    )  # fmt: skip
