"""An explanation as one image: the photograph, what the network names, and for each layer its channels above their masks."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from filterscope.explanation.evidence import Shape
from filterscope.explanation.found import Found, LayerFound
from filterscope.explanation.masks import enlarged, light
from filterscope.explanation.words import amount, plain, share_text, unit_text
from filterscope.pictures.sheet import BACKGROUND, GAP, Tile, compose

SIDE = 176  # of a tile in pixels
LINE = 22  # of text
NONE = Image.new("RGB", (8, 8), (225, 225, 225))  # of a dense layer's unit that was not drawn


def draw_sheet(found: Found) -> Image.Image:
    """The whole explanation."""
    blocks = [_head(found)]
    for layer in found.layers:
        blocks.append(_text([_layer_line(found, layer)], bold=True))
        blocks.append(_channels(found, layer))
        if layer.groups:
            blocks.append(_text([f"{layer.layer}: channels that are active together"]))
            blocks.append(_groups(found, layer))
    return _stacked(blocks)


def _head(found: Found) -> Image.Image:
    photograph = enlarged(found.seen.image).convert("RGB")
    wide = round(photograph.width * SIDE / photograph.height)
    lines = [found.title, f"{found.network}: {amount(found)}"]
    lines += [f"{guess.probability:6.1%}  {guess.name}" for guess in found.seen.classes]
    text = _text(lines, bold=True)
    head = Image.new("RGB", (wide + 3 * GAP + text.width, max(SIDE, text.height) + GAP), BACKGROUND)
    head.paste(photograph.resize((wide, SIDE), Image.Resampling.LANCZOS), (GAP, GAP))
    head.paste(text, (wide + 2 * GAP, GAP))
    return head


def _channels(found: Found, layer: LayerFound) -> Image.Image:
    """The channels' pictures in a row, where in the photograph each is relevant below."""
    tiles = []
    for against, channels in ((False, layer.raising), (True, layer.lowering)):
        for channel in channels:
            shape = found.shapes.get((channel.layer, channel.unit))
            mask = light(found.seen.image, channel.relevance, against=against)
            image = _pair(shape, mask if layer.attribution.spatial else None)
            tiles.append(Tile(image, unit_text(channel), plain(share_text(channel.share))))
    apart = len(layer.raising) if layer.raising and layer.lowering else None
    return compose(tiles, columns=len(tiles), side=SIDE, group=apart)


def _groups(found: Found, layer: LayerFound) -> Image.Image:
    tiles = []
    for group in layer.groups:
        shape = found.shapes.get((group.layer, f"group-{group.number}"))
        image = _pair(shape, light(found.seen.image, group.strength))
        tiles.append(Tile(image, f"group {group.number}", plain(share_text(group.share))))
    return compose(tiles, columns=len(tiles), side=SIDE)


def _pair(shape: Shape | None, mask: Image.Image | None) -> Image.Image:
    """A picture above its mask, whichever there are."""
    parts = [shape.to_pil()] if shape else []
    parts += [mask] if mask else []
    parts = [_wide(part) for part in parts or [NONE]]
    pair = Image.new("RGB", (SIDE, sum(part.height for part in parts) + GAP * (len(parts) - 1)), BACKGROUND)
    top = 0
    for part in parts:
        pair.paste(part, (0, top))
        top += part.height + GAP
    return pair


def _wide(image: Image.Image) -> Image.Image:
    return image.convert("RGB").resize(
        (SIDE, round(image.height * SIDE / image.width)), Image.Resampling.LANCZOS
    )


def _layer_line(found: Found, layer: LayerFound) -> str:
    against = f"; the last {len(layer.lowering)} lower it" if layer.lowering else ""
    return f"{layer.layer}: the channels that raise {found.contest} most{against}"


def _text(lines: Sequence[str], *, bold: bool = False) -> Image.Image:
    """Lines of text on white, the first larger."""
    font, first = ImageFont.load_default(15), ImageFont.load_default(19 if bold else 15)
    fonts = [first, *[font] * (len(lines) - 1)]
    width = max(int(own.getlength(line)) for own, line in zip(fonts, lines, strict=True))
    image = Image.new("RGB", (width + 2 * GAP, LINE * len(lines) + 2 * GAP), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for i, (own, line) in enumerate(zip(fonts, lines, strict=True)):
        draw.text((GAP, GAP + LINE * i), line, "black", own)
    return image


def _stacked(blocks: Sequence[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (max(b.width for b in blocks), sum(b.height for b in blocks)), BACKGROUND)
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    return sheet
