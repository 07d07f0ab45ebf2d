"""Files of concepts as other libraries write them, made from their own descriptions (see filterscope.networks.concepts):
each with what its library computes of it, written out here once more.

    made = FORMS["saelens-topk"](tmp_path)
    made.path                  # the file or folder
    made.directions            # (concepts, channels), what its dictionary is
    made.latents(x)            # (places, concepts), its latents before their activation; None where it has none
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor

WIDTH, COUNT = 6, 9
HOOK = "blocks.1.hook_resid_post"


@dataclass
class Made:
    """A file, and what its library makes of it."""

    path: Path
    directions: Tensor
    latents: Callable[[Tensor], Tensor] | None = None
    layer: str | None = None
    names: tuple[str, ...] = ()


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def sae_tensors(architecture: str = "standard") -> dict[str, Tensor]:
    """The tensors of SAELens' and ViT-Prisma's autoencoders."""
    found = {
        "W_enc": numbers(WIDTH, COUNT), "W_dec": numbers(COUNT, WIDTH, seed=1), "b_dec": numbers(WIDTH, seed=2),
        "b_enc": numbers(COUNT, seed=3),
    }  # fmt: skip
    if architecture == "gated":
        del found["b_enc"]
        found |= {name: numbers(COUNT, seed=4 + i) for i, name in enumerate(("b_gate", "b_mag", "r_mag"))}
    if architecture == "jumprelu":
        found["threshold"] = numbers(COUNT, seed=7).abs()
    return found


def layer_norm(x: Tensor) -> Tensor:
    """run_time_activation_ln_in"""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.std(-1, keepdim=True) + 1e-5)


def constant_norm(x: Tensor) -> Tensor:
    """run_time_activation_norm_fn_in"""
    return x * WIDTH**0.5 / x.norm(dim=-1, keepdim=True)


def saelens(architecture: str, rescale=lambda x: x, **cfg) -> Callable[[Path], Made]:
    """`SAE.save_model` of SAELens 6."""

    def make(folder: Path) -> Made:
        tensors = sae_tensors(architecture)
        place = folder / f"sae-{architecture}"
        place.mkdir()
        save_file({name: t.numpy() for name, t in tensors.items()}, place / "sae_weights.safetensors")
        told = {
            "d_in": WIDTH, "d_sae": COUNT, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True,
            "normalize_activations": "none", "reshape_activations": "none", "architecture": architecture,
            "metadata": {"model_name": "toy", "hook_name": HOOK, "hook_head_index": None}, **cfg,
        }  # fmt: skip
        (place / "cfg.json").write_text(json.dumps(told))

        def latents(x: Tensor) -> Tensor:
            x = rescale(x) - tensors["b_dec"] * told["apply_b_dec_to_input"]
            if architecture == "gated":
                return x @ (tensors["W_enc"] * tensors["r_mag"].exp()) + tensors["b_mag"]
            return x @ tensors["W_enc"] + tensors["b_enc"]

        return Made(place, tensors["W_dec"], latents, HOOK)

    return make


def prisma(folder: Path) -> Made:
    """config.json beside weights.pt, with the dataclass' own keys."""
    tensors = sae_tensors()
    place = folder / "prisma"
    place.mkdir()
    torch.save(tensors, place / "weights.pt")
    told = {
        "hook_point_layer": 1, "layer_subtype": "hook_mlp_out", "d_in": WIDTH, "d_sae": COUNT, "architecture": "standard",
        "normalize_activations": "layer_norm", "activation_fn_str": "relu", "cls_token_only": False,
        "device": {"__type__": "torch.device", "value": "cpu"},
    }  # fmt: skip
    (place / "config.json").write_text(json.dumps(told))
    return Made(
        place, tensors["W_dec"], lambda x: (layer_norm(x) - tensors["b_dec"]) @ tensors["W_enc"] + tensors["b_enc"],
        "blocks.1.hook_mlp_out",
    )  # fmt: skip


def saev(schema: int | None) -> Callable[[Path], Made]:
    """`dump`: a line of JSON, then the state dict."""

    def make(folder: Path) -> Made:
        tensors = sae_tensors()
        cfg: dict = {"d_vit": WIDTH, "exp_factor": COUNT / WIDTH, "seed": 0}
        if schema == 4:
            cfg = {"d_model": WIDTH, "d_sae": COUNT, "activation": {"cls": "TopK", "params": {"top_k": 3}}}
        head = cfg if schema is None else {"schema": schema, "cfg": cfg, "commit": "unknown", "lib": "0.1"}
        path = folder / "sae.pt"
        with path.open("wb") as file:
            file.write((json.dumps(head) + "\n").encode())
            torch.save(tensors, file)
        taken = tensors["b_dec"] if schema in (None, 1) else 0  # until schema 2
        return Made(path, tensors["W_dec"], lambda x: (x - taken) @ tensors["W_enc"] + tensors["b_enc"])

    return make


def overcomplete(folder: Path) -> Made:
    """The state dict of an SAE with a linear encoder and its batch norm."""
    linear, norm = torch.nn.Linear(WIDTH, COUNT), torch.nn.BatchNorm1d(COUNT).eval()
    norm.running_mean, norm.running_var = numbers(COUNT), numbers(COUNT, seed=5).abs() + 0.5
    state = {"dictionary._weights": numbers(COUNT, WIDTH)}
    state |= {f"encoder.final_block.0.{name}": t for name, t in linear.state_dict().items()}
    state |= {f"encoder.final_block.1.{name}": t for name, t in norm.state_dict().items()}
    torch.save(state, folder / "overcomplete.pth")
    return Made(folder / "overcomplete.pth", state["dictionary._weights"], lambda x: norm(linear(x)))


def archetypal(folder: Path) -> Made:
    """A relaxed archetypal dictionary: (W C + Relax) exp(multiplier)."""
    state = {
        "dictionary.C": numbers(20, WIDTH), "dictionary.W": numbers(COUNT, 20).softmax(1),
        "dictionary.Relax": 0.1 * numbers(COUNT, WIDTH), "dictionary.multiplier": torch.tensor(0.3),
    }  # fmt: skip
    torch.save({"state_dict": state}, folder / "ra.pt")
    mixed = state["dictionary.W"] @ state["dictionary.C"] + state["dictionary.Relax"]
    return Made(folder / "ra.pt", mixed * state["dictionary.multiplier"].exp())


def captum(folder: Path) -> Made:
    """`CAV.save`, of a layer whose values are flattened from (channels, 2, 2)."""
    weights = numbers(3, WIDTH * 4)
    told = {
        "concept_ids": [0, 1, 2], "concept_names": ["striped", "random_0", "random_1"], "layer": "blocks.1",
        "stats": {"weights": weights, "classes": np.array([2, 0, 1]), "accs": torch.tensor(0.9)},
    }  # fmt: skip
    path = folder / "0-1-2-blocks.1.pkl"
    torch.save(told, path)
    return Made(
        path,
        weights.reshape(3, WIDTH, 4).mean(2),
        layer="blocks.1",
        names=("random_1", "striped", "random_0"),
    )


def npy(folder: Path) -> Made:
    rows = numbers(COUNT, WIDTH)
    np.save(folder / "nmf.npy", rows.numpy())
    return Made(folder / "nmf.npy", rows)


def npz(folder: Path) -> Made:
    rows = numbers(COUNT, WIDTH)
    np.savez_compressed(folder / "nmf.npz", components=rows.numpy(), error=np.float64(0.1))
    return Made(folder / "nmf.npz", rows)


def safetensors(folder: Path) -> Made:
    rows = numbers(COUNT, WIDTH)
    names = [f"name {i}" for i in range(COUNT)]
    save_file(
        {"directions": rows.numpy().astype(np.float16)}, folder / "d.safetensors",
        metadata={"layer": "blocks.0", "names": json.dumps(names)},
    )  # fmt: skip
    return Made(folder / "d.safetensors", rows.half().float(), layer="blocks.0", names=tuple(names))


FORMS: dict[str, Callable[[Path], Made]] = {
    "saelens-standard": saelens("standard"),
    "saelens-topk": saelens("topk", constant_norm, k=3, normalize_activations="constant_norm_rescale"),
    "saelens-jumprelu": saelens("jumprelu", apply_b_dec_to_input=False),
    "saelens-gated": saelens("gated", layer_norm, normalize_activations="layer_norm"),
    "saelens-older": saelens("standard", metadata=None, hook_point=HOOK, hook_point_layer=1),
    "prisma": prisma,
    "saev": saev(None),
    "saev-2": saev(2),
    "saev-4": saev(4),
    "overcomplete": overcomplete,
    "archetypal": archetypal,
    "captum": captum,
    "npy": npy,
    "npz": npz,
    "safetensors": safetensors,
}
