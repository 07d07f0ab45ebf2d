"""As much of Ray as RayExecutor asks of it: actors whose calls end when a test, or a simulated clock, says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class DeadError(Exception):
    """Its actor died."""


class FakeRay:
    """Ray's errors, and ways to end actors and to wait for a call."""

    class exceptions:  # noqa: N801
        RayActorError = OutOfMemoryError = WorkerCrashedError = NodeDiedError = ObjectLostError = DeadError

    @staticmethod
    def kill(actor: Any) -> None:
        """End an actor."""
        actor.dead = True

    @staticmethod
    def available_resources() -> dict[str, float]:
        """What there is."""
        return {}


class FakeFuture:
    """What Ray's references give: a result or an error, handed to the callback."""

    def __init__(self) -> None:
        self._callback: Callable[[Any], None] = lambda _: None
        self._value: Any = None
        self._error: Any = None

    def future(self) -> FakeFuture:
        return self

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callback = callback

    def exception(self) -> Any:
        return self._error

    def result(self) -> Any:
        return self._value

    def settle(self, value: Any, error: Any = None) -> None:
        """The call ends."""
        self._value, self._error = value, error
        self._callback(self)


class FakeMethod:
    """A method of an actor: `remote` calls it."""

    def __init__(self, function: Callable[..., FakeFuture]):
        self.remote = function
