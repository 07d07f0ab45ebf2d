"""How a forward pass takes its pictures: as they are, by name, channels last, in a list or in a dictionary; and where it
takes none, why."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from filterscope.errors import NetworkError
from filterscope.networks.pytorch.sizes import Trials, parameters, required, run

# what people call the pictures among several arguments
_NAMES = (
    "pixel_values",
    "image",
    "images",
    "img",
    "imgs",
    "pixels",
    "picture",
    "pictures",
    "inputs",
    "input",
    "x",
)
_TEXT = ("input_ids", "tokens", "text", "texts", "captions", "prompt")
_WRAP = "wrap it in a module that takes the pictures alone, (batch, channels, height, width)"


@dataclass(frozen=True)
class Feed:
    """One way to hand pictures (B, C, H, W) to a forward pass; `name` is of the argument or of the dictionary's key."""

    kind: str = "plain"
    name: str = ""

    def __call__(self, picture: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments to call with."""
        if self.kind == "named":
            return (), {self.name: picture}
        if self.kind == "last":
            return (picture.permute(0, 2, 3, 1),), {}
        if self.kind == "list":
            return ([picture[i] for i in range(len(picture))],), {}
        return ({self.name: picture},) if self.kind == "dictionary" else (picture,), {}

    def __str__(self) -> str:
        return {
            "plain": "as they are",
            "named": f"as {self.name}=",
            "last": "channels last, (batch, height, width, channels)",
            "list": "as a list of (channels, height, width)",
            "dictionary": f"as {{{self.name!r}: pictures}}",
        }[self.kind]


PLAIN = Feed()


def fed(net: nn.Module, feed: Feed) -> nn.Module:
    """A private copy made to take pictures as they are, whatever its own forward pass takes; the same object."""
    if feed.kind != "plain":
        kind = _fed_kind(type(net), feed)
        object.__setattr__(net, "__class__", kind)
    return net


def _fed_kind(kind: type, feed: Feed) -> type:
    class Fed(kind):  # type: ignore[misc]
        def forward(self, picture: Any) -> Any:
            args, kwargs = feed(picture)
            return super().forward(*args, **kwargs)

    Fed.__name__, Fed.__qualname__, Fed.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return Fed


def feeds(net: nn.Module) -> Iterator[Feed]:
    """The ways to try, the likeliest first; NetworkError where the forward pass asks for more than pictures."""
    own = parameters(net.forward)
    names = [p.name for p in own]
    told = getattr(net, "main_input_name", None)
    named = [n for n in (told, *_NAMES) if n in names]
    needed = required(net.forward)
    if len(needed) > 1:
        raise NetworkError(
            f"networks with several inputs are not supported ({type(net).__name__}.forward takes {', '.join(needed)}): "
            f"{_WRAP}"
        )
    only = all(p.kind is p.KEYWORD_ONLY for p in own)
    if named and (only or (not needed and names[0] != named[0])):
        yield Feed("named", named[0])
    elif needed and only:
        yield Feed("named", needed[0])
    if not only or not names:
        yield PLAIN
        yield from (Feed("last"), Feed("list"))
    kinds = {p.kind for p in inspect.signature(net.forward).parameters.values()}
    if kinds == {inspect.Parameter.VAR_KEYWORD}:  # forward(**inputs), which names them inside
        yield from (Feed("named", name) for name in dict.fromkeys(filter(None, (told, *_NAMES))))


class _Asked(dict[Any, Any]):
    """A dictionary that has the pictures under every key, and remembers which were asked for."""

    def __init__(self, picture: Tensor):
        super().__init__()
        self.picture, self.keys_asked = picture, dict[Any, None]()

    def __missing__(self, key: Any) -> Tensor:
        self.keys_asked[key] = None
        return self.picture

    def get(self, key: Any, default: Any = None) -> Any:
        return self[key]

    def __contains__(self, key: object) -> bool:
        return True


def key_of_dictionary(net: nn.Module, channels: int, sizes: list[int]) -> Feed | None:
    """Where the forward pass takes a dictionary and looks up one key: that one. NetworkError where it takes several."""
    for size in sizes:
        asked, works = _Asked(torch.zeros(1, channels, size, size)), True
        try:
            with torch.no_grad():
                net(asked)
        except Exception:
            works = False
        keys = list(asked.keys_asked)
        if works and len(keys) == 1:
            return Feed("dictionary", keys[0])
        if len(keys) > 1:
            raise NetworkError(
                f"{type(net).__name__}'s forward pass takes a dictionary of several inputs ({', '.join(map(str, keys))}): "
                f"{_WRAP}"
            )
    return None


# --- why not ------------------------------------------------------------------------------------------------


def require_pictures(net: nn.Module) -> None:
    """NetworkError for what by its first layer takes no pictures: volumes, sequences, vectors, text."""
    first = next((m for m in net.modules() if isinstance(m, _FIRST)), None)
    name = type(net).__name__
    if isinstance(first, nn.Conv3d | nn.ConvTranspose3d):
        raise NetworkError(
            f"{name} takes volumes or films, (batch, channels, depth, height, width): its convolutions are "
            "three-dimensional; networks of pictures open"
        )
    if isinstance(first, nn.Conv1d | nn.ConvTranspose1d) and not _has(net, nn.Conv2d):
        raise NetworkError(
            f"{name} takes sequences, (batch, channels, steps): its convolutions are one-dimensional; networks of "
            "pictures open"
        )
    if isinstance(first, nn.Embedding) and not _has(net, nn.Conv2d):
        raise NetworkError(
            f"{name} takes numbers of words or classes (its first layer is an Embedding), no pictures"
        )
    if isinstance(first, nn.RNNBase) and not _has(net, nn.Conv2d):
        raise NetworkError(
            f"{name} takes sequences of {first.input_size} numbers (its first layer is a {type(first).__name__}), no "
            "pictures"
        )


_FIRST = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear, nn.Embedding,
    nn.RNNBase,
)  # fmt: skip


def _has(net: nn.Module, *kinds: type) -> bool:
    return any(isinstance(m, kinds) for m in net.modules())


def require_no_vectors(net: nn.Module, trials: Trials, size: Any) -> None:
    """NetworkError where the first product takes the picture's rows for vectors: its numbers are no pixels."""
    told: list[nn.Linear] = []

    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        if (
            not told
            and isinstance(module, nn.Linear)
            and args
            and isinstance(args[0], Tensor)
            and _untouched(args[0])
        ):
            told.append(module)
        elif not told:
            seen.append(module)

    def _untouched(x: Tensor) -> bool:
        return not seen and x.ndim == 4 and x.shape[1] == trials.channels

    seen: list[nn.Module] = []
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding, nn.RNNBase)
    handles = [m.register_forward_pre_hook(note) for m in trials.meta.modules() if isinstance(m, kinds)]
    try:
        run(trials.meta, trials.channels, size)
    except Exception:
        return
    finally:
        for handle in handles:
            handle.remove()
    if told:
        raise vectors(net, told[0])


def vectors(net: nn.Module, first: nn.Linear) -> NetworkError:
    """What to say of a network of vectors."""
    return NetworkError(
        f"{type(net).__name__} takes vectors of {first.in_features} numbers (its first layer is a Linear), no pictures; "
        "where these are a picture's pixels, put nn.Flatten() in front of it"
    )


def refusal(net: nn.Module, trials: Trials, names: Sequence[str]) -> NetworkError:
    """Why no picture goes through, as far as the network tells; `names` are of its forward pass' arguments."""
    name = type(net).__name__
    first = next((m for m in net.modules() if isinstance(m, _FIRST)), None)
    texts = [n for n in names if n in _TEXT]
    pictures = [n for n in names if n in (getattr(net, "main_input_name", None), *_NAMES) and n not in texts]
    reason = trials.why_not(224)
    if texts:
        parts = ", ".join(f".{n}" for n, m in net.named_children() if _has(m, nn.Conv2d))
        beside = f" beside pictures ({pictures[0]})" if pictures else ""
        return NetworkError(
            f"{name}'s forward pass takes text ({texts[0]}){beside} and does not run without: pass the part of it that sees "
            f"pictures{f' ({parts})' if parts else ''}, or {_WRAP} (without text it says: {reason})"
        )
    if isinstance(first, nn.Linear) and not _has(net, nn.Conv2d):
        return vectors(net, first)
    options = ", ".join(_may_help(str(reason), str(trials.why_not(64))))
    return NetworkError(
        f"no picture of {trials.channels} channels goes through this {name}: {reason}"
        + (f" (say which ones do with open_network({options}))" if options else "")
    )


def _may_help(reason: str, at_another_size: str) -> list[str]:
    """The options that may make pictures go through that do not for a reason: the size where that changes it, or a
    person's own check names it."""
    named = re.match(r"(Assertion|Value)Error: .*\b(size|height|width|resolution|divisible|multiple)", reason)
    found = ["channels="] if re.search(r"\bchannels?\b", reason) else []
    return [*found, "size="] if named or reason != at_another_size else found
