"""Recipe: every setting of the ascent, as data, and the presets; free of torch.

recipe = get_recipe("blog", steps=300)
recipe = recipe.changed({"optimizer.lr": 0.5, "regularizers.lp_norm.p": "inf"})
Recipe.model_validate_json(recipe.model_dump_json()) == recipe
"""

from filterscope.recipe.auto import AUTO, AutoRecipe, ask_recipe, read_asked, record_asked
from filterscope.recipe.parts import (
    Backward,
    Cppn,
    Crop,
    Facets,
    Fourier,
    Image,
    Jitter,
    LpNorm,
    NaturalSpectrum,
    Noise,
    Optimizer,
    Pad,
    Phase,
    Pixels,
    RandomResizedCrop,
    Regularizer,
    Rotate,
    Scale,
    Stage,
    TotalVariation,
    Transform,
    count_views,
)
from filterscope.recipe.presets import ALIASES, LADDER, PRESETS, get_recipe
from filterscope.recipe.recipe import Recipe, read_recipe
from filterscope.recipe.settings import parse_settings, setting_keys

__all__ = [
    "ALIASES",
    "AUTO",
    "LADDER",
    "PRESETS",
    "AutoRecipe",
    "Backward",
    "Cppn",
    "Crop",
    "Facets",
    "Fourier",
    "Image",
    "Jitter",
    "LpNorm",
    "NaturalSpectrum",
    "Noise",
    "Optimizer",
    "Pad",
    "Phase",
    "Pixels",
    "RandomResizedCrop",
    "Recipe",
    "Regularizer",
    "Rotate",
    "Scale",
    "Stage",
    "TotalVariation",
    "Transform",
    "ask_recipe",
    "count_views",
    "get_recipe",
    "parse_settings",
    "read_asked",
    "read_recipe",
    "record_asked",
    "setting_keys",
]
