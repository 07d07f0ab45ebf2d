"""viewer/: pages, drawings, and what a hostile client gets."""

import contextlib
import io
import json
import os
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from tests.helpers.made_up_atlas import rows_of, write_atlas
from tests.helpers.viewer_server import serving

from filterscope.atlas.storage.manifest import LayerEntry, NetworkManifest
from filterscope.cli import main
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Run
from filterscope.errors import ArgumentError, OutputError, RecipeError, TargetError
from filterscope.networks import open_network
from filterscope.pictures.png import encode_png, read_metadata
from filterscope.recipe import get_recipe
from filterscope.viewer import app as viewer
from filterscope.viewer import jobs as viewer_jobs
from filterscope.viewer.app import listen, make_app
from filterscope.viewer.guard import is_loopback
from filterscope.viewer.opening import open_recorded
from filterscope.viewer.requests import parse_request

LAYER = "block2_conv1"
POST = "POST /_live/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
QUICK = {"network": "tiny-vgg16", "layer": LAYER, "unit": 3, "recipe": "tv", "steps": 3, "size": 16}
LONG = QUICK | {"steps": 2000, "size": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny) -> Path:
    """An atlas of one layer, with a secret beside it and links that lead out of it."""
    place = tmp_path_factory.mktemp("viewer")
    (place / "secret.png").write_text("secret")
    rows = rows_of("tiny-vgg16", LAYER, 64, examples=False)
    record = {"weights_sha256": tiny.weights.sha256, "precision": "float32"}
    atlas = write_atlas(place / "atlas", {"tiny-vgg16": {LAYER: rows}}, **record)
    (atlas / "link.png").symlink_to(place / "secret.png")
    (atlas / "folder").symlink_to(place)
    (atlas / "loop.png").symlink_to("loop.png")
    (atlas / ".hidden.png").write_text("secret")
    (atlas / "notes.txt").write_text("secret")
    return atlas


@pytest.fixture(scope="module")
def live(folder, tiny):
    """The viewer of the atlas, without a token."""
    with serving(folder, tiny) as found:
        yield found


def raw(port: int, data: bytes, wait: float = 5) -> bytes:
    """What the server answers to these very bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as own:
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError, BrokenPipeError):
            own.sendall(data)
            while part := own.recv(65536):
                answer += part
        return answer


def get(port: int, path: str, headers: str = "Host: localhost\r\n") -> bytes:
    return raw(port, f"GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n".encode("latin-1"), wait=60)


def events(client: httpx.Client, job: str, until: str = "") -> list[tuple[str, dict]]:
    """The events of a job, to its end or to the first of a kind."""
    found, kind = [], ""
    with client.stream("GET", f"/_live/jobs/{job}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found.append((kind, json.loads(line.removeprefix("data: "))))
                if kind == until:
                    break
    return found


def started(live, order) -> str:
    answer = live.client.post("/_live/jobs", json=order)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


# --- pages --------------------------------------------------------------------------------------------------


def test_pages(live):
    """The same pages as from the folder, with the script that draws and headers that forbid all else."""
    for path in ("/", "/index.html", "/tiny-vgg16/", f"/tiny-vgg16/{LAYER}/index.html"):
        answer = live.client.get(path)
        assert answer.status_code == 200
        assert "<!doctype html>" in answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "EventSource" in live.client.get("/_gallery/live.js").text
    assert "EventSource" not in (live.folder / "_gallery/live.js").read_text()
    picture = live.client.get(f"/tiny-vgg16/{LAYER}/{LAYER}-0003.png")
    assert picture.content == (live.folder / f"tiny-vgg16/{LAYER}/{LAYER}-0003.png").read_bytes()


def test_builds_pages(tmp_path, tiny):
    """An atlas whose pages are missing, cut short or of another index gets them when it is viewed; no clock is asked."""
    atlas = write_atlas(tmp_path / "a", {"tiny-vgg16": {LAYER: rows_of("tiny-vgg16", LAYER, 4)}})
    page, index = atlas / "index.html", atlas / "index.parquet"

    def is_built_anew() -> bool:
        if page.exists():
            page.write_text("as it was")
        make_app(atlas)[1].close()
        return page.read_text() != "as it was"

    assert is_built_anew()
    assert not is_built_anew()
    os.utime(page, (0, 0))
    assert not is_built_anew()
    write_atlas(atlas, {"tiny-vgg16": {LAYER: rows_of("tiny-vgg16", LAYER, 5)}})
    os.utime(index, (0, 0))
    assert is_built_anew()
    assert not is_built_anew()
    page.unlink()
    assert is_built_anew()
    (atlas / "_gallery" / "built.json").write_text("{")
    assert is_built_anew()


OUTSIDE = [
    "/../secret.png", "/%2e%2e/secret.png", "/..%2fsecret.png", "/%2e%2e%2fsecret.png", "/tiny-vgg16/../../secret.png",
    "/tiny-vgg16/%2e%2e/%2e%2e/secret.png", "/..%5csecret.png", "/tiny-vgg16/..\\..\\secret.png", "//etc/passwd",
    "/%2fetc%2fpasswd", "/%252e%252e/secret.png", "/%c0%ae%c0%ae/secret.png", "/....//secret.png", "/link.png",
    "/folder/secret.png", "/loop.png", "/.hidden.png", "/notes.txt", "/index.html%00.png", "/%00", "/secret.png",
    "/tiny-vgg16/%ff%fe", "/" + "a" * 5000, "/" + "a/" * 2000, "/_gallery/../../secret.png", "/_gallery/..%2f..%2fpage.py",
    "/_gallery/base.html", "/index.html/../../secret.png", "/file:///etc/passwd", "/;/secret.png",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_outside(live, path):
    """No path gives out a file that is outside, hidden or of another kind; none brings the server down."""
    answer = get(live.port, path)
    status = int(answer.split()[1])
    assert status in (400, 404, 307), answer[:200]
    assert b"secret" not in answer.partition(b"\r\n\r\n")[2]
    assert b"Traceback" not in answer
    assert b"//evil" not in answer


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Host: localhost:1\r\n", 200),
        ("Host: [::1]:80\r\n", 200),
        ("Host: LOCALHOST.\r\n", 200),
        ("Host: evil.example\r\n", 421),
        ("Host: 127.0.0.1.evil.example\r\n", 421),
        ("Host: localhost@evil.example\r\n", 421),
        ("Host: [::1\r\n", 421),
        ("Host: \r\n", 421),
        ("Host: localhost\r\nHost: evil.example\r\n", 400),
        ("", 400),
    ],
)
def test_host(live, headers, status):
    """Bound to this machine, it answers to this machine's names alone: no page elsewhere can read it."""
    assert int(get(live.port, "/", headers).split()[1]) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"Origin": "http://{host}", "Sec-Fetch-Site": "same-origin"}, 202),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_origin(live, headers, status):
    """Only the viewer's own pages can ask for a drawing."""
    own = {k: v.format(host=f"127.0.0.1:{live.port}") for k, v in headers.items()}
    answer = live.client.post(
        "/_live/jobs", content=json.dumps(QUICK), headers={"Content-Type": "application/json"} | own
    )
    assert answer.status_code == status
    if status == 202:
        events(live.client, answer.json()["id"])


def test_token(folder, tiny):
    """Not on this machine alone: any host may look, drawing needs the token, wrong ones are refused."""
    with serving(folder, tiny, local=False, token="geheim") as live:
        assert int(get(live.port, "/", "Host: atlas.example\r\n").split()[1]) == 200
        assert live.client.get("/_live/config").json()["token"] is True
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "geheim2"}):
            answer = live.client.post("/_live/jobs", json=QUICK, headers=headers)
            assert answer.status_code == 401
            assert "token" in answer.json()["error"]
        own = {"Authorization": "Bearer geheim"}
        answer = live.client.post("/_live/jobs", json=QUICK, headers=own)
        job = answer.json()["id"]
        assert events(live.client, job)[-1][0] == "done"
        assert live.client.post(f"/_live/jobs/{job}/keep", json={}).status_code == 401


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback(host):
    """Addresses that reach this machine alone."""
    assert is_loopback(host)


ODD = "a b+c&d=é%41日本"


@pytest.mark.parametrize("given", [ODD, quote(ODD, safe="")])
def test_odd_token(folder, tiny, given):
    """A token of any signs goes with a request as it is, in UTF-8, or escaped."""
    with serving(folder, tiny, local=False, token=ODD) as live:
        for token, status in ((given, 202), (given + "x", 401)):
            headers = {"Authorization": f"Bearer {token}".encode()}
            assert live.client.post("/_live/jobs", json=QUICK, headers=headers).status_code == status


@pytest.fixture
def told(folder, monkeypatch, capsys):
    """A function that runs the command view without serving: its output and its errors."""
    monkeypatch.setattr(viewer, "server", lambda app: SimpleNamespace(run=lambda sockets: None))

    def run(*arguments: str) -> tuple[str, str]:
        assert main(["view", str(folder), "--port", "0", *arguments]) == 0
        return capsys.readouterr()

    return run


def test_told_where(told):
    """The address with the token, escaped; with --quiet only what nobody could know, on standard error."""
    out, err = told("--token", ODD)
    assert f"/?token={quote(ODD, safe='')} (Ctrl-C ends)" in out
    assert err == ""
    out, err = told("--host", "0.0.0.0", "-q")
    assert out == ""
    assert re.fullmatch(rf"http://{socket.gethostname()}:\d+/\?token=[\w-]{{24}}\n", err)
    assert told("-q")[1].startswith("http://127.0.0.1:")  # port 0: it is anywhere


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "localhost.example", "", "127.0.0.1.evil"])
def test_not_loopback(host):
    """All others want a token."""
    assert not is_loopback(host)


# --- drawing ------------------------------------------------------------------------------------------------


def test_draw(live, tiny):
    """A drawing is watched to its end; its picture is the library's, byte for byte."""
    job = started(live, QUICK | {"seed": 4})
    told = events(live.client, job)
    kinds = [kind for kind, _ in told]
    assert kinds[-1] == "done"
    (row,) = told[-1][1]["pictures"]
    assert (row["recipe"], row["seed"], row["steps"], row["size"]) == ("tv", 4, 3, 16)
    data = live.client.get(row["file"]).content
    (picture,) = draw(
        tiny,
        tiny.targets(f"{LAYER}:3"),
        get_recipe("tv", steps=3, size=16),
        run=Run(seed=4, precision="float32"),
    )
    assert data == encode_png(picture.to_pil(), picture.metadata())
    assert live.client.get(row["alpha"]).content == picture.encoded(alpha=True)
    assert row["activation"] == pytest.approx(picture.scores.activation, rel=1e-5)
    assert events(live.client, job)[-1] == told[-1]  # whoever comes late is told the same


def test_what_suits_the_unit(live):
    """Without a recipe a unit is drawn by what suits it; what any choice would exceed is refused."""
    asked = {key: QUICK[key] for key in ("network", "layer", "unit")} | {"steps": 2, "size": 16}
    told = events(live.client, started(live, asked))
    assert told[-1][1]["pictures"][0]["recipe"] == "sharp"
    assert {data["steps"] for kind, data in told if kind == "progress"} <= {0, 2}
    assert live.client.get("/_live/config").json()["recipes"][0] == "auto"
    with pytest.raises(RecipeError, match="at most 2048 steps"):
        parse_request(asked | {"steps": 5000}, live.queue.manifests)


def test_watch(live):
    """Steps count up, previews are pictures that change while it emerges."""
    told = events(live.client, started(live, LONG | {"steps": 120}))
    steps = [data["step"] for kind, data in told if kind == "progress"]
    assert steps == sorted(steps)
    assert steps[-1] > steps[0]
    previews = [data["image"] for kind, data in told if kind == "preview"]
    assert len(set(previews)) > 1
    import base64

    with Image.open(io.BytesIO(base64.b64decode(previews[-1].partition(",")[2]))) as image:
        assert image.size == (64, 64)
        assert np.asarray(image).std() > 1


def test_cancel(live):
    """A drawing that is cancelled stops long before its end, one that waits never begins; the next one runs."""
    first, second = started(live, LONG), started(live, LONG)
    events(live.client, first, until="preview")
    for job in (second, first):
        assert live.client.post(f"/_live/jobs/{job}/cancel", json={}).status_code == 200
    began = time.monotonic()
    assert events(live.client, first)[-1] == ("cancelled", {"message": "cancelled"})
    assert events(live.client, second)[-1] == ("cancelled", {"message": "cancelled"})
    assert time.monotonic() - began < 5
    assert events(live.client, started(live, QUICK))[-1][0] == "done"
    assert live.client.get(f"/_live/jobs/{first}/0.png").status_code == 404


def test_cancel_a_restart(folder, tiny_file, tmp_path):
    """A unit that noise leaves dead is drawn again from other noise, which is told and can be cancelled too."""
    tensors = load_file(tiny_file)
    tensors[f"{LAYER}/bias"][3] = -6e4  # as far as half precision goes
    save_file(tensors, tmp_path / "dead.safetensors")
    dead = open_network("tiny-vgg16", weights=tmp_path / "dead.safetensors")
    with serving(folder, dead) as live:
        live.queue.manifests["tiny-vgg16"].weights_sha256 = dead.weights.sha256
        job = started(live, LONG | {"steps": 120})
        with live.client.stream("GET", f"/_live/jobs/{job}/events") as answer:
            for line in answer.iter_lines():
                if '"attempt": 1' in line:
                    break
            assert live.client.post(f"/_live/jobs/{job}/cancel", json={}).status_code == 200
        found = live.queue.find(job)
        assert events(live.client, job)[-1] == ("cancelled", {"message": "cancelled"})
        assert (found.attempt, found.step < 120) == (1, True)


def test_keep(live):
    """What is kept lies in drawn/ with its recipe, twice is once, and the pages list it."""
    job = started(live, QUICK)
    events(live.client, job)
    row = live.client.post(f"/_live/jobs/{job}/keep", json={"picture": 0}).json()
    assert live.client.post(f"/_live/jobs/{job}/keep", json={}).json() == row
    file = live.folder / row["file"]
    assert file.parent == live.folder / "tiny-vgg16/drawn"
    assert read_metadata(file)["target"] == f"{LAYER}:3"
    assert file.name in (live.folder / "tiny-vgg16/drawn/drawn.js").read_text()
    assert live.client.get(f"/{row['file']}").content == file.read_bytes()
    for body in ({"picture": 1}, {"picture": -1}):
        assert live.client.post(f"/_live/jobs/{job}/keep", json=body).status_code == 404
    assert live.client.post(f"/_live/jobs/{job}/keep", json={"picture": "../x"}).status_code == 422


def test_failed(live):
    """A drawing that fails says why, and the thread goes on."""
    said = events(live.client, started(live, QUICK | {"size": 1}))[-1]
    assert said[0] == "failed"
    assert "too small" in said[1]["message"]
    assert events(live.client, started(live, QUICK))[-1][0] == "done"


def test_other_weights(folder, tiny):
    """Weights that are not the atlas' own are noticed at the first step."""
    with serving(folder, tiny) as live:
        live.queue.manifests["tiny-vgg16"].weights_sha256 = "cd" * 32
        said = events(live.client, started(live, QUICK))[-1]
    assert said[0] == "failed"
    assert "are not those that the atlas was drawn with (cdcdcdcdcdcd)" in said[1]["message"]


def test_unwatched(live, monkeypatch):
    """A drawing that nobody watches is given up, so that people who left do not fill the queue."""
    monkeypatch.setattr(viewer_jobs, "MAX_UNWATCHED_SECONDS", 0.3)
    job = live.queue.find(started(live, LONG))
    until = time.monotonic() + 10
    while job.state != "cancelled" and time.monotonic() < until:
        time.sleep(0.05)
    assert (job.state, job.message) == ("cancelled", "nobody was watching")


def test_too_long(live, monkeypatch):
    """No drawing holds up the others for ever."""
    monkeypatch.setattr(viewer_jobs, "MAX_SECONDS", 0.3)
    said = events(live.client, started(live, LONG))[-1]
    assert said[0] == "cancelled"
    assert "take fewer steps" in said[1]["message"]


def test_queue_full(live, monkeypatch):
    """A full queue is said so, with when to come again; what waits is not lost."""
    monkeypatch.setattr(viewer_jobs, "MAX_WAITING", 2)
    jobs = [started(live, LONG)]
    while live.queue.find(jobs[0]).state == "queued":
        time.sleep(0.01)
    jobs += [started(live, QUICK), started(live, QUICK)]
    answer = live.client.post("/_live/jobs", json=QUICK)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "60"
    assert answer.json()["error"] == "2 drawings are waiting already; try again in a minute"
    live.client.post(f"/_live/jobs/{jobs[0]}/cancel", json={})
    assert [events(live.client, job)[-1][0] for job in jobs] == ["cancelled", "done", "done"]


def test_ten_people(live):
    """Ten people draw at once: each sees their own picture."""

    def person(unit: int) -> float:
        job = started(live, QUICK | {"unit": unit, "steps": 2})
        kind, data = events(live.client, job)[-1]
        assert kind == "done"
        picture = live.client.get(data["pictures"][0]["file"]).content
        told = json.loads(Image.open(io.BytesIO(picture)).text["filterscope"])
        assert told["target"] == f"{LAYER}:{unit}"
        return data["pictures"][0]["activation"]

    with ThreadPoolExecutor(10) as pool:
        assert len(set(pool.map(person, range(10)))) > 5


WRONG = [
    ([], "a drawing is asked for as an object"),
    ({"cmd": 1}, "a drawing is asked for as an object"),
    ({}, "no network None; it has tiny-vgg16"),
    ({"network": "../x"}, r"no network '\.\./x'"),
    ({"network": "tiny-vgg16", "layer": "fc9"}, "no layer 'fc9' in this atlas"),
    ({"network": "tiny-vgg16", "layer": ["x"]}, "no layer"),
    (QUICK | {"unit": 64}, r"has units 0 to 63 \(got 64\)"),
    (QUICK | {"unit": True}, "has units"),
    (QUICK | {"unit": -1}, "has units"),
    (QUICK | {"unit": 1e9}, "has units"),
    (QUICK | {"seed": -1}, "a seed is a whole number"),
    (QUICK | {"seed": 2**70}, "a seed is a whole number"),
    (QUICK | {"recipe": "shrap"}, "did you mean 'sharp'"),
    (QUICK | {"recipe": 3}, "a recipe is a preset's name or an object"),
    (QUICK | {"recipe": {"name": "x", "stepps": 3}}, "no setting 'stepps'"),
    (QUICK | {"steps": 2049}, r"at most 2048 steps \(got 2049\)"),
    (QUICK | {"steps": "3"}, "steps is a whole number"),
    (QUICK | {"size": 513}, "at most 512 size"),
    (QUICK | {"recipe": {"name": "x", "transforms": [{"kind": "pad", "pixels": 10**8}]}}, "at most 128 pad"),
    (QUICK | {"recipe": {"name": "x", "transforms": [{"kind": "jitter", "pixels": 1}] * 17}}, "at most 16 transforms"),
    (QUICK | {"recipe": {"name": "x", "facets": {"count": 8}, "transforms": [{"kind": "crop", "count": 5}]}}, "crops"),
    (QUICK | {"settings": "x=1"}, "settings are a list"),
    (QUICK | {"settings": ["x"]}, "KEY=VALUE"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "message"), WRONG)
def test_wrong_orders(asked, message):
    """What cannot be drawn is refused before it is queued, with what is allowed."""
    record = NetworkManifest(layers=[LayerEntry(name=LAYER, units=64)])
    with pytest.raises((ArgumentError, RecipeError, TargetError), match=message):
        parse_request(asked, {"tiny-vgg16": record})


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{", 400), (b"[" * 60000, 400), (b"\xff\xfe", 400), (b"x" * 70_000, 413), (b"{}", 422)],
)
def test_bodies(live, body, status):
    """Malformed and oversized bodies are refused."""
    answer = live.client.post("/_live/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["error"]


def test_endless_body(live):
    """A body without end is cut off."""

    def endless():
        for _ in range(2000):
            yield b"x" * 65536

    with contextlib.suppress(httpx.HTTPError):
        answer = live.client.post(
            "/_live/jobs", content=endless(), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 413


def test_slow_body(live, monkeypatch):
    """A body that never comes is not waited for."""
    monkeypatch.setattr(viewer, "MAX_BODY_SECONDS", 0.3)
    head = POST + "Content-Length: 10\r\n\r\n{"
    assert b" 408 " in raw(live.port, head.encode(), wait=2)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_methods(live, method):
    """Only reading and asking."""
    assert live.client.request(method, "/").status_code == 405


@pytest.mark.parametrize("path", ["/_live/jobs/none/events", "/_live/jobs/none/0.png", "/_live/jobs/a/b/c"])
def test_no_such_job(live, path):
    """A job's id cannot be guessed."""
    assert live.client.get(path).status_code == 404


GARBAGE = [
    b"\x00" * 1000, b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET / HTTP/9.9\r\n\r\n", os.urandom(4096),
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
    b"POST /_live/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST /_live/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
]  # fmt: skip


def test_garbage(live):
    """What is no HTTP is refused or cut off; the server lives."""
    for data in GARBAGE:
        answer = raw(live.port, data, wait=1)
        assert answer == b"" or answer.split()[1] in (b"400", b"415", b"421")
    assert live.client.get("/").status_code == 200


def test_two_hundred_at_once(live):
    """200 clients at once, a quarter of them hostile: all are answered, nothing is left open, memory is bounded."""

    def client(i: int) -> int:
        if i % 4 == 0:
            return int(get(live.port, OUTSIDE[i % len(OUTSIDE)]).split()[1])
        if i % 4 == 1:
            order = json.dumps(QUICK | {"unit": 10**9}).encode()
            head = f"{POST}Content-Length: {len(order)}\r\nConnection: close\r\n\r\n"
            return int(raw(live.port, head.encode() + order, wait=30).split()[1])
        return int(raw(live.port, PAGE, wait=30).split()[1])

    with ThreadPoolExecutor(200) as pool:
        list(pool.map(client, range(200)))  # once before, so that pools and caches are filled
        before, files = memory(), open_files()
        for _ in range(3):
            found = list(pool.map(client, range(200)))
            assert set(found) <= {200, 307, 400, 404, 422}
            assert found.count(200) == 100
    until = time.monotonic() + 10
    while open_files() > files + 8 and time.monotonic() < until:
        time.sleep(0.1)
    assert open_files() <= files + 8
    assert memory() - before < 48 * 2**20
    assert live.client.get("/").status_code == 200


PAGE = f"GET /tiny-vgg16/{LAYER}/index.html HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


def memory() -> int:
    """Bytes this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_many_watchers(live, monkeypatch):
    """Streams of events are bounded too."""
    monkeypatch.setattr(viewer, "MAX_STREAMS", 2)
    job, lines = started(live, LONG), []
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stream = stack.enter_context(live.client.stream("GET", f"/_live/jobs/{job}/events"))
            lines.append(stream.iter_lines())  # one that is let go of closes its stream
            next(lines[-1])
        assert live.client.get(f"/_live/jobs/{job}/events").status_code == 503
    live.client.post(f"/_live/jobs/{job}/cancel", json={})


# --- opening ------------------------------------------------------------------------------------------------


def test_open_recorded(tiny, tmp_path, tiny_file):
    """The network of an atlas is opened by what network.json says."""
    net = open_recorded(NetworkManifest(name="tiny-vgg16", source="tiny-vgg16", weights=None))
    assert net.name == "tiny-vgg16"
    assert (
        open_recorded(NetworkManifest(source="tiny-vgg16", weights=str(tiny_file))).weights.path == tiny_file
    )
    with pytest.raises(ArgumentError, match="was drawn from a model object"):
        open_recorded(NetworkManifest(name="mine", source=None))


def test_port_taken():
    """A port that is taken is an error, not a traceback."""
    with (
        listen("127.0.0.1", 0) as own,
        pytest.raises(OutputError, match=r"cannot listen on 127\.0\.0\.1, port"),
    ):
        listen("127.0.0.1", own.getsockname()[1])


def test_command(tmp_path, capsys):
    """view: no atlas and wrong ports are wrong arguments."""
    assert main(["view", str(tmp_path)]) == 2
    assert "holds no atlas" in capsys.readouterr().err
    assert main(["view", str(tmp_path), "--port", "70000"]) == 2
    assert main(["view", "memory://x"]) == 2
    assert "(got memory://x)" in capsys.readouterr().err
    for token in ("", " ", "a\nb", "a\udcff"):
        assert main(["view", str(tmp_path), "--token", token]) == 2
        with pytest.raises(ArgumentError, match="visible characters"):
            viewer.view(tmp_path, token=token)
