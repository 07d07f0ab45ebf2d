"""The kinds of files that people have, and what to do with each, as NET and as weights."""

from __future__ import annotations

from dataclasses import dataclass

HOW_TO_SAVE = (
    "where the model loads, save its tensors alone with torch.save(model.state_dict(), 'weights.pt') and give NET as "
    "file.py:factory with weights='weights.pt'"
)
_FACTORY = "give NET as a name (filterscope models) or as file.py:factory, and the file as weights="
_ORIGINAL = (
    "give the network that it was made from, as a name or file.py:factory, with that one's own weights"
)
_KERAS = "save it as one file where it loads: tf_keras.models.load_model('{name}').save('model.h5')"
_FETCH = "fetch the file itself"


@dataclass(frozen=True)
class Kind:
    """What a file is called, and what to do with it where it is named as NET and as weights."""

    what: str
    network: str
    weights: str = ""


KINDS: dict[str, Kind] = {
    # kinds that are read, in their own places
    "hdf5": Kind(
        "an HDF5 file", "a Keras model in such a file ends in .h5", "Keras' weights in such a file end in .h5"
    ),
    "keras": Kind(
        "a whole Keras model", "name it FILE.keras", "a whole model is NET itself: name it FILE.keras there"
    ),
    "program": Kind(
        "a torch.export program",
        "name it FILE.pt2",
        "a program is NET itself, with its own weights: leave out weights=",
    ),
    "safetensors": Kind(
        "weights (safetensors) and holds no architecture", _FACTORY, "such a file ends in .safetensors"
    ),
    "checkpoint": Kind(
        "a PyTorch checkpoint, which holds weights and no architecture",
        _FACTORY,
        "Keras' networks take .safetensors, .weights.h5 or .h5",
    ),
    # kinds of which reading would run code
    "whole-model": Kind(
        "a whole pickled PyTorch model, which is never opened since that would run its code", HOW_TO_SAVE
    ),
    "pickled-model": Kind(
        "a pickled Python object, which is never opened since that would run its code", HOW_TO_SAVE
    ),
    "pickle": Kind("a Python pickle, which is never opened since that could run code", HOW_TO_SAVE),
    "torchscript": Kind(
        "a TorchScript archive, whose compiled code is never run",
        "give the network that it was made from as a name or file.py:factory; its weights are saved by "
        "torch.save(torch.jit.load('{name}').state_dict(), 'weights.pt'), to be given as weights='weights.pt'",
        "torch.save(torch.jit.load('{name}').state_dict(), 'weights.pt') saves its weights alone, to be given "
        "as weights='weights.pt'",
    ),
    "torchserve": Kind("a TorchServe archive", f"unpack it: {_ORIGINAL}"),
    "library": Kind("compiled code, which is never run", _ORIGINAL),
    # kinds of other programs
    "onnx": Kind(
        "an ONNX model, which is not read",
        "give the network that it was exported from, or a file.py:factory that turns it into a torch module "
        "(onnx2torch.convert('{name}'))",
        "give the weights that it was exported from",
    ),
    "ort": Kind("an ONNX Runtime model, which is not read", _ORIGINAL),
    "saved-model": Kind("a TensorFlow SavedModel, which is not read", _KERAS),
    "tensorflow-graph": Kind(
        "a TensorFlow graph (protobuf), which is not read", f"{_ORIGINAL}; a SavedModel is its folder"
    ),
    "tensorflow-checkpoint": Kind(
        "a TensorFlow checkpoint, which is not read",
        "load it into its Keras model and save that: model.load_weights('{name}'), then model.save('model.keras')",
        "load it into its Keras model and save that one's weights: model.save_weights('model.weights.h5')",
    ),
    "tflite": Kind("a TensorFlow Lite model, which is not read", f"{_ORIGINAL} (of Keras: FILE.keras)"),
    "coreml": Kind("a Core ML model, which is not read", _ORIGINAL),
    "tensorrt": Kind("a TensorRT engine, which is compiled for one GPU", _ORIGINAL),
    "openvino": Kind("an OpenVINO model, which is not read", _ORIGINAL),
    "gguf": Kind("a GGUF file, as language models have them", "filterscope draws networks that see pictures"),
    "caffe": Kind(
        "a Caffe model, which is not read", "torchvision, timm and Keras have most of Caffe's networks"
    ),
    "darknet": Kind("a Darknet file, which is not read", _ORIGINAL),
    "paddle": Kind("a Paddle model, which is not read", _ORIGINAL),
    "mxnet": Kind("an MXNet file, which is not read", "timm has most of its networks: timm:NAME"),
    "flax": Kind("Flax weights (msgpack), which are not read", _ORIGINAL),
    "torch7": Kind("a file of Lua Torch, which is not read", _ORIGINAL),
    "rknn": Kind("an RKNN model, which is compiled for one processor", _ORIGINAL),
    "mat": Kind("a MATLAB file, which is not read", _ORIGINAL),
    "npz": Kind(
        "NumPy arrays (.npz) and no model",
        _FACTORY,
        "save them as safetensors: safetensors.numpy.save_file(dict(numpy.load('{name}')), 'weights.safetensors')",
    ),
    "npy": Kind(
        "a NumPy array and no model", _FACTORY, "weights are files of named tensors, as .safetensors"
    ),
    "hub-folder": Kind(
        "a folder of the Hugging Face hub",
        "load it in Python and pass the model (transformers.AutoModel.from_pretrained('{name}')), or write a "
        "file.py:factory that does",
        "give the .safetensors file in it",
    ),
    "distributed": Kind(
        "a distributed checkpoint's folder",
        "make one file of it (torch.distributed.checkpoint.format_utils.dcp_to_torch_save), to be given as weights=",
    ),
    "atlas": Kind("an atlas", "filterscope view {name} shows it; NET is a network"),
    "folder": Kind(
        "a folder",
        "NET is a name, or a file: FILE.keras, FILE.h5, FILE.pt2, FILE.py:FACTORY",
        "name a file in it",
    ),
    # what is no model at all
    "empty": Kind("an empty file", "fetch or save it again"),
    "git-lfs": Kind("a pointer of git-lfs in place of a file", f"{_FETCH} (git lfs pull)"),
    "git-annex": Kind("a pointer of git-annex in place of a file", f"{_FETCH} (git annex get)"),
    "web-page": Kind(
        "a web page",
        "what was downloaded is a page about the file, or an error: fetch the file itself (on GitHub by its raw link, on "
        "the Hugging Face hub with /resolve/ in place of /blob/)",
    ),
    "json": Kind(
        "JSON text",
        "a config holds no weights: NET is FILE.keras, FILE.h5, FILE.pt2 or FILE.py:FACTORY",
        "an index or a config holds no weights: name the file that does",
    ),
    "settings": Kind(
        "a file of settings", "NET is FILE.keras, FILE.h5, FILE.pt2 or FILE.py:FACTORY", "name the weights"
    ),
    "notebook": Kind(
        "a notebook", "copy what makes the network into a file and give FILE.py:FACTORY", "name the weights"
    ),
    "picture": Kind(
        "a picture", "NET comes before it, as in filterscope dream NET IMAGE", "weights are no picture"
    ),
    "document": Kind("a PDF document", "NET is a network", "name the weights"),
    "tar": Kind("a tar archive", "unpack it (tar xf {name}) and name the file in it"),
    "zip": Kind("a zip archive without a model of a known kind", "unpack it and name the file in it"),
    "damaged-zip": Kind("a zip archive that is damaged or cut short", "fetch or save it again"),
    "compressed": Kind("a compressed file", "unpack it and name the file in it"),
}
