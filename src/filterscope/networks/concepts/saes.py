"""Sparse autoencoders of SAELens, ViT-Prisma and saev: tensors W_enc, W_dec, b_enc, b_dec and a configuration.

SAELens (jbloomAus/SAELens, `sae_lens/saes/sae.py`, `SAE.save_model`): a folder with `cfg.json` and
`sae_weights.safetensors`: W_enc (d_in, d_sae), W_dec (d_sae, d_in), b_dec (d_in,), b_enc (d_sae,); jumprelu has `threshold`
(d_sae,) besides, gated has `b_gate`, `b_mag` and `r_mag` (d_sae,) in the place of b_enc. The input is rescaled first, then
b_dec is taken from it (unless `apply_b_dec_to_input` is off): `process_sae_in`. The value before the activation is
`sae_in @ W_enc + b_enc`; of a gated one its magnitude, `sae_in @ (W_enc * exp(r_mag)) + b_mag` (`gated_sae.py`, `encode`).

ViT-Prisma (soniajoseph/ViT-Prisma, `src/vit_prisma/sae/sae.py` and `config.py`): the same tensors and formulas, in a file
of torch.save beside `config.json`, or in one file {"cfg", "state_dict"}; the hook is
`blocks.{hook_point_layer}.{layer_subtype}`.

saev (OSU-NLP-Group/saev, `src/saev/nn/modeling.py`, `dump`): a head line of JSON, {"schema", "cfg", ...}, then the state
dict by torch.save. b_dec is taken from the input before schema 2 only; no layer is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from filterscope.errors import WeightsError
from filterscope.networks.concepts.table import ConceptTable, Encoder, Rescale, numbers_of

ARCHITECTURES = ("standard", "topk", "batchtopk", "matryoshka_batchtopk", "jumprelu", "gated")
_RESCALES: Mapping[Any, Rescale] = {
    "none": "none", None: "none", False: "none", "layer_norm": "layer_norm", "constant_norm_rescale": "norm",
    "expected_average_only_in": "none", True: "none",
}  # fmt: skip
_BY_A_FACTOR = ("expected_average_only_in", True)
Tensors = Mapping[str, np.ndarray]


def is_sae(tensors: Mapping[str, Any]) -> bool:
    """Whether tensors have the names of a sparse autoencoder of these libraries."""
    return {"W_enc", "W_dec"} <= set(tensors)


def read_saelens(tensors: Tensors, cfg: Mapping[str, Any], file: str) -> ConceptTable:
    """A folder of SAELens; the keys of the older generations of its configuration are read too."""
    told = {**_mapping(cfg.get("metadata") or cfg.get("meta")), **cfg}
    hook = told.get("hook_name") or told.get("hook_point")
    head = told.get("hook_head_index", told.get("hook_point_head_index"))
    architecture = str(told.get("architecture") or "standard").lower()
    return read_sae(tensors, told, file, form=f"SAELens, {architecture}", layer=_hook(hook, head))


def read_prisma(tensors: Tensors, cfg: Mapping[str, Any], file: str) -> ConceptTable:
    """A folder, or a file, of ViT-Prisma."""
    number, kind = cfg.get("hook_point_layer"), cfg.get("layer_subtype")
    hook = f"blocks.{number}.{kind}" if number is not None and kind else cfg.get("hook_point")
    architecture = str(cfg.get("architecture") or "standard").lower()
    told = {"normalize_activations": "layer_norm", **cfg}  # the dataclass' default
    return read_sae(
        tensors, told, file, form=f"ViT-Prisma, {architecture}", layer=_hook(hook, cfg.get("hook_point_head_index")),
        token="cls" if cfg.get("cls_token_only") is True else None,
    )  # fmt: skip


def read_saev(tensors: Tensors, head: Mapping[str, Any], file: str) -> ConceptTable:
    """A file of saev by its head line."""
    schema = head.get("schema")
    cfg = _mapping(head.get("cfg")) if schema is not None else head
    activation = _mapping(cfg.get("activation")).get("cls") or head.get("cls")
    kind = {"TopK": "topk", "BatchTopK": "topk", "AbsBatchTopK": "topk"}.get(str(activation), "standard")
    width, count = cfg.get("d_model", cfg.get("d_vit")), cfg.get("d_sae")
    if count is None and isinstance(width, int) and isinstance(cfg.get("exp_factor"), int):
        count = width * cfg["exp_factor"]
    told = {
        "apply_b_dec_to_input": not isinstance(schema, int) or schema < 2, "d_in": width, "d_sae": count,
        "architecture": kind,
    }  # fmt: skip
    return read_sae(tensors, told, file, form=f"saev, {activation or 'Relu'}")


def read_sae(
    tensors: Tensors,
    cfg: Mapping[str, Any],
    file: str,
    *,
    form: str,
    layer: str | None = None,
    token: str | None = None,
) -> ConceptTable:
    """Tensors of these names by a configuration with the keys of SAELens; an empty one says nothing."""
    architecture = str(cfg.get("architecture") or "standard").lower()
    if architecture not in ARCHITECTURES:
        raise WeightsError(
            f"{file}: architecture {architecture!r} is not read; these are: {', '.join(ARCHITECTURES)}"
        )
    width, count = (n if isinstance(n := cfg.get(key), int) else None for key in ("d_in", "d_sae"))
    decoder = numbers_of(_tensor(tensors, "W_dec", file), "W_dec", file, (count, width))
    count, width = decoder.shape
    rescale = cfg.get("normalize_activations", "none")
    if not isinstance(rescale, str | bool | None) or rescale not in _RESCALES:
        raise WeightsError(
            f"{file}: normalize_activations {rescale!r} is not read; {', '.join(map(str, _RESCALES))} are"
        )
    notes = (
        (
            "was trained on activations divided by one factor, which is taken as 1: a latent's value is off by it",
        )
        if rescale in _BY_A_FACTOR
        else ()
    )
    weights, bias = _encoder(tensors, file, (width, count))
    if cfg.get("rescale_acts_by_decoder_norm") is True:
        lengths = np.linalg.norm(decoder, axis=1)
        weights, bias = weights * lengths, bias * lengths
    if cfg.get("apply_b_dec_to_input", True) and "b_dec" in tensors:
        bias = bias - numbers_of(tensors["b_dec"], "b_dec", file, (width,), axis=None) @ weights
    encoder = Encoder(np.ascontiguousarray(weights.T), bias.astype(np.float32), _RESCALES[rescale])
    return ConceptTable(form, decoder, encoder, layer=layer, token=token, notes=notes)


def _encoder(tensors: Tensors, file: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The affine map before the activation: weights (d_in, d_sae), bias (d_sae,), b_dec not yet taken away."""
    weights = numbers_of(_tensor(tensors, "W_enc", file), "W_enc", file, shape, axis=1)
    count = (shape[1],)
    if "r_mag" in tensors:  # gated: the magnitude, whose gate has the same direction
        gain = np.exp(numbers_of(tensors["r_mag"], "r_mag", file, count))
        return weights * gain, numbers_of(_tensor(tensors, "b_mag", file), "b_mag", file, count)
    if "b_enc" not in tensors:
        return weights, np.zeros(count, np.float32)
    return weights, numbers_of(tensors["b_enc"], "b_enc", file, count)


def _tensor(tensors: Tensors, name: str, file: str) -> np.ndarray:
    if name not in tensors:
        raise WeightsError(f"{file} lacks {name} (it holds {', '.join(sorted(tensors)[:8])})")
    return tensors[name]


def _hook(hook: object, head: object) -> str | None:
    """A hook's name; with the head where an autoencoder is of one attention head, which is no layer of ours."""
    if not isinstance(hook, str):
        return None
    return hook if head is None else f"{hook}[head {head}]"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
