"""Trains a sparse autoencoder on the tokens of a layer of a vision transformer, and saves it in SAELens' form.

python -m training.sae --weights dinov2-vits14.safetensors --photographs DIR --tiny-imagenet DIR --out sae
python -m training.sae share --sae sae --weights dinov2-vits14.safetensors --photographs DIR --latents 16

A TopK autoencoder (Gao et al. 2024, "Scaling and evaluating sparse autoencoders"): of each token's latents the k largest
are kept. Decoder rows have length 1, the encoder starts as their transpose, and latents that no token used for a while
learn from what the others leave over (their auxiliary loss). Tokens are scaled to a mean length of the square root of their
width while it learns; the factor is folded into the weights that are saved, so that they take the layer's own values.

`share` draws latents and counts those whose picture excites them more than any of the photographs does.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

import filterscope as fs
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Run
from filterscope.measure.activations import gather
from filterscope.measure.concepts import concepts_at
from filterscope.networks.torch_state import in_our_torch
from filterscope.pictures.reading import list_images, load_batch
from training.data import open_data
from training.files import write_json, write_whole
from training.progress import progress

NETWORK = "timm:vit_small_patch14_dinov2"
TOGETHER = 16  # pictures that go through the network at a time
SMALL_SIDE = 112  # pixels to which those of Tiny ImageNet are enlarged: 8 x 8 patches


@dataclass(frozen=True)
class Settings:
    """How an autoencoder learns. unused: steps after which a latent that no token used learns from what is left over."""

    latents: int = 2048
    k: int = 32
    epochs: int = 4
    batch: int = 2048
    rate: float = 1e-3
    unused: int = 50
    leftover: float = 1 / 32
    seed: int = 0


@in_our_torch
def tokens_of(network: fs.Network, layer: str, pixels: Tensor) -> Tensor:
    """The layer's tokens for pictures (B, 3, H, W), pixel values: (B * patches, channels)."""
    probe = network.probe([layer]).eval()
    found = []
    with torch.no_grad():
        for some in torch.split(pixels, TOGETHER):
            (maps,) = probe(network.input.preprocess(some.float()))
            found.append(maps.flatten(2).transpose(1, 2).reshape(-1, maps.shape[1]))
    return torch.cat(found)


def all_tokens(network: fs.Network, layer: str, photographs: Path, tiny: Path | None, count: int) -> Tensor:
    """The tokens of a folder of photographs, and of `count` pictures of Tiny ImageNet, enlarged; (N, channels), float16."""
    found = []
    files = list_images(photographs)
    for begin in progress(range(0, len(files), TOGETHER), "photographs"):
        found.append(
            tokens_of(network, layer, load_batch(files[begin : begin + TOGETHER], network.input)).half()
        )
    if tiny is not None and count:
        images = open_data(tiny).pictures("train", count).images.permute(0, 3, 1, 2)
        for begin in progress(range(0, len(images), TOGETHER), "Tiny ImageNet"):
            some = F.interpolate(
                images[begin : begin + TOGETHER].float(), size=SMALL_SIDE, mode="bicubic"
            ).clamp(0, 255)
            found.append(tokens_of(network, layer, some).half())
    return torch.cat(found)


class TopK(torch.nn.Module):
    """The autoencoder, by SAELens' names: W_enc (d_in, d_sae), b_enc, W_dec (d_sae, d_in), b_dec."""

    def __init__(self, width: int, settings: Settings, mean: Tensor):
        super().__init__()
        self.k = settings.k
        rows = F.normalize(
            torch.randn(settings.latents, width, generator=torch.Generator().manual_seed(settings.seed)),
            dim=1,
        )
        self.W_dec = torch.nn.Parameter(rows)
        self.W_enc = torch.nn.Parameter(rows.T.clone())
        self.b_enc = torch.nn.Parameter(torch.zeros(settings.latents))
        self.b_dec = torch.nn.Parameter(mean.clone())

    def before(self, x: Tensor) -> Tensor:
        """The latents before their activation, (N, d_sae)."""
        return (x - self.b_dec) @ self.W_enc + self.b_enc

    def decode(self, values: Tensor, places: Tensor) -> Tensor:
        """What some latents of each token, (N, k), make of it, without b_dec."""
        return F.embedding_bag(places, self.W_dec, per_sample_weights=values, mode="sum")


def train(tokens: Tensor, settings: Settings) -> tuple[dict[str, Tensor], dict[str, float]]:
    """An autoencoder's tensors for the tokens (N, channels), and how well it does: the share of variance explained and of
    latents that any token of the last steps used."""
    width = tokens.shape[1]
    scale = width**0.5 / float(tokens[::97].float().norm(dim=1).mean())
    order = torch.Generator().manual_seed(settings.seed)
    model = TopK(width, settings, tokens[::97].float().mean(0) * scale)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.rate, betas=(0.9, 0.999))
    idle = torch.zeros(settings.latents, dtype=torch.long)
    steps = settings.epochs * (len(tokens) // settings.batch)
    explained, begun = 0.0, time.monotonic()
    for step in range(steps):
        if step % (steps // settings.epochs) == 0:
            shuffled = torch.randperm(len(tokens), generator=order)
        place = step % (steps // settings.epochs) * settings.batch
        x = tokens[shuffled[place : place + settings.batch]].float() * scale
        rate = settings.rate * min(1.0, (step + 1) / 20, 5 * (steps - step) / steps)
        optimizer.param_groups[0]["lr"] = rate
        before = model.before(x)
        values, places = before.topk(model.k, dim=1)
        left = x - model.b_dec - model.decode(values.relu(), places)
        loss = left.square().sum(1).mean()
        idle += 1
        idle[places[values > 0].unique()] = 0
        sleeping = (idle > settings.unused).nonzero().flatten()
        if len(sleeping):
            k = min(width // 2, len(sleeping))
            more, which = before[:, sleeping].topk(k, dim=1)
            rest = left.detach() - model.decode(more.relu(), sleeping[which])
            loss = loss + settings.leftover * rest.square().sum(1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.W_dec.data = F.normalize(model.W_dec.data, dim=1)
        explained = 1 - float(left.detach().square().sum() / (x - x.mean(0)).square().sum())
        if step % 20 == 0 or step == steps - 1:
            print(
                f"step {step + 1} of {steps}: {explained:.1%} of variance explained, {len(sleeping)} latents unused, "
                f"{time.monotonic() - begun:.0f} s",
                file=sys.stderr,
            )
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    state = {
        "W_enc": state["W_enc"] * scale, "W_dec": state["W_dec"] / scale, "b_enc": state["b_enc"],
        "b_dec": state["b_dec"] / scale,
    }  # fmt: skip
    used = float((idle <= settings.unused).float().mean())
    return state, {"explained_variance": explained, "used": used, "tokens": len(tokens)}


def save(
    folder: Path, state: dict[str, Tensor], layer: str, settings: Settings, told: dict[str, float]
) -> None:
    """Write SAELens' folder: cfg.json and sae_weights.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    latents, width = state["W_dec"].shape
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    write_whole(folder / "sae_weights.safetensors", lambda part: save_file(tensors, part))
    write_json(
        folder / "cfg.json",
        {
            "architecture": "topk", "k": settings.k, "d_in": width, "d_sae": latents, "dtype": "float32", "device": "cpu",
            "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
            "metadata": {"model_name": NETWORK, "hook_name": f"{layer}.hook_resid_post", "hook_head_index": None, **told},
        },
    )  # fmt: skip


def share(
    network: fs.Network,
    sae: Path,
    photographs: Path,
    latents: int,
    recipe: fs.Recipe,
    out: Path,
    seed: int = 0,
) -> dict[str, object]:
    """Draw some latents, chosen by the seed among those that a photograph activates, and count those whose picture excites
    them more than any photograph (each the mean over the map of the value before the activation)."""
    units = concepts_at(network, str(sae), how="latent")
    files = list_images(photographs)
    found = gather(
        network, [units.key], files, folder=photographs, concepts={units.key: units}, batch=TOGETHER,
    )  # fmt: skip
    gathered = found.layers[units.key]
    awake = np.flatnonzero(gathered.peak.numpy() > 0)
    chosen = sorted(
        np.random.default_rng(seed).choice(awake, min(latents, len(awake)), replace=False).tolist()
    )
    best = gathered.values.max(0)
    pictures = list(draw(network, units.goals(chosen), recipe, Run(seed)))
    sheet = fs.Sheet(pictures)
    out.mkdir(parents=True, exist_ok=True)
    sheet.save(out)
    rows = [
        {"latent": number, "picture": p.scores.activation, "best_photograph": float(best[number])}
        for number, p in zip(chosen, pictures, strict=True)
    ]
    more = sum(row["picture"] > row["best_photograph"] for row in rows)
    result = {
        "latents": len(rows),
        "more_than_any_photograph": more,
        "active_on_photographs": len(awake),
        "rows": rows,
    }
    write_json(out / "share.json", result)
    return result


def main(argv: list[str] | None = None) -> int:
    """Train, or count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["train", "share"], default="train")
    parser.add_argument("--weights", type=Path, required=True, help="the network's weights")
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--tiny-imagenet", type=Path)
    parser.add_argument("--small-pictures", type=int, default=1500, help="pictures of Tiny ImageNet")
    parser.add_argument("--layer", default="blocks.8")
    parser.add_argument("--latents", type=int, default=None, help="2048 to train, 16 to draw")
    parser.add_argument("--epochs", type=int, default=Settings.epochs)
    parser.add_argument("--steps", type=int, default=64, help="of each picture's ascent")
    parser.add_argument("--size", type=int, default=None, help="of each picture, in pixels")
    parser.add_argument("--sae", type=Path, default=Path("sae"))
    parser.add_argument("--out", type=Path, default=None)
    asked = parser.parse_args(argv)
    network = fs.open_network(NETWORK, weights=asked.weights)
    if asked.what == "share":
        recipe = fs.get_recipe("sharp", steps=asked.steps, size=asked.size)
        out = asked.out or Path("latents")
        result = share(network, asked.sae, asked.photographs, asked.latents or 16, recipe, out)
        print(json.dumps(result, indent=1))
        return 0
    settings = Settings(latents=asked.latents or Settings.latents, epochs=asked.epochs)
    tokens = all_tokens(network, asked.layer, asked.photographs, asked.tiny_imagenet, asked.small_pictures)
    state, told = train(tokens, settings)
    save(asked.out or Path("sae"), state, asked.layer, settings, told)
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
