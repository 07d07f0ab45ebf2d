"""Which layer of a network a file of concepts means: hooks of TransformerLens, or a module's own name.

`blocks.9.hook_resid_post` is the output of block 9, whatever the network calls its blocks: `blocks.9` in timm,
`encoder.layers.encoder_layer_9` in torchvision, `transformer.resblocks.9` in OpenCLIP.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

_HOOK = re.compile(r"blocks\.(\d+)\.((?:attn|mlp)\.)?(hook_\w+)")
_BLOCK = r"(?:.+[._])?(?:blocks?|layers?|resblocks|h|encoder_layer)[._]"
# what stands behind a block's name, in timm, torchvision and others; "" is the block's own output
_PARTS: dict[str, tuple[str, ...]] = {
    "hook_resid_post": ("",),
    "hook_mlp_out": (".mlp",),
    "hook_attn_out": (".attn", ".self_attention", ".attention"),
    "mlp.hook_pre": (".mlp.fc1", ".mlp.0", ".mlp.c_fc"),
    "mlp.hook_post": (".mlp.act", ".mlp.1", ".mlp.gelu"),
    "attn.hook_z": (".attn.concat", ".self_attention.concat", ".attention.concat"),
}
_BEFORE_THE_FIRST = ("norm_pre", "patch_drop", "pos_drop", "encoder.dropout", "ln_pre")


@dataclass(frozen=True)
class Mapped:
    """A layer that a file names. exact: it is a layer's own name. block: the number of its block, if it has one."""

    layer: str
    exact: bool
    block: int | None


def layer_of(hook: str, layers: Collection[str]) -> Mapped | None:
    """The layer that is meant, None where no layer or more than one may be.

    >>> layer_of("blocks.9.hook_resid_post", ["blocks.8", "blocks.9", "blocks.9.mlp"]).layer
    'blocks.9'
    >>> layer_of("blocks.9.hook_resid_pre", ["blocks.8", "blocks.9"]).layer
    'blocks.8'
    """
    if hook in layers:
        return Mapped(hook, True, block_of(hook))
    found = _HOOK.fullmatch(hook)
    if not found:
        return None
    number, part = int(found[1]), f"{found[2] or ''}{found[3]}"
    if part == "hook_resid_pre":
        if number == 0:
            first = next((name for name in _BEFORE_THE_FIRST if name in layers), None)
            return None if first is None else Mapped(first, False, None)
        number, part = number - 1, "hook_resid_post"
    for behind in _PARTS.get(part, ()):
        own = [n for n in layers if re.fullmatch(f"{_BLOCK}{number}{re.escape(behind)}", n)]
        if len(own) == 1:
            return Mapped(own[0], False, number)
    return None


def block_of(layer: str) -> int | None:
    """The number of the block that a layer's or a hook's name begins with.

    >>> block_of("blocks.9.mlp.act"), block_of("block3_conv1")
    (9, None)
    """
    found = re.match(r"(?:.+?[._])?(?:blocks?|layers?|resblocks|h|encoder_layer)[._](\d+)(?:\.|$)", layer)
    return int(found[1]) if found else None
