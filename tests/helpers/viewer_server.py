"""The viewer in a thread, for tests that ask it by HTTP."""

from __future__ import annotations

import contextlib
import threading
from types import SimpleNamespace

import httpx

from filterscope.viewer.app import listen, make_app, server


@contextlib.contextmanager
def serving(folder, tiny, **options):
    """The viewer on a free port, in a thread of its own."""
    app, queue = make_app(folder, networks={"tiny-vgg16": tiny}, **options)
    own = listen("127.0.0.1", 0)
    web = server(app)
    thread = threading.Thread(target=web.run, kwargs={"sockets": [own]}, daemon=True)
    thread.start()
    port = own.getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield SimpleNamespace(client=client, queue=queue, port=port, folder=folder)
    web.should_exit = True
    thread.join(10)
    queue.close()
    own.close()
