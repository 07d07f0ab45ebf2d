"""A photograph in the viewer: what its places say, bounds of what is sent, and what is refused; votes by hand."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.made_up_atlas import rows_of, write_atlas
from tests.helpers.viewer_server import serving

from filterscope.atlas.storage.manifest import NetworkManifest
from filterscope.errors import ArgumentError, ImageError
from filterscope.explanation.votes import count_votes
from filterscope.networks.network import Network
from filterscope.pictures.reading import read_photograph
from filterscope.viewer import app as viewer
from filterscope.viewer import photographs
from filterscope.viewer.photographs import decoded, parse_photograph

LAYER = "block5_conv3"


def encoded(image: Image.Image, kind: str = "JPEG") -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def image() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((80, 60), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def live(tmp_path_factory, tiny):
    """A viewer of an atlas of one layer, with a token."""
    record = {"weights_sha256": tiny.weights.sha256, "precision": "float32"}
    rows = rows_of("tiny-vgg16", LAYER, 4, examples=False)
    folder = write_atlas(tmp_path_factory.mktemp("photographs"), {"tiny-vgg16": {LAYER: rows}}, **record)
    with serving(folder, tiny, token="geheim") as found:
        found.client.headers["Authorization"] = "Bearer geheim"
        yield found


def ended(live, body) -> tuple[str, dict]:
    """The last event of a look at a photograph."""
    answer = live.client.post("/_live/photographs", json=body)
    assert answer.status_code == 202, answer.text
    with live.client.stream("GET", f"/_live/jobs/{answer.json()['id']}/events") as stream:
        lines = [line for line in stream.iter_lines() if line]
    return lines[-2].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: "))


def test_votes(tiny, image):
    """At the last layer a unit's votes are its activation times the class's gradient there, strongest first."""
    seen, (found,) = count_votes(tiny, read_photograph(image), [LAYER])
    assert found.units.shape == (4, 4, 6)
    assert found.votes.shape == (4, 4, 6, 5)
    maps, logits = tiny.probe([LAYER, "predictions"])(tiny.input.preprocess(seen.pixels.requires_grad_()))
    (slope,) = torch.autograd.grad(logits[0, seen.classes[2].unit], maps)
    wanted = (maps * slope)[0].detach().numpy()
    for row, column, number in ((0, 0, 0), (2, 3, 5)):
        unit = found.units[row, column, number]
        assert found.votes[row, column, number, 2] == pytest.approx(
            wanted[unit, row, column], rel=1e-4, abs=1e-6
        )
        assert found.activations[row, column, number] == pytest.approx(
            float(maps[0, unit, row, column].detach()), rel=1e-5
        )
    strength = np.abs(found.votes).max(-1)
    assert (np.diff(strength, axis=-1) <= 1e-7).all()


def test_no_votes(tiny, image, monkeypatch):
    """A network without classes, and one whose layers all have too many places."""
    with pytest.raises(ArgumentError, match="ends in no classes"):
        count_votes(_headless(tiny), read_photograph(image))
    monkeypatch.setattr("filterscope.explanation.votes.MOST_PLACES", 3)
    with pytest.raises(ArgumentError, match="no layer before predictions:"):
        count_votes(tiny, read_photograph(image), [LAYER])


def _headless(tiny) -> Network:
    layers = {name: replace(row, softmax=None) for name, row in tiny.layers.items()}
    return Network("headless", tiny.graph, layers, tiny.input, tiny.weights)


def test_look(live, tiny, image):
    """Sent, queued, watched to its end: classes, and for each place units, activations and votes."""
    kind, found = ended(live, {"network": "tiny-vgg16", "image": encoded(image, "PNG")})
    assert kind == "done"
    seen, (votes,) = count_votes(tiny, read_photograph(image), [LAYER])
    assert [row[:2] for row in found["classes"]] == [[guess.name, guess.unit] for guess in seen.classes]
    (layer,) = found["layers"]
    assert layer["name"] == LAYER
    unit, activation, own = layer["places"][1][2][0]
    assert unit == votes.units[1, 2, 0]
    assert activation == pytest.approx(float(votes.activations[1, 2, 0]), rel=1e-2)
    assert own == pytest.approx(votes.votes[1, 2, 0].tolist(), rel=1e-2)
    assert found["image"].startswith("data:image/jpeg;base64,")
    job = next(reversed(live.queue._jobs.values()))
    assert job.request.data == b""  # no photograph is kept


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "image/jpeg"}, 415),
        ({"Host": "evil.example"}, 421),
    ],
)
def test_guarded(live, image, headers, status):
    """As every request that makes the viewer work."""
    body = json.dumps({"network": "tiny-vgg16", "image": encoded(image)})
    own = {"Content-Type": "application/json"} | headers
    assert live.client.post("/_live/photographs", content=body, headers=own).status_code == status


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"network": "tiny-vgg16", "image": "%%"}, "a file in base64"),
        ({"network": "tiny-vgg16", "image": 3}, "a file in base64"),
        ({"network": "tiny-vgg16", "image": ""}, "is empty"),
        ({"network": "tiny-vgg16", "image": "AAAA", "path": "/etc/passwd"}, "an object of network and image"),
        ({"network": "vgg16", "image": "AAAA"}, "has no network 'vgg16'; it has tiny-vgg16"),
        ([], "an object of network and image"),
    ],
)
def test_refused(live, body, words):
    """What is no photograph of a network of the atlas."""
    answer = live.client.post("/_live/photographs", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["error"]


def test_too_large(live, image, monkeypatch):
    """A body beyond its limit, a picture of too many pixels, other formats and damaged files."""
    body = {"network": "tiny-vgg16", "image": encoded(image)}
    for data, words in (
        (encoded(image, "TIFF"), "no JPEG, PNG or WebP"),
        (body["image"][:400], "no JPEG, PNG or WebP"),
    ):
        assert ended(live, body | {"image": data})[0] == "failed"
        with pytest.raises(ImageError, match=words):
            decoded(base64.b64decode(data))
    monkeypatch.setattr(photographs, "MAX_PIXELS", 100)
    kind, told = ended(live, body)
    assert kind == "failed"
    assert "80 x 60 px; the viewer takes up to 100 pixels" in told["message"]
    monkeypatch.setattr(viewer, "MAX_PHOTOGRAPH_BYTES", 1000)
    assert live.client.post("/_live/photographs", json=body).status_code == 413
    monkeypatch.undo()
    assert ended(live, body)[0] == "done"


def test_parsed(tiny):
    """The very bytes."""
    found = parse_photograph(
        {"network": "a", "image": base64.b64encode(b"file").decode()}, {"a": NetworkManifest()}
    )
    assert (found.network, found.data) == ("a", b"file")
