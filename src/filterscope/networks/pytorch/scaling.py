"""What a torch network does to its pixels itself, found by showing it plain colours: so that nothing is done twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from filterscope.networks.input_spec import InputSpec
from filterscope.sides import sides_of

# what a first convolution is fed lies here at black and white: within, it was scaled for it
_LEAST, _MOST = 0.4, 4.0
_MEANS = (50.0, 200.0)  # a photograph's mean in pixel values; ImageNet's are 103.9 (blue), 116.8, 123.7 (red)
_APART = 5.0  # that blue's mean is below red's where it is ImageNet's, or photographs' of another kind
_RANGES = ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0))


class _SeenError(Exception):
    pass


def without_own_scaling(net: nn.Module, spec: InputSpec, *, known: bool) -> tuple[InputSpec, bool]:
    """The spec without what the network does itself, and whether its range is known.

    known: whether the spec is what a library says of the network; then only a mean and standard deviation that would be
    taken twice are left out.
    """
    found = _own_scaling(net, spec)
    if found is None:
        return spec, known
    plain = replace(spec, mean=(0.0,) * spec.channels, std=(1.0,) * spec.channels)
    if known:
        doubled = any(spec.mean) and not _fits(found, *_ends(spec)) and _fits(found, *_ends(plain))
        return (plain if doubled else spec), True
    pixels = [r for r in _RANGES if _is_of_pixels(found, *([v] * spec.channels for v in r))]
    if pixels:
        (low, high), bgr = pixels[0], _wants_bgr(net, spec, found)
        return replace(plain, low=low, high=high, bgr=bgr), True
    fitting = [r for r in _RANGES if _fits(found, *([v] * spec.channels for v in r))]
    exact = [r for r in fitting if _is_unit(found, *([v] * spec.channels for v in r))]
    if not fitting:
        return spec, False
    low, high = (exact or fitting)[0]
    return replace(plain, low=low, high=high), True


def _ends(spec: InputSpec) -> tuple[list[float], list[float]]:
    """Black and white as the network is fed them."""
    ends = spec.preprocess(torch.tensor([0.0, 255.0])[:, None, None, None].expand(2, spec.channels, 1, 1))
    black, white = ends.flatten(1).tolist()
    return black, white


Scaling = tuple[list[float], list[float]]  # of each channel the factor and what is added


def _fed(found: Scaling, values: list[float]) -> list[float]:
    return [a * v + b for a, b, v in zip(*found, values, strict=True)]


def _fits(found: Scaling, black: list[float], white: list[float]) -> bool:
    ends = [*_fed(found, black), *_fed(found, white)]
    spans = [abs(w - b) for b, w in zip(_fed(found, black), _fed(found, white), strict=True)]
    return max(map(abs, ends)) <= _MOST and min(spans) >= _LEAST


def _is_unit(found: Scaling, black: list[float], white: list[float]) -> bool:
    """Whether black and white become exactly 0 and 1, or -1 and 1."""
    ends = (_fed(found, black), _fed(found, white))
    return any(
        all(abs(v - e) < 1e-3 for values, e in zip(ends, pair, strict=True) for v in values)
        for pair in ((0.0, 1.0), (-1.0, 1.0))
    )


def _is_of_pixels(found: Scaling, black: list[float], white: list[float]) -> bool:
    """Whether the first convolution is fed pixel values of which a mean was taken and no more, as Caffe's networks are."""
    ends = zip(_fed(found, black), _fed(found, white), strict=True)
    return all(_MEANS[0] <= -b <= _MEANS[1] and abs(w - b - 255) < 1 for b, w in ends)


def _wants_bgr(net: nn.Module, spec: InputSpec, found: Scaling) -> bool:
    """Whether the mean that is taken from the first channel is blue's, and the network does not swap them itself."""
    if spec.channels != 3:
        return False
    means = [-offset for offset in found[1]]
    black, red = (_first_fed(net, spec, values) for values in ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0)))
    if black is None or red is None or int((red - black).abs().argmax()) != 0:
        return False
    return means[0] + _APART < means[2]


def _own_scaling(net: nn.Module, spec: InputSpec) -> Scaling | None:
    """Of each channel the factor and offset between what the network is given and what its first convolution is fed;
    None where there are none such, or it is fed the picture as it is."""
    seen = [_first_fed(net, spec, [value] * spec.channels) for value in (0.0, 0.5, 1.0)]
    if any(v is None for v in seen):
        return None
    black, grey, white = (v for v in seen if v is not None)
    factor, span = white - black, float((white - black).abs().max())
    if span < 1e-6 or float((grey - (black + white) / 2).abs().max()) > 1e-3 * span:
        return None
    if float((factor - 1).abs().max()) < 1e-3 and float(black.abs().max()) < 1e-3:
        return None
    return factor.tolist(), black.tolist()


def _first_fed(net: nn.Module, spec: InputSpec, values: Sequence[float]) -> Tensor | None:
    """What the first convolution gets in the middle of a picture of one colour."""
    found: list[Tensor] = []

    def note(_: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor):
            found.append(args[0])
        raise _SeenError

    handles = [m.register_forward_pre_hook(note) for m in net.modules() if isinstance(m, nn.Conv2d)]
    try:
        with torch.no_grad():
            net(torch.tensor(values).view(1, -1, 1, 1).repeat(1, 1, *sides_of(spec.size)))
    except Exception:  # ours, or whatever a person's own forward raises
        pass
    finally:
        for handle in handles:
            handle.remove()
    x = found[0] if found else None
    if x is None or x.ndim not in (3, 4) or x.shape[-3] != spec.channels:
        return None
    whole = x if x.ndim == 4 else x[None]
    return whole[0, :, whole.shape[2] // 2, whole.shape[3] // 2]
