"""Damaged files and wrong words, for tests that look for a traceback."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

# what stands in the place of a value in JSON
ODD: list[Any] = [
    None, True, -1, 0, 1, 7, 2**31, 2**63, 2**70, -(2**70), 0.5, 1e308, -1e308, "", " ", "x", "\0", "\ud800", "../../x",
    "/dev/null", "x" * 5000, [], {}, [[]], [None], {"": 0}, [1, 2, 3, 4], "nan", "Infinity", "block1_conv1", "tiny-vgg16",
]  # fmt: skip
# words of a command line: what no option or argument should fall over
WORDS = [
    "", " ", "-1", "0", "1", "3", "1.5", "1e999", "nan", "inf", "-inf", "99999999999999999999", "x", "ü", "\udcff",
    "x" * 5000, "a,b", "1,2", "0,1", "1,0", "auto", "cpu", "cuda", "cuda:99", "mps", "meta", "float32", "bfloat16", "random",
    "%s", "{}",
    "/dev/null", ".", "=", "a=b", "steps=0", "image.kind=x", "64x", "x64", "16x24", "0x0", "[", "]" * 9,
    "*",     "tiny-vgg16?size=0", "?", "tiny-vgg16?size=1e9", "torchvision:", "timm:", ":", "::", "net.py:", "block1_conv1:",
    "-5 * block1_conv1:1", "block1_conv1:1@0,0", "block1_conv1:1@999,0", "direction(block1_conv1, 0:1)",
]  # fmt: skip


def places(data: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a JSON value there is something to put another thing in the place of."""
    found = [here] if here else []
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        found += places(value, (*here, key))
    return found


@st.composite
def damaged_json(draw: st.DrawFn, data: Any) -> str:
    """The JSON with one or two of its values replaced, removed or put in once more; or no JSON any more."""
    data = copy.deepcopy(data)
    for _ in range(draw(st.integers(1, 2))):
        known = places(data)
        if not known:
            break
        *way, last = draw(st.sampled_from(known))
        place = data
        for key in way:
            place = place[key]
        how = draw(st.sampled_from(["replace", "replace", "remove", "nest"]))
        if how == "remove":
            del place[last]
        elif how == "nest":
            place[last] = [place[last]]
        else:
            place[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
    text = json.dumps(data)
    how = draw(st.sampled_from(["whole"] * 8 + ["cut", "deep", "twice", "empty"]))
    cut = draw(st.integers(0, len(text)))
    return {"whole": text, "cut": text[:cut], "deep": "[" * 50_000 + text, "twice": text + text, "empty": ""}[
        how
    ]


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """The bytes with some changed, cut off, left out or put in."""
    whole = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(whole) - 1)) | st.integers(0, min(300, max(0, len(whole) - 1))))
        some = draw(st.binary(min_size=1, max_size=8))
        how = draw(st.sampled_from(["change", "change", "cut", "leave out", "put in", "zeros"]))
        if how == "change":
            whole[at : at + len(some)] = some
        elif how == "cut":
            del whole[at:]
        elif how == "leave out":
            del whole[at : at + len(some) * 16]
        elif how == "put in":
            whole[at:at] = some
        else:
            whole[at : at + 64] = bytes(len(whole[at : at + 64]))
    return bytes(whole)
