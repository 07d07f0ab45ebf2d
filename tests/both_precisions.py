"""The suite's second run, in which `auto` means the other number type than in the first: `pytest --other-precision`.

Of it are the tests which, when they last ran, asked what `auto` is, or started a command that may have (one of this Python
that names no precision), and those that use a shared fixture which did. Each run notes which do so, in pytest's cache; tests
that have not run yet count as such. scripts/check runs both, one after the other. Where pytest-xdist spreads the tests over
processes, each notes its own and the first process keeps the notes of all.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from filterscope.ascent.engine import device

KEY = "filterscope/asked-for-auto"  # in pytest's cache: by test, and by shared fixture, whether it did
OTHER = {"float32": "bfloat16", "bfloat16": "float32"}
PROCESSOR = torch.device("cpu")
PROGRAMS = str(Path(sys.executable).parent)

asked: dict[str, bool] = {}
running: list[
    str
] = []  # the test that runs; behind it, while they are set up, fixtures that other tests share


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--other-precision",
        action="store_true",
        help="only the tests whose outcome can depend on the number type, with auto as the other one",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin to note; for the second run say what `auto` is. Without bfloat16 instructions there is no other to take."""
    if config.getoption("--other-precision") and not hasattr(config, "workerinput"):  # workers inherit it
        if not device._has_bfloat16(PROCESSOR):
            pytest.exit(
                "no second run in the other precision: this processor has no bfloat16 instructions", 0
            )
        now = str(device.choose_precision("auto", PROCESSOR)).removeprefix("torch.")
        os.environ[device.VARIABLE] = OTHER[now]
    plain = device.auto_by_environment
    device.auto_by_environment = lambda: note() or plain()
    sys.addaudithook(note_programs)


def note() -> None:
    """The test that is running depends on what `auto` is."""
    if running:
        asked[running[-1]] = True


def note_programs(event: str, arguments: tuple[Any, ...]) -> None:
    """Note a test that starts a program of this Python without naming a precision."""
    if event == "subprocess.Popen" and running:
        words = repr(arguments[:2])
        if PROGRAMS in words and not any(name in words for name in OTHER):
            note()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any) -> Any:
    """What a shared fixture asks for, every test that uses it depends on, and not only the first."""
    if fixturedef.scope == "function" or not running:
        return (yield)
    running.append(shared(fixturedef.argname))
    try:
        return (yield)
    finally:
        running.pop()


def shared(fixture: str) -> str:
    return f"fixture {fixture}"


def pytest_runtest_logstart(nodeid: str) -> None:
    running[:] = [nodeid]
    asked[nodeid] = False


def pytest_runtest_logfinish() -> None:
    running.clear()


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("--other-precision") and not hasattr(session.config, "workerinput"):
        said = f"{device.VARIABLE}={os.environ[device.VARIABLE]}"
        session.config.get_terminal_writer().line(f"a second run, with {said}: what depends on it")


def dependent(items: list[pytest.Item], known: dict[str, bool]) -> list[pytest.Item]:
    """The tests that depend on what `auto` is, themselves or by a shared fixture, or are not known not to."""
    return [
        item
        for item in items
        if known.get(item.nodeid, True)
        or any(known.get(shared(name), False) for name in getattr(item, "fixturenames", ()))
    ]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Behind the selection by marks and words, so that a test which is not to run counts for nothing."""
    if config.getoption("--other-precision"):
        kept = dependent(items, _cached(config))
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep what was noted. That nothing asked for is of the second run is no failure: the first one has had it."""
    if hasattr(session.config, "workerinput"):
        session.config.workeroutput[KEY] = asked
        return
    cache = getattr(session.config, "cache", None)
    if cache is not None:
        cache.set(KEY, _cached(session.config) | asked)
    if session.config.getoption("--other-precision") and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker of pytest-xdist noted; a worker that died has noted nothing."""
    asked.update(getattr(node, "workeroutput", {}).get(KEY, {}))


def _cached(config: pytest.Config) -> dict[str, bool]:
    cache = getattr(config, "cache", None)
    return {} if cache is None else dict(cache.get(KEY, None) or {})
