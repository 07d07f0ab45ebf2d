"""Vision transformers of timm and torchvision at other sizes than the one their table of positions was made for.

The table is resampled as these libraries do it: timm's at each forward pass, so that any multiple of the patch runs,
torchvision's and that of timm's other networks of one size when the network is opened.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from filterscope.networks.input_spec import InputSpec
from filterscope.networks.pytorch.checkpoint import Renaming, without_prefixes
from filterscope.sides import Size

USUAL = 224  # px: the pictures of nearly all training, also where a last part of it had larger ones


def timm_module(
    timm: ModuleType, name: str, create: Callable[..., nn.Module], size: Size | None
) -> nn.Module:
    """A network of timm that names one size: for any multiple of its patch where it has a table of positions that it can
    resample at each pass, else for `size`.

    create: makes it from settings, and raises TypeError for a setting that it does not have.
    """
    if hasattr(
        _file_of(timm, name), "resample_abs_pos_embed"
    ):  # windows are cut anew too, but cannot be traced
        with contextlib.suppress(TypeError):
            return create(dynamic_img_size=True)
    return create(img_size=size) if size else create()


def _file_of(timm: ModuleType, name: str) -> ModuleType | None:
    return sys.modules.get(timm.model_entrypoint(name).__module__)


def usual_input(module: nn.Module, spec: InputSpec, classes: bool) -> InputSpec:
    """The input of a network whose positions are resampled at each pass: without classes, which depend on the size of
    the training pictures most, the multiple of its patch nearest 224 px where its own size is larger."""
    patch = getattr(getattr(module, "patch_embed", None), "patch_size", None)
    if classes or not getattr(module, "dynamic_img_size", False) or not isinstance(patch, tuple):
        return spec
    usual = max(1, round(USUAL / patch[0])) * patch[0]
    own = spec.size
    return (
        replace(spec, size=usual) if isinstance(own, int) and own > usual and patch[0] == patch[1] else spec
    )


def timm_names(timm: ModuleType, name: str, module: nn.Module) -> Renaming | None:
    """timm's own filter of a network's weights: other names, other shapes, positions of another size; None without."""
    adapt = getattr(_file_of(timm, name), "checkpoint_filter_fn", None)
    return partial(_adapted, adapt, module) if adapt else None


def _adapted(
    adapt: Callable[[dict[str, Tensor], nn.Module], Mapping[Any, Any]],
    module: nn.Module,
    tensors: Mapping[str, Tensor],
) -> Mapping[str, Tensor]:
    plain = without_prefixes(tensors, module.state_dict())
    try:
        found = adapt(dict(plain), module)
    except (
        Exception
    ):  # what timm raises on weights of another network; these are told by their names and shapes
        return tensors
    return {str(n): t for n, t in found.items() if isinstance(t, Tensor)}


def torchvision_names(models: ModuleType, module: nn.Module) -> Renaming | None:
    """Weights of a torchvision ViT with the positions for the module's size; None for other networks."""
    if not isinstance(module, models.VisionTransformer):
        return None
    return partial(_resampled, models.vision_transformer.interpolate_embeddings, module)


def _resampled(
    interpolate: Callable[..., Mapping[str, Tensor]], module: Any, tensors: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    plain = without_prefixes(tensors, module.state_dict())
    if "encoder.pos_embedding" not in plain:
        return tensors
    try:
        return interpolate(module.image_size, module.patch_size, dict(plain))
    except ValueError:  # positions that are no square
        return tensors


def torchvision_resized(models: ModuleType, name: str, module: Any, size: Size | None) -> nn.Module:
    """A torchvision ViT for pictures of another size, its positions resampled; any other network as it is."""
    names = torchvision_names(models, module)
    if names is None or not isinstance(size, int) or size == module.image_size or size % module.patch_size:
        return module  # type: ignore[no-any-return]
    other: nn.Module = models.get_model(name, weights=None, image_size=size)
    resample = torchvision_names(models, other)
    assert resample is not None
    other.load_state_dict(dict(resample(module.state_dict())))
    return other
