"""Torch modules opened as a Network: traced into the one graph, or run as they are where that cannot be."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from filterscope.errors import NetworkError, first_line
from filterscope.networks.input_spec import InputOptions, InputSpec
from filterscope.networks.network import Network
from filterscope.networks.pytorch_attention import open_attention
from filterscope.networks.pytorch_copy import on_meta, private_copy
from filterscope.networks.pytorch_graph import read_traced
from filterscope.networks.pytorch_trace import Traced, UntraceableError, trace
from filterscope.networks.pytorch_untraced import UntracedNetwork, first_tensor, read_untraced
from filterscope.networks.weights import sha256_arrays
from filterscope.sides import Size, as_size, others_of, pixels_text, sides_of, times

log = logging.getLogger("filterscope")

UNIT_RANGE = InputSpec(high=1.0)  # as torchvision's ToTensor gives pictures: 0 to 1, and nothing else known
SIZES = (224, 32, 28, 64, 96, 128, 256, 299, 384, 8, 16, 48, 112, 160, 192, 240, 320, 448, 512)
TOLERANCE = 1e-4  # of the largest output: float32 sums in another order


@dataclass
class TorchWeights:
    """Weights that are in the network already: a source that only says where they came from."""

    label: str
    digest: Callable[[], str]
    path: Path | None = None
    _sha256: str | None = field(default=None, repr=False)

    @property
    def sha256(self) -> str:
        if self._sha256 is None:
            self._sha256 = self.digest()
        return self._sha256

    def covers(self, layer: str) -> bool:
        return True

    def load(self, module: nn.Module, layer: str) -> None:
        return


@dataclass(frozen=True)
class Origin:
    """What is known of a module beside itself.

    input: how it wants its pictures, where that is known; the size 0 is found out. trained: the modules with
    trained weights, None for all. random: nothing trained it. vouched: False where nobody knows that.
    """

    name: str
    label: str
    input: InputSpec | None = None
    classes: Sequence[Sequence[str]] = ()
    path: Path | None = None
    digest: Callable[[], str] | None = None
    trained: Collection[str] | None = None
    random: bool = False
    vouched: bool = True


def open_module(module: nn.Module, origin: Origin, options: InputOptions) -> Network:
    """A torch module as a Network; the module itself is read and never changed.

    Raises NetworkError for a module without numbers, or one that no picture of any size goes through.
    """
    net = private_copy(module)
    if not any(True for _ in net.parameters()):
        raise NetworkError(
            f"cannot open a {type(module).__name__}: it has no weights that could have learned anything"
        )
    spec = _input_spec(net, origin, options)
    tensors = dict(net.state_dict())
    digest = origin.digest or (lambda: sha256_arrays({n: t.numpy() for n, t in tensors.items()}))
    weights = TorchWeights(origin.label, digest, origin.path)
    guessed = () if origin.input is not None else ("range",) if spec.fixed else ("range", "size")
    try:
        traced = _traced(net, spec)
    except UntraceableError as error:
        log.info("%s runs untraced, which is right but slower: %s", origin.name, error)
        return replace(_untraced(net, origin, spec, weights), guessed=guessed)
    found = read_traced(traced, trained=origin.trained, classes=len(origin.classes))
    return Network(
        origin.name, found.graph, found.layers, spec, weights, origin.classes, tokens=found.tokens, random=origin.random,
        vouched=origin.vouched, guessed=guessed,
    )  # fmt: skip


def _untraced(net: nn.Module, origin: Origin, spec: InputSpec, weights: TorchWeights) -> Network:
    if origin.trained is not None:
        raise NetworkError(
            f"{origin.name}: only some layers have weights, and its forward pass cannot be traced to tell which "
            "layers depend on the others; give a file with all weights"
        )
    example = _example(spec, 2)
    graph, layers, tokens, heard = read_untraced(net, example, classes=len(origin.classes))
    return UntracedNetwork(
        origin.name, graph, layers, spec, weights, origin.classes, tokens=tokens, random=origin.random,
        vouched=origin.vouched, net=net, heard=heard,
    )  # fmt: skip


def _traced(net: nn.Module, spec: InputSpec) -> Traced:
    """The network's graph, tried against the network itself; UntraceableError where they differ."""
    sizes: list[Size] = [spec.size]
    if not spec.fixed:
        meta = on_meta(net)
        other = next((s for s in _smaller(spec.size) if run_shapes(meta, spec.channels, s)), None)
        sizes = [other] if other else sizes
    pictures = [_example(replace(spec, size=s), 1) for s in sizes]
    expected = [_run(net, picture) for picture in pictures]
    replaced = open_attention(net)
    try:
        traced = trace(net, (2, spec.channels, *sides_of(spec.size)))
        if traced.chosen and spec.size not in sizes:
            pictures.append(_example(spec, 1))
            expected.append(_run(net, pictures[-1]))
        for part in net.modules():
            if getattr(part, "inplace", False) is True:
                part.inplace = False  # type: ignore[assignment]
        for picture, before in zip(pictures, expected, strict=True):
            _compare(traced, picture, before)
    except UntraceableError:
        for owner, name, module in replaced:
            owner._modules[name] = module
        raise
    return traced


def _compare(traced: Traced, picture: Tensor, expected: Tensor | None) -> None:
    if expected is None or traced.output is None:
        raise UntraceableError("its output is no tensor")
    graph = torch.fx.Graph()
    last = graph.graph_copy(traced.graph, {})
    copies = {n.name: n for n in graph.nodes}
    graph.output(copies[traced.output.name] if last is None else last)
    module = torch.fx.GraphModule(traced.holder, graph)
    try:
        with torch.no_grad():
            found = module(picture)
    except Exception as error:
        raise UntraceableError(f"its graph does not run at {_px(picture)}: {error}") from error
    scale = float(expected.abs().max()) + 1e-12
    if found.shape != expected.shape or not torch.allclose(
        found / scale, expected / scale, rtol=0, atol=TOLERANCE, equal_nan=True
    ):
        raise UntraceableError(f"its graph gives other numbers at {_px(picture)}")


def _run(net: nn.Module, picture: Tensor) -> Tensor | None:
    with torch.no_grad():
        out = first_tensor(net(picture.clone()))
    return None if out is None else out.clone()


def _example(spec: InputSpec, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(batch, spec.channels, *sides_of(spec.size), generator=generator) * 255
    return spec.preprocess(pixels)


def _px(picture: Tensor) -> str:
    return pixels_text((picture.shape[-2], picture.shape[-1]))


def _smaller(size: Size) -> Iterator[Size]:
    """Sizes to try a graph at, beside the network's own: cheap ones first."""
    height, width = sides_of(size)
    yield from (s for s in (64, 96, 128, 160, 192) if s < min(height, width))
    for more in (-32, 32):
        if min(height, width) + more > 0:
            yield as_size(height + more, width + more)
    yield times(size, 2)


# --- how the network wants its pictures ---------------------------------------------------------------------


def _input_spec(net: nn.Module, origin: Origin, options: InputOptions) -> InputSpec:
    known = origin.input or replace(UNIT_RANGE, size=0)
    channels = options.channels or _first_channels(net) or known.channels
    spec = known.changed(replace(options, channels=channels))
    meta = on_meta(net)
    if not spec.size:
        spec = replace(spec, size=_find_size(net, meta, channels))
    elif (error := why_not(net, meta, channels, spec.size)) is not None:
        raise NetworkError(
            f"{origin.name} does not run for {channels} x {' x '.join(map(str, sides_of(spec.size)))} pictures: {error}"
            f"{_works(net, meta, channels)}"
        )
    others = others_of(spec.size)
    fixed = not any(run_shapes(meta, channels, s) for s in others) and not any(
        why_not(net, meta, channels, s) is None for s in others[1:2]
    )
    return replace(spec, fixed=fixed)


def _works(net: nn.Module, meta: nn.Module, channels: int) -> str:
    size = next((s for s in SIZES if run_shapes(meta, channels, s)), None)
    return f" (it runs at {size} px: --input-size {size})" if size else ""


def _first_channels(net: nn.Module) -> int | None:
    first = next((m for m in net.modules() if isinstance(m, nn.Conv2d)), None)
    return None if first is None else first.in_channels


def _find_size(net: nn.Module, meta: nn.Module, channels: int) -> int:
    """The side of the pictures that the network was made for: as its attributes say, or the first that runs."""
    told = [
        getattr(m, n, None) for m in (net, *net.children()) for n in ("img_size", "image_size", "input_size")
    ]
    sides = [t[-1] if isinstance(t, list | tuple) and t else t for t in told]
    hints = [s for s in sides if isinstance(s, int) and not isinstance(s, bool) and 4 <= s <= 2048]
    sizes = [*hints, *SIZES, *range(4, 513)]
    found = next((s for s in sizes if run_shapes(meta, channels, s)), None)
    if found is None:  # what asks for values does not run on shapes alone
        found = next((s for s in [*hints, *SIZES[:8]] if why_not(net, meta, channels, s) is None), None)
    if found is None:
        _refuse_several_inputs(net)
        raise NetworkError(
            f"no square picture of {channels} channels goes through this {type(net).__name__}: "
            f"{why_not(net, meta, channels, 224)} (say --channels and --input-size)"
        )
    return 32 if found == SIZES[0] and not hints and _is_small(meta, channels) else found


def _refuse_several_inputs(net: nn.Module) -> None:
    """NetworkError for a forward pass that asks for more than a picture."""
    asked = [
        p.name
        for p in inspect.signature(net.forward).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    if len(asked) > 1:
        raise NetworkError(
            f"networks with several inputs are not supported ({type(net).__name__}.forward takes {', '.join(asked)})"
        )


def _is_small(meta: nn.Module, channels: int) -> bool:
    """Whether a network that takes any size was made for small pictures: its last maps are as large as an eighth
    of the picture or larger, where ImageNet's networks end at a thirty-second."""
    sides: list[int] = []

    def note(_: nn.Module, __: object, out: object) -> None:
        if isinstance(out, Tensor) and out.ndim == 4 and out.shape[-1] > 1:
            sides.append(out.shape[-1])

    handles = [m.register_forward_hook(note) for m in meta.modules()]
    try:
        shape = run_shapes(meta, channels, 224)
    finally:
        for handle in handles:
            handle.remove()
    first = next((m for m in meta.modules() if isinstance(m, nn.Conv2d)), None)
    stride = first.stride[0] if first is not None and isinstance(first.stride, tuple) else 2
    return bool(sides) and min(sides) >= 28 and stride == 1 and shape is not None and len(shape) == 2


def run_shapes(meta: nn.Module, channels: int, size: Size) -> tuple[int, ...] | None:
    """The shape of the network's output for one picture of a size, run on shapes alone; None where it fails."""
    try:
        with torch.no_grad():
            out = first_tensor(meta(torch.empty(1, channels, *sides_of(size), device="meta")))
    except Exception:  # whatever a person's own forward raises
        return None
    return None if out is None else tuple(out.shape)


def why_not(net: nn.Module, meta: nn.Module, channels: int, size: Size) -> str | None:
    """Why pictures of a size do not go through, None where they do."""
    if run_shapes(meta, channels, size):
        return None
    try:
        with torch.no_grad():
            net(torch.zeros(1, channels, *sides_of(size)))
    except Exception as error:
        return first_line(error)
    return None
