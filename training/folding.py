"""Batch norm folded into the convolutions, and the weights as Keras lays them out.

A folded network is a table of tensors LAYER/kernel, (kh, kw, in, out) for a convolution and (in, out)
for a dense layer, and LAYER/bias (out,).
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
import torch.nn as nn
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from training.architectures import ARCHITECTURES, find_architecture
from training.errors import TrainingError
from training.files import write_whole
from training.networks import Conv, Network

Weights = Mapping[str, Tensor]


@torch.no_grad()
def fold(network: Network) -> dict[str, Tensor]:
    """The weights of the folded network, float32: w * gamma / sqrt(var + eps), beta - mean * the same."""
    weights = {}
    for name, unit in network.units.items():
        if isinstance(unit, Conv):
            kernel, bias = _folded(unit)
            weights[f"{name}/kernel"], weights[f"{name}/bias"] = kernel.permute(2, 3, 1, 0), bias
        elif isinstance(unit, nn.Linear):
            weights[f"{name}/kernel"], weights[f"{name}/bias"] = unit.weight.T, unit.bias
    return {name: tensor.detach().float().cpu().contiguous() for name, tensor in weights.items()}


def unfold(weights: Weights) -> Network:
    """The folded network, in evaluation mode, that these weights belong to; found by their names."""
    arch = find_architecture(set(weights))
    if arch is None:
        raise TrainingError(
            f"the weights' {len(weights)} tensors ({', '.join(sorted(weights)[:3])}, ...) fit no "
            f"architecture; allowed: the folded weights of {', '.join(ARCHITECTURES)}"
        )
    network = Network(arch, len(weights["predictions/bias"]), folded=True)
    for name, unit in network.units.items():
        if isinstance(unit, Conv):
            _fill(unit.conv.weight, weights[f"{name}/kernel"].permute(3, 2, 0, 1), f"{name}/kernel")
            _fill(unit.conv.bias, weights[f"{name}/bias"], f"{name}/bias")
        elif isinstance(unit, nn.Linear):
            _fill(unit.weight, weights[f"{name}/kernel"].T, f"{name}/kernel")
            _fill(unit.bias, weights[f"{name}/bias"], f"{name}/bias")
    return network.eval()


@torch.no_grad()
def add_batch_norm(folded: Network, pixels: Tensor) -> Network:
    """A network to train on from where a folded one stands: it has batch norm and computes the same.

    Each batch norm gets the statistics that its convolution has over `pixels` (B, 3, H, W), RGB 0..255, and
    the scale and shift that undo them but for the folded bias.
    """
    network = Network(folded.arch, folded.classes)
    network.load_state_dict(folded.state_dict(), strict=False)  # no norm in it, but biases
    units = [(unit, folded.units[name]) for name, unit in network.units.items()]
    hooks = [
        unit.norm.register_forward_pre_hook(partial(_undo_norm, bias=source.conv.bias))
        for unit, source in units
        if isinstance(unit, Conv) and isinstance(source, Conv)
    ]
    network.eval()(pixels)  # each batch norm is set, then passed
    for hook in hooks:
        hook.remove()
    return network


def half(weights: Weights) -> dict[str, Tensor]:
    """The weights as float16, as they ship; TrainingError where one is too large for it."""
    halves = {name: tensor.to(torch.float16) for name, tensor in weights.items()}
    for name, tensor in halves.items():
        if not torch.isfinite(tensor).all():
            raise TrainingError(f"'{name}' has values beyond float16's 65504")
    return halves


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"cannot read weights from {path}: {error}") from error


def write_weights(path: Path, weights: Weights, metadata: Mapping[str, str]) -> None:
    """Write the tensors, and strings that say what they are, as a whole safetensors file.

    The same weights and strings give the same bytes: safetensors itself writes the strings in any order.
    """
    data = save({name: tensor.contiguous() for name, tensor in weights.items()})
    length = int.from_bytes(data[:8], "little")
    table = {"__metadata__": dict(metadata)} | json.loads(data[8 : 8 + length])
    header = json.dumps(table, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the tensors stay aligned
    whole = len(header).to_bytes(8, "little") + header + data[8 + length :]
    write_whole(path, lambda part: part.write_bytes(whole))


def _undo_norm(norm: nn.BatchNorm2d, inputs: tuple[Tensor], bias: Tensor | None) -> None:
    """Before `norm` sees its inputs: set it so that in evaluation mode it only adds the bias (C,)."""
    assert bias is not None
    variance, mean = torch.var_mean(inputs[0], (0, 2, 3))
    norm.running_mean, norm.running_var = mean, variance
    norm.weight.copy_(torch.sqrt(variance + norm.eps))
    norm.bias.copy_(mean + bias)


def _folded(unit: Conv) -> tuple[Tensor, Tensor]:
    """Kernel (out, in, kh, kw) and bias (out,) of a convolution with its batch norm, if it has one."""
    kernel, bias, norm = unit.conv.weight, unit.conv.bias, unit.norm
    if not isinstance(norm, nn.BatchNorm2d):
        assert bias is not None
        return kernel, bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return kernel * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale


@torch.no_grad()
def _fill(parameter: Tensor | None, tensor: Tensor, name: str) -> None:
    assert parameter is not None
    if parameter.shape != tensor.shape:
        raise TrainingError(
            f"'{name}' has the shape {tuple(tensor.shape)} (output channels first); "
            f"allowed: {tuple(parameter.shape)}"
        )
    parameter.copy_(tensor)
