"""networks/concepts: each form is read as its library means it; what is no such file is refused, and nothing of it run."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from tests.helpers.concept_files import COUNT, FORMS, HOOK, WIDTH, npz, numbers, sae_tensors, saelens
from torch import nn

import filterscope as fs
from filterscope.ascent.objectives import _along
from filterscope.errors import FilterscopeError, TargetError, WeightsError
from filterscope.networks.concepts.hooks import layer_of
from filterscope.networks.concepts.reading import read_concepts, sha256_concepts
from filterscope.networks.weights.table import sha256_file


class Block(nn.Module):
    """A block with a shortcut."""

    def __init__(self):
        super().__init__()
        self.mlp = nn.Conv2d(WIDTH, WIDTH, 1)
        self.add = nn.Identity()

    def forward(self, x):
        return self.add(x + self.mlp(x))


class Toy(nn.Module):
    """Two blocks behind a stem, maps of 2 x 2 at 8 px."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def toy():
    torch.manual_seed(0)
    return fs.open_network(Toy().eval(), size=8)


@pytest.fixture
def made(request, tmp_path):
    return FORMS[request.param](tmp_path)


@pytest.mark.parametrize("made", FORMS, indirect=True)
def test_each_form(made, toy):
    """Directions and latents are what the library computes, over a map's places; the layer is the one that is named."""
    layer = "*" if made.layer else "blocks.1"
    concept = toy.objectives(fs.Concept(layer, str(made.path), 2))[0]
    x = numbers(1, WIDTH, 3, 2)
    places = x[0].flatten(1).T  # (places, channels)
    torch.testing.assert_close(_along(x, concept), (places @ made.directions[2]).mean())
    cosine = toy.objectives(fs.Concept(layer, str(made.path), 2, "cosine"))[0]
    expected = torch.cosine_similarity(places, made.directions[2][None]).mean()
    torch.testing.assert_close(_along(x, cosine), expected)
    assert (concept.file, concept.name) == (made.path.name, made.names[2] if made.names else None)
    here = {HOOK: "blocks.1", "blocks.1.hook_mlp_out": "blocks.1.mlp"}
    assert concept.layer == here.get(made.layer, made.layer or "blocks.1")
    if made.latents is None:
        with pytest.raises(TargetError, match="has no latents to draw"):
            toy.objectives(fs.Concept(layer, str(made.path), 2, "latent"))
        return
    latent = toy.objectives(fs.Concept(layer, str(made.path), 2, "latent"))[0]
    torch.testing.assert_close(_along(x, latent), made.latents(places)[:, 2].mean(), atol=1e-4, rtol=1e-4)


def test_a_hash_that_sha256sum_prints(tmp_path):
    """Of a folder that of its weights file; the same by the path of that file."""
    folder = saelens("topk")(tmp_path).path
    weights = folder / "sae_weights.safetensors"
    assert read_concepts(folder).sha256 == sha256_file(weights) == read_concepts(weights).sha256
    assert read_concepts(weights).name == folder.name
    part = npz(tmp_path).path.with_name("nmf.npz#components")
    assert read_concepts(part).sha256 == sha256_concepts(part) != sha256_file(tmp_path / "nmf.npz")


def test_read_anew_after_a_change(tmp_path):
    """What was read is remembered while the file stays as it is."""
    path = tmp_path / "a.npy"
    np.save(path, np.ones((2, WIDTH), np.float32))
    assert read_concepts(path) is read_concepts(path)
    np.save(path, np.ones((3, WIDTH), np.float32))
    assert read_concepts(path).table.count == 3


@pytest.mark.parametrize(
    ("hook", "layer"),
    [
        ("blocks.1.hook_resid_post", "blocks.1"), ("blocks.1.hook_resid_pre", "blocks.0"),
        ("blocks.0.hook_resid_pre", "pos_drop"), ("blocks.1.hook_mlp_out", "blocks.1.mlp"),
        ("blocks.1.attn.hook_z", "blocks.1.attn.concat"), ("blocks.0.mlp.hook_post", "blocks.0.mlp.act"),
        ("blocks.1.mlp.act", "blocks.1.mlp.act"), ("blocks.1.hook_resid_mid", None), ("blocks.7.hook_resid_post", None),
        ("nonsense", None),
    ],
)  # fmt: skip
def test_hooks(hook, layer):
    """Names of TransformerLens' hooks, and of modules."""
    parts = ("", ".attn", ".attn.concat", ".mlp", ".mlp.fc1", ".mlp.act")
    layers = ["pos_drop", *(f"blocks.{i}{part}" for i in (0, 1) for part in parts)]
    found = layer_of(hook, layers)
    assert (found and found.layer) == layer


def test_hooks_of_torchvision():
    """A block has the name that the network gives it."""
    found = layer_of(
        "blocks.3.hook_resid_post", ["encoder.layers.encoder_layer_3", "encoder.layers.encoder_layer_3.mlp"]
    )
    assert found.layer == "encoder.layers.encoder_layer_3"


def test_the_layer_is_shown_and_checked(tmp_path, toy, caplog):
    """What the file names is logged with where it is drawn; another block is refused, another layer of the block is not."""
    folder = saelens("standard")(tmp_path).path.rename(tmp_path / "said-once-in-a-process")
    toy.objectives(fs.Concept("*", str(folder), 0))
    assert f"of {HOOK}, which is the output of blocks.1" in caplog.text
    assert toy.objectives(fs.Concept("blocks.1.mlp", str(folder), 0))[0].layer == "blocks.1.mlp"
    assert "drawn at blocks.1.mlp as the target says" in caplog.text
    with pytest.raises(
        TargetError, match=r"of blocks.1.hook_resid_post, which is blocks.1 of .* .got blocks.0."
    ):
        toy.objectives(fs.Concept("blocks.0", str(folder), 0))


def wrong(folder, **tensors):
    """A folder of SAELens with some tensors in others' place."""
    save = {**sae_tensors(), **tensors}
    torch.save({name: t for name, t in save.items() if t is not None}, folder / "x.pt")
    return folder / "x.pt"


def bomb(folder):
    np.savez_compressed(folder / "b.npz", a=np.zeros((2000, 2000), np.float32))
    return folder / "b.npz"


def pickled(folder):
    """A NumPy array of objects: reading it would run code."""
    np.save(folder / "p.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return folder / "p.npy"


class Evil:
    """What would run."""

    def __reduce__(self):
        return (eval, ("__import__('os').system('touch ran')",))


def evil(folder):
    torch.save({"W_dec": Evil()}, folder / "e.pt")
    return folder / "e.pt"


def evil_behind_a_head(folder):
    with (folder / "h.pt").open("wb") as file:
        file.write(b'{"schema": 4, "cfg": {}}\n')
        torch.save({"W_dec": Evil()}, file)
    return folder / "h.pt"


def cut(folder):
    whole = npz(folder).path
    (folder / "cut.npz").write_bytes(whole.read_bytes()[:100])
    return folder / "cut.npz"


def claimed(folder):
    """An array that says it is larger than the file."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
    )
    (folder / "c.npy").write_bytes(head.getvalue())
    return folder / "c.npy"


def several(folder):
    np.savez(folder / "s.npz", a=np.ones((2, WIDTH)), b=np.ones((2, WIDTH)))
    return folder / "s.npz"


def text(name, content):
    def write(folder):
        (folder / name).write_bytes(content)
        return folder / name

    return write


def settings(**cfg):
    def write(folder):
        place = saelens("standard")(folder).path
        told = json.loads((place / "cfg.json").read_text())
        (place / "cfg.json").write_text(json.dumps({**told, **cfg}))
        return place

    return write


def rows(array, name="a.npy"):
    def write(folder):
        np.save(folder / name, array)
        return folder / name

    return write


def damaged(shape, places):
    """Ones, with NaN at these places."""
    array = np.ones(shape, np.float32)
    for place in places:
        array[place] = np.nan
    return array


NAN = torch.full((COUNT, WIDTH), float("nan"))
REFUSED = {
    "no such file": (lambda folder: folder / "none.npy", "there is no file or folder of concepts"),
    "an empty folder": (lambda folder: folder, "is of no known form .it holds nothing.; expected a folder with cfg.json"),
    "a text": (text("a.txt", b"3 4 5"), "a.txt is of no known form; expected"),
    "a picture": (text("a.npy", b"\x89PNG\r\n"), "a.npy is no whole .npy file of numbers"),
    "NaN": (
        lambda folder: wrong(folder, W_dec=NAN),
        "x.pt is damaged: W_dec holds 54 values that are NaN or infinite, in each of its 9 concepts",
    ),
    "NaN in some rows": (
        rows(damaged((12, 6), [(1, 2), (1, 3), (4, 0)])),
        "a.npy is damaged: its array holds 3 values that are NaN or infinite, in concepts 1, 4$",
    ),
    "NaN in many rows": (
        rows(damaged((12, 6), [(i, 0) for i in range(11)])),
        "11 values that are NaN or infinite, in concepts 0, 1, 2, 3, 4, 5, 6, 7 and 3 more$",
    ),
    "NaN in an encoder": (
        lambda folder: wrong(folder, W_enc=torch.from_numpy(damaged((WIDTH, COUNT), [(2, 7)]))),
        "W_enc holds 1 value that is NaN or infinite, in concept 7$",
    ),
    "NaN for all concepts alike": (
        lambda folder: wrong(folder, b_dec=NAN[0]), "b_dec holds 6 values that are NaN or infinite$",
    ),
    "another width": (rows(np.ones((2, 5))), "holds concepts of 5 channels, expected 6, as blocks.1 of .* has"),
    "three axes": (rows(np.ones((2, 3, 6))), "its array has shape 2 x 3 x 6, expected any x any"),
    "no rows": (rows(np.ones((0, 6))), "its array has shape 0 x 6, expected any x any"),
    "texts": (rows(np.array(["a", "b"])), "type <U1, expected at most .* real numbers"),
    "objects": (pickled, "p.npy is no whole .npy file of numbers"),
    "a bomb": (bomb, "bytes unpack to 16,000,128, as no numbers do"),
    "cut short": (cut, "cut.npz is no whole .npz file of numbers"),
    "a shape without bytes": (claimed, "c.npy is no whole .npy file of numbers"),
    "several arrays": (several, r"it holds a 2 x 6, b 2 x 6; .* one is named as s.npz#NAME"),
    "no such array": (lambda folder: several(folder).with_name("s.npz#c"), "holds no array 'c'"),
    "code": (evil, "is refused: reading it would run code"),
    "code behind a head line": (evil_behind_a_head, "is refused: reading it would run code"),
    "an encoder of another shape": (
        lambda folder: wrong(folder, W_enc=numbers(COUNT, WIDTH)), "W_enc has shape 9 x 6, expected 6 x 9",
    ),
    "a gate without its bias": (lambda folder: wrong(folder, r_mag=numbers(COUNT)), "x.pt lacks b_mag"),
    "another d_sae": (settings(d_sae=8), "W_dec has shape 9 x 6, expected 8 x 6"),
    "an architecture": (settings(architecture="crosscoder"), "'crosscoder' is not read; these are: standard, topk"),
    "a rescaling": (settings(normalize_activations="whiten"), "normalize_activations 'whiten' is not read"),
    "a head line without an end": (text("h.pt", b'{"schema": 4'), "a line of JSON that does not end"),
    "a head line that is none": (text("h.pt", b"{schema\n"), "the head line of h.pt is no JSON|holds no|is no whole"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path, toy, monkeypatch):
    """In one line that says what was expected and what is there; nothing is run."""
    monkeypatch.chdir(tmp_path)
    make, words = REFUSED[name]
    with pytest.raises(WeightsError, match=words):
        toy.objectives(fs.Concept("blocks.1", str(make(tmp_path)), 0))
    assert not (tmp_path / "ran").exists()


def test_what_a_target_can_get_wrong(tmp_path, toy):
    """Numbers and names that are not there, no layer, a direction of zeros, two files of one name."""
    np.save(tmp_path / "a.npy", np.diag([1.0, 1, 1, 1, 1, 0]).astype(np.float32))
    path = f"'{tmp_path / 'a.npy'}'"
    for text, words in (
        (f"concept(blocks.1, {path}, 6)", "a.npy has concepts 0 to 5 .got 6."),
        (f"concept(blocks.1, {path}, 3-6)", "a.npy has concepts 0 to 5 .got 3-6."),
        (f"concept(blocks.1, {path}, striped)", "has no concept 'striped'; it names none"),
        (f"concept(*, {path}, 0)", r"a.npy \(.npy\) names no layer: name it, concept\(LAYER, a.npy, 17\)"),
        (f"concept(blocks.1, {path}, 5)", "concept 5 of a.npy has no direction"),
        (f"concept(blocks.2, {path}, 0)", "no layer 'blocks.2'"),
        (f"concept(head, {path}, 0)@1,1", "holds concepts of 6 channels, expected 4"),
    ):
        with pytest.raises(FilterscopeError, match=words):
            toy.objectives(text)
    (tmp_path / "other").mkdir()
    np.save(tmp_path / "other" / "a.npy", np.eye(WIDTH, dtype=np.float32))
    with pytest.raises(TargetError, match=r"concepts of two files that are called a\.npy"):
        toy.objectives(
            f"concept(blocks.1, {path}, 0) + concept(blocks.1, '{tmp_path / 'other' / 'a.npy'}', 0)"
        )


def test_names_of_a_cav(tmp_path, toy):
    """A concept by the name that Captum gave it, at the layer that it names."""
    path = FORMS["captum"](tmp_path).path
    (found,) = toy.objectives(f"concept(*, '{path}', striped)")
    assert (found.number, found.layer, toy.class_name(found)) == (1, "blocks.1", "striped")


def test_a_checkpoint_with_a_class_of_settings(tmp_path, toy):
    """ViT-Prisma's single file holds its settings as an object, which is not made."""
    content = {"cfg": pickle.Pickler, "state_dict": sae_tensors()}
    torch.save(content, tmp_path / "n_images_2600058.pt")
    (found,) = toy.objectives(fs.Concept("blocks.1", str(tmp_path / "n_images_2600058.pt"), 0, "latent"))
    assert found.numbers.rescale == "layer_norm"


def test_an_archive_in_a_zip_path(tmp_path):
    """A checkpoint's archive is checked before it is read."""
    with zipfile.ZipFile(tmp_path / "z.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 10_000_000)
    with pytest.raises(WeightsError, match=r"is refused: .* bytes unpack to"):
        read_concepts(tmp_path / "z.pt")


def test_settings_that_are_too_long(tmp_path):
    """No cfg.json has 16 MiB."""
    folder = saelens("standard")(tmp_path).path
    (folder / "cfg.json").write_text(json.dumps({"a": "x" * (16 * 2**20)}))
    with pytest.raises(WeightsError, match="are no settings"):
        read_concepts(folder)
