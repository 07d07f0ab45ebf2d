"""store: whole files at every kind of address, whatever its client raises."""

import errno
import io
import sys

import fsspec
import pytest

from filterscope.atlas.storage.index import INDEX, make_schema, make_table, read_index, write_table
from filterscope.atlas.storage.rows import Row
from filterscope.atlas.storage.store import Store, open_store
from filterscope.errors import ArgumentError, OutputError


def test_store(store):
    """Written, read, listed, replaced, removed: the same at every address."""
    store.check()
    assert store.sizes() == {}
    assert store.read_json("n/none.json") is None
    assert not store.exists("n/l/x.png")
    store.write("n/l/x.png", b"12345")
    store.write("n/l/y.png", b"")
    store.write_json("n/network.json", {"a": 1})
    assert store.sizes("n/l") == {"x.png": 5, "y.png": 0}
    assert store.folders("n") == ["l"]
    assert store.folders() == ["n"]
    assert set(store.sizes("n")) == {"network.json"}
    assert store.read_json("n/network.json") == {"a": 1}
    store.write("n/l/x.png", b"678")
    assert store.read("n/l/x.png") == b"678"
    assert store.read_many(["n/l/x.png", "n/l/y.png"]) == [b"678", b""]
    assert store.read_many(["n/l/x.png"]) == [b"678"]
    with store.open("n/l/x.png") as file:
        file.seek(1)
        assert file.read() == b"78"
    store.remove("n/l/x.png")
    store.remove("n/l/x.png")
    assert store.sizes("n/l") == {"y.png": 0}
    store.remove("n")
    assert store.sizes("n/l") == {}
    with pytest.raises(FileNotFoundError):
        store.read("n/l/y.png")


def test_a_write_that_fails_leaves_what_was_there(store):
    """An error while a file is written keeps the old one and leaves nothing beside it."""
    store.write("a/x", b"old")

    def cut_short():
        with store.writing("a/x") as spare:
            spare.write_bytes(b"ne")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        cut_short()
    assert store.read("a/x") == b"old"
    assert store.sizes("a") == {"x": 3}


def test_damaged_json_is_told(store):
    """A file that is no JSON is named."""
    store.write("atlas.json", b"{")
    with pytest.raises(OutputError, match=r"atlas\.json is damaged"):
        store.read_json("atlas.json")


def test_shared():
    """Workers elsewhere see an object store's files, not this machine's nor this process's."""
    assert not open_store("here").shared
    assert not open_store("memory://x").shared
    s3fs = pytest.importorskip("s3fs")
    assert s3fs
    assert open_store("s3://bucket/atlas").shared


def test_an_object_store_that_fails_for_a_moment(monkeypatch):
    """A put is tried three times, then told."""
    store = open_store("memory://flaky")
    monkeypatch.setattr("time.sleep", lambda _: None)
    fails = [2]

    def pipe_file(path, data):
        fails[0] -= 1
        if fails[0] >= 0:
            raise ConnectionError("reset by peer")

    monkeypatch.setattr(store.system, "pipe_file", pipe_file, raising=False)
    store.write("a", b"")
    fails[0] = 3
    with pytest.raises(OutputError, match="cannot write memory://flaky/a: reset by peer"):
        store.write("a", b"")


class Unreachable(fsspec.AbstractFileSystem):
    """A file system whose client raises an error of its own, whatever it is asked."""

    protocol = "s3"
    error: Exception = RuntimeError("no route")

    def _fail(self, *arguments, **more):
        raise self.error

    cat_file = info = ls = _open = pipe_file = rm_file = find = isfile = _fail


class NoCredentialsError(Exception):
    """As botocore raises."""


@pytest.fixture
def unreachable(monkeypatch):
    """A function that makes the store at s3://bucket/atlas, which raises an error."""
    monkeypatch.setattr("time.sleep", lambda _: None)

    def make(error: Exception) -> Store:
        system = Unreachable(skip_instance_cache=True)
        system.error = error
        return Store("s3://bucket/atlas", system, "bucket/atlas")

    return make


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            NoCredentialsError("Unable to locate\ncredentials"),
            "locate credentials (credentials: AWS_ACCESS_KEY_ID",
        ),
        (PermissionError("Forbidden"), "Forbidden (credentials: AWS_ACCESS_KEY_ID"),
        (PermissionError(errno.EACCES, "Access Denied"), "Access Denied (credentials"),
        (ConnectionError(), "ConnectionError"),
        (RuntimeError("x" * 999), "xxx ..."),
    ],
)
def test_whatever_a_client_raises(unreachable, error, said):
    """Errors of a client's own become OutputErrors that name the file and what to do."""
    store = unreachable(error)
    for act, doing in [
        (lambda: store.read("a"), "read s3://bucket/atlas/a: "),
        (lambda: store.read_json("a"), "read s3://bucket/atlas/a: "),
        (lambda: store.read_many(["a", "b"]), "read s3://bucket/atlas/"),
        (lambda: store.open("a").__enter__(), "read s3://bucket/atlas/a: "),
        (lambda: store.exists("a"), "look for s3://bucket/atlas/a: "),
        (lambda: store.sizes(), "list s3://bucket/atlas: "),
        (lambda: store.folders("n"), "list s3://bucket/atlas/n: "),
        (lambda: store.remove("a"), "remove s3://bucket/atlas/a: "),
        (lambda: store.write("a", b""), "write s3://bucket/atlas/a: "),
        (lambda: store.write_many([("a", b""), ("b", b"")]), "write s3://bucket/atlas/"),
        (store.check, "write s3://bucket/atlas/.filterscope: "),
    ]:
        with pytest.raises(OutputError) as caught:
            act()
        assert f"cannot {doing}" in str(caught.value)
        assert said in str(caught.value)
        assert len(str(caught.value)) < 500


def test_absent_is_no_error(unreachable):
    """A file that is not there is said so, as ever."""
    store = unreachable(FileNotFoundError("a"))
    assert not store.exists("a")
    assert store.sizes() == {}
    assert store.read_json("a") is None
    store.remove("a")
    with pytest.raises(FileNotFoundError):
        store.read("a")
    with pytest.raises(OutputError, match="cannot write"):  # a bucket that is not there
        store.write("a", b"")


def test_a_connection_that_breaks_while_a_table_is_read(monkeypatch):
    """pyarrow hands an error in the middle of a file through, and it is told as any other."""
    store = open_store("memory://breaks")
    write_table(store, INDEX, iter([make_table([Row(network="n", layer="l", unit=0)])]))
    data = store.read(INDEX)

    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise NoCredentialsError("the token has expired")

    monkeypatch.setattr(store.system, "open", lambda *_, **__: Broken(data), raising=False)
    with pytest.raises(
        OutputError, match=r"cannot read memory://breaks/index\.parquet: the token has expired"
    ):
        read_index(store)


def test_one_can_only_read_there(unreachable):
    """A read-only file system is not tried three times."""
    with pytest.raises(OutputError, match="one can only read there"):
        unreachable(NotImplementedError()).write("a", b"")


def test_a_host_that_refuses_at_once(monkeypatch):
    """Clients that connect when they are made are told so too; a missing client by its package."""

    def refuse(_):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    monkeypatch.setattr(fsspec, "url_to_fs", refuse)
    with pytest.raises(OutputError, match="cannot reach ftp://h/x: Connection refused"):
        open_store("ftp://h/x")

    def absent(_):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec, "url_to_fs", absent)
    with pytest.raises(ArgumentError, match="'gs://b/a' needs another package: Please install gcsfs"):
        open_store("gs://b/a")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (" ", "needs a folder"),
        ("nosuch://x", "nosuch"),
        ("sftp://h/x", 'another package: .*"paramiko"'),
    ],
)
def test_addresses_that_cannot_be(address, message):
    """What is wrong with an address, and what to install."""
    if address.startswith("sftp"):
        pytest.importorskip("fsspec")
        if "paramiko" in sys.modules:
            pytest.skip("paramiko is here")
    with pytest.raises(ArgumentError, match=message):
        open_store(address)


@pytest.mark.parametrize("package", ["fsspec", "pyarrow"])
def test_a_missing_package_names_the_extra(monkeypatch, package):
    """Without the extra the message says how to get it."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ArgumentError, match=r"pip install 'filterscope\[atlas\]'"):
        open_store("x") if package == "fsspec" else make_schema()
