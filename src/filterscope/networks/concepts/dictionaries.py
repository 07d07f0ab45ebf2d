"""Overcomplete's state dicts, Captum's CAVs, and plain arrays of directions.

Overcomplete (KempnerInstitute/overcomplete, `overcomplete/sae/`): `dictionary._weights` (concepts, channels) of
`dictionary.py`; `dictionary.C`, `.W`, `.Relax` and `.multiplier` of `archetypal_dictionary.py`, whose dictionary is
`(W @ C + Relax) * exp(multiplier)`; `dictionary.dictionary` of its first versions. The encoder of `modules.py` (`MLPEncoder`
of one block) is a linear layer, `encoder.final_block.0`, and a batch norm behind it, `encoder.final_block.1`; in the first
versions both are in `encoder.0` and `encoder.1`.

Captum (pytorch/captum, `captum/concept/_core/cav.py`, `CAV.save`): torch.save of {"concept_ids", "concept_names", "layer",
"stats": {"weights", "classes", ...}}; row i of the weights, (concepts, features), is the concept whose id is classes[i].
Features are the layer's values for one input, flattened (`tcav.py`, `generate_activation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from filterscope.errors import WeightsError
from filterscope.networks.concepts.table import ConceptTable, Encoder, numbers_of

Tensors = Mapping[str, np.ndarray]
BATCH_NORM_EPS = 1e-5  # torch's own


def is_overcomplete(tensors: Mapping[str, Any]) -> bool:
    """Whether tensors are a state dict of Overcomplete."""
    return any(name in tensors for name in ("dictionary._weights", "dictionary.dictionary", "dictionary.C"))


def read_overcomplete(tensors: Tensors, file: str) -> ConceptTable:
    """A state dict of Overcomplete."""
    if "dictionary.C" in tensors:
        directions = _archetypes(tensors, file)
    else:
        name = next(n for n in ("dictionary._weights", "dictionary.dictionary") if n in tensors)
        directions = numbers_of(tensors[name], name, file, (None, None))
    encoder, why = _affine(tensors, file, directions.shape)
    return ConceptTable("Overcomplete", directions, encoder, no_latent=why)


def _archetypes(tensors: Tensors, file: str) -> np.ndarray:
    points = numbers_of(tensors["dictionary.C"], "dictionary.C", file, (None, None), axis=None)
    for name in ("dictionary.W", "dictionary.Relax"):
        if name not in tensors:
            raise WeightsError(f"{file} holds dictionary.C and lacks {name}")
    weights = numbers_of(tensors["dictionary.W"], "dictionary.W", file, (None, len(points)))
    shape = (len(weights), points.shape[1])
    relax = numbers_of(tensors["dictionary.Relax"], "dictionary.Relax", file, shape)
    gain = float(np.exp(np.asarray(tensors.get("dictionary.multiplier", 0.0), np.float32)))
    found: np.ndarray = ((weights @ points + relax) * gain).astype(np.float32)
    return found


def _affine(tensors: Tensors, file: str, shape: Sequence[int]) -> tuple[Encoder | None, str]:
    """The encoder as one affine map; None, and why, where it is none."""
    first = "encoder.final_block." if "encoder.final_block.0.weight" in tensors else "encoder."
    if f"{first}0.weight" not in tensors:
        return None, "the file holds a dictionary and no linear encoder"
    if any(name.startswith("encoder.mlp_blocks.") for name in tensors):
        return None, "its encoder has hidden layers"
    count, width = shape
    weights = numbers_of(tensors[f"{first}0.weight"], f"{first}0.weight", file, (count, width))
    bias = np.zeros(count, np.float32)
    if f"{first}0.bias" in tensors:
        bias = numbers_of(tensors[f"{first}0.bias"], f"{first}0.bias", file, (count,))
    if f"{first}1.weight" not in tensors:
        return Encoder(weights, bias), ""
    if f"{first}1.running_mean" not in tensors:
        return None, "its encoder normalises all latents together (a layer norm)"
    mean, variance, gain, shift = (
        numbers_of(_of(tensors, f"{first}1.{name}", file), f"{first}1.{name}", file, (count,))
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    factor = gain / np.sqrt(variance + BATCH_NORM_EPS)
    return Encoder(weights * factor[:, None], (bias - mean) * factor + shift), ""


def is_cav(content: Mapping[Any, Any]) -> bool:
    """Whether a file's content is a CAV of Captum."""
    stats = content.get("stats")
    return isinstance(stats, Mapping) and "weights" in stats and "concept_names" in content


def read_cav(content: Mapping[Any, Any], file: str) -> ConceptTable:
    """A CAV of Captum, with the concepts' names."""
    stats = content["stats"]
    rows = numbers_of(stats["weights"], "stats['weights']", file, (None, None))
    ids, names = (_listed(content.get(key)) for key in ("concept_ids", "concept_names"))
    classes = _listed(stats.get("classes")) or ids
    by_id = {str(number): str(name) for number, name in zip(ids, names, strict=False)}
    known = tuple(by_id.get(str(number), f"concept {number}") for number in classes)
    layer = content.get("layer")
    return ConceptTable(
        "Captum CAV", rows, layer=layer if isinstance(layer, str) else None, flat=True,
        names=known if len(known) == len(rows) else (),
    )  # fmt: skip


def read_plain(array: object, name: str, file: str, form: str) -> ConceptTable:
    """An array of directions, (concepts, channels), or of one, (channels,)."""
    values = np.asarray(array)
    if values.ndim == 1:
        values = values[None]
    return ConceptTable(form, numbers_of(values, name, file, (None, None)))


def _of(tensors: Tensors, name: str, file: str) -> np.ndarray:
    if name not in tensors:
        raise WeightsError(f"{file} lacks {name}")
    return tensors[name]


def _listed(value: object) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    return np.asarray(value).ravel().tolist() if value is not None else []
