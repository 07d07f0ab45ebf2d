"""transformers.py: vision transformers of timm and torchvision at other sizes than their own."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from filterscope import visualize
from filterscope.errors import NetworkError, WeightsError
from filterscope.networks import open_network
from filterscope.networks.pytorch.untraced import UntracedNetwork

DINO, SMALL = "timm:vit_small_patch14_dinov2", "timm:vit_tiny_patch16_224"


@pytest.fixture
def timm():
    return pytest.importorskip("timm")


@pytest.fixture
def dino(shared):
    """DINOv2's own weights in float16."""
    return shared / "models" / "dinov2-vits14.safetensors"


def tokens(net, layer, pixels):
    with torch.no_grad():
        out = net.cut([net.layer(layer).output])(net.input.preprocess(pixels))[0]
    return out.flatten(2).transpose(1, 2)


def noise(size):
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 255


def test_dino_as_timm_opens_it(timm, dino):
    """At sizes below and above, its own one too, patches as those of timm's network made for that size."""
    from safetensors.torch import load_file
    from timm.models.vision_transformer import checkpoint_filter_fn

    net = open_network(DINO, weights=dino)
    assert (net.input.size, net.input.fixed, isinstance(net, UntracedNetwork)) == (224, False, False)
    for size in (112, 224, 518):
        theirs = timm.create_model("vit_small_patch14_dinov2", img_size=size).eval()
        stored = {n: t.float() for n, t in load_file(dino).items()}
        theirs.load_state_dict(checkpoint_filter_fn(stored, theirs))
        x = net.input.preprocess(noise(size))
        with torch.no_grad():
            wanted = theirs.blocks[:3](theirs.norm_pre(theirs._pos_embed(theirs.patch_embed(x))))
        assert torch.allclose(tokens(net, "blocks.2", noise(size)), wanted[:, 1:], atol=1e-4)


def test_dino_is_drawn_at_any_multiple(dino):
    """What the recipe asks for, and what stands behind the name."""
    net = open_network(DINO, weights=dino)
    picture = visualize(net, "blocks.1.mlp.act:3", size=56, steps=2, progress=False)
    assert picture.image.shape[:2] == (56, 56)
    assert open_network(DINO, weights=dino, size=70).input.size == 70
    with pytest.raises(NetworkError, match=r"divisible by patch size \(14\)"):
        open_network(DINO, weights=dino, size=71)


@pytest.mark.parametrize(
    "name", [SMALL, "timm:deit_tiny_distilled_patch16_224", "timm:eva02_tiny_patch14_224"]
)
@pytest.mark.usefixtures("timm")
def test_other_transformers_of_timm(name):
    """Traced at their own size, and larger and smaller too; with classes their own size stays the usual one."""
    net = open_network(name, weights="random")
    assert (net.input.size, net.input.fixed, isinstance(net, UntracedNetwork)) == (224, False, False)
    patch = 14 if "patch14" in name else 16
    for size in (112, 224, 336):
        assert net.output_shape("blocks.2", size)[1:] == (size // patch, size // patch)


def test_usual_size(timm):
    """With classes the size of training, without them at most the multiple of the patch nearest 224 px."""
    from filterscope.networks.pytorch.open import known_input
    from filterscope.networks.pytorch.transformers import usual_input

    for classes, wanted in ((0, 224), (10, 384)):
        module = timm.create_model(
            "vit_tiny_patch16_384", dynamic_img_size=True, num_classes=classes, depth=1
        )
        spec, _ = known_input(module)
        assert usual_input(module, spec, bool(classes)).size == wanted


class Rotary(nn.Module):
    """Values moved to where the network's own numbers are, as rotary positions are."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("turns", torch.ones(1))

    def forward(self, x):
        y = self.conv(x)
        return y.to(device=self.turns.device, dtype=torch.float32) * y.mean().to(self.turns.device)


def test_values_moved_to_a_device():
    """Shapes lie on no device, so that such a network is traced."""
    assert not isinstance(open_network(Rotary()), UntracedNetwork)


@pytest.mark.usefixtures("timm")
def test_windows_keep_their_size():
    """A network that cuts windows, not positions, is made for the size asked for, and traced."""
    net = open_network("timm:swin_tiny_patch4_window7_224", weights="random", size=112)
    assert (net.input.size, net.input.fixed, isinstance(net, UntracedNetwork)) == (112, True, False)


def test_weights_through_timms_filter(timm, tmp_path):
    """Positions of another number, another patch; also under a wrapper's prefix. Other networks' are told as before."""
    other = timm.create_model("vit_tiny_patch16_224", img_size=96).eval()
    state = {f"module.{n}": t for n, t in other.state_dict().items()}
    save_file(state, tmp_path / "small.safetensors")
    net = open_network(SMALL, weights=tmp_path / "small.safetensors")
    pixels = noise(96)
    with torch.no_grad():
        wanted = other.blocks[:2](other._pos_embed(other.patch_embed(net.input.preprocess(pixels))))
    # from 6 x 6 to 14 x 14 places and back again
    assert (
        torch.nn.functional.cosine_similarity(tokens(net, "blocks.1", pixels), wanted[:, 1:], dim=-1).min()
        > 0.98
    )
    save_file({"x.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="holds no weights for any layer"):
        open_network(SMALL, weights=tmp_path / "other.safetensors")


def test_torchvision(tmp_path):
    """Opened for the size asked for, its positions resampled, with the library's weights or those of a file."""
    models = pytest.importorskip("torchvision.models")
    own = models.get_model("vit_b_16", weights=None)
    state = {
        n: t for n, t in own.state_dict().items() if n.startswith(("conv_proj", "class_token", "encoder.pos"))
    }
    save_file(state, tmp_path / "front.safetensors")
    net = open_network("torchvision:vit_b_16", weights=tmp_path / "front.safetensors", size=64)
    assert (net.input.size, net.output_shape("conv_proj", 64)) == (64, (768, 4, 4))
    resampled = models.vision_transformer.interpolate_embeddings(64, 16, own.state_dict())
    found = net.graph.get_parameter("net.encoder.pos_embedding")
    assert torch.equal(found, resampled["encoder.pos_embedding"])
    bare = open_network("torchvision:vit_b_16", weights="random", size=64)
    assert bare.input.size == 64
