"""What a person is told where a command fails: one line; where it came from under --verbose."""

from __future__ import annotations

import io
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path

import click

from filterscope.cli.options import is_verbose
from filterscope.cli.wording import in_flags
from filterscope.errors import FilterscopeError, first_line, is_out_of_memory, out_of_memory

HERE = Path(__file__).parents[1]


def exit_status(run: Callable[[], object]) -> int:
    """Run a command: 0 done, 1 the work failed, 2 wrong arguments, 130 interrupted. No traceback without --verbose."""
    try:
        run()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("filterscope: interrupted", err=True)
        return 130
    except BrokenPipeError:  # the reader of our output, `head` say, has gone
        sys.stderr.close()
        return 1
    except FilterscopeError as error:
        return _failed(error, in_flags(str(error)), error.exit_status, whole=error.__cause__ is not None)
    except (Exception, SystemExit) as error:
        if type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):
            return 1  # click found the reader of our output gone, put this in its place and ended the process
        return _failed(error, _unforeseen(error), 1)
    return 0


def print_whatever() -> None:
    """Let every text be printed: of file names, and where a terminal has few letters, the rest as their codes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _failed(error: BaseException, message: str, status: int, *, whole: bool = True) -> int:
    if whole and is_verbose():
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    click.echo(f"filterscope: {message}", err=True)
    return status


def _unforeseen(error: BaseException) -> str:
    """What is said of an error that is none of ours."""
    if is_out_of_memory(error):
        return in_flags(str(out_of_memory(error)))
    said = f"{type(error).__name__}: {first_line(error)}"
    if where := _own_code(error):
        return f"{where}: {said} (the whole with --verbose)"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {str(error.filename)!r}" if error.filename else "")
    return f"internal error: {said} (the whole with --verbose, for https://github.com/filterscope/filterscope/issues)"


def _own_code(error: BaseException) -> str | None:
    """The innermost line of a person's own code that an error came through: neither ours nor a library's."""
    paths = sysconfig.get_paths()
    theirs = [HERE, *(Path(paths[kind]) for kind in ("stdlib", "platstdlib", "purelib", "platlib"))]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_file() and not any(path.is_relative_to(folder) for folder in theirs):
            return f"{path.name}, line {frame.lineno}"
    return None
