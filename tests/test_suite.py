"""How the tests are run: skips listed, browser tests required in CI, a second run in the other precision; .ci/run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests import both_precisions

from filterscope.ascent.engine.prepare import choose_precision

HOME = Path(__file__).resolve().parents[1]
PROCESSOR = torch.device("cpu")


def run_pytest(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Another pytest over tests of this suite, with nothing in its cache."""
    plain = {
        k: v for k, v in os.environ.items() if k not in ("CI", "FILTERSCOPE_PRECISION", "PYTEST_ADDOPTS")
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=HOME, env=plain | environment, capture_output=True, text=True)


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_without_a_browser(tmp_path, ci, status):
    """Each test that needs one is named with the reason at the end; in CI it fails."""
    test = "tests/atlas/gallery/test_browser.py::test_narrow"
    done = run_pytest(test, PATH=str(tmp_path), CI=ci)
    assert done.returncode == status, done.stdout
    word = "ERROR" if ci else "SKIPPED"
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"{word} ")]
    assert test in line
    assert ("no chromium" if not ci else "a browser test may not be skipped") in line


def test_every_skip_is_listed_with_its_reason():
    """One line each at the end, also of those that are skipped at one place for one reason."""
    done = run_pytest(
        "tests/atlas/gallery/test_browser.py", "-k", "themes or narrow or token", PATH="/nowhere"
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert len(lines) == 3, done.stdout
    assert all("apt-get install chromium chromium-driver" in line for line in lines)


@pytest.mark.skipif(
    not both_precisions.device._has_bfloat16(PROCESSOR), reason="needs a processor with bfloat16 instructions"
)
@pytest.mark.parametrize(
    ("first", "second"), [("", "float32"), ("float32", "bfloat16"), ("bfloat16", "float32")]
)
def test_the_second_run_takes_the_other_precision(first, second):
    """The other one than `auto` is in the first, whoever said what that is."""
    test = "tests/ascent/engine/test_prepare.py::test_precision_by_name"
    done = run_pytest("--other-precision", test, FILTERSCOPE_PRECISION=first)
    assert done.returncode == 0, done.stdout
    assert f"FILTERSCOPE_PRECISION={second}" in done.stdout
    assert "2 passed" in done.stdout


def test_no_second_run_without_bfloat16(monkeypatch):
    """Said in a line, and no failure."""
    monkeypatch.setattr(both_precisions.device, "_has_bfloat16", lambda device: False)
    with pytest.raises(pytest.exit.Exception, match="no bfloat16 instructions") as found:
        both_precisions.pytest_configure(SimpleNamespace(getoption=lambda name: True))
    assert found.value.returncode == 0


def test_tests_of_the_second_run():
    """Those that asked for auto, that share a fixture which did, or that have not run yet."""
    uses = {"a::1": [], "a::2": [], "b::1": ["net", "drawn"], "b::2": ["net"], "c::1": []}
    items = [SimpleNamespace(nodeid=one, fixturenames=names) for one, names in uses.items()]
    known = {"a::1": False, "a::2": True, "b::1": False, "b::2": False, both_precisions.shared("drawn"): True}
    assert [item.nodeid for item in both_precisions.dependent(items, known)] == ["a::2", "b::1", "c::1"]


@pytest.mark.parametrize(("scope", "name"), [("module", "fixture drawn"), ("function", "here")])
def test_a_shared_fixture_is_noted_by_its_own_name(noted, scope, name):
    """It draws for the first test that uses it; the others depend on the number type as much."""
    steps = both_precisions.pytest_fixture_setup(SimpleNamespace(scope=scope, argname="drawn"))
    next(steps)
    choose_precision("auto", PROCESSOR)
    with pytest.raises(StopIteration):
        steps.send(None)
    assert noted == {name: True}
    assert both_precisions.running == ["here"]


def test_what_a_worker_noted_is_kept(noted):
    """Of pytest-xdist, whose workers run the tests."""
    both_precisions.pytest_testnodedown(SimpleNamespace(workeroutput={both_precisions.KEY: {"there": True}}))
    both_precisions.pytest_testnodedown(SimpleNamespace())
    assert noted == {"there": True}


@pytest.fixture
def noted(monkeypatch) -> dict[str, bool]:
    """A stand-in for the test that is running, and what is noted of it."""
    asked: dict[str, bool] = {}
    monkeypatch.setattr(both_precisions, "asked", asked)
    monkeypatch.setattr(both_precisions, "running", ["here"])
    return asked


def test_what_asks_for_auto_is_noted(noted):
    """`auto` is, a precision by name is not."""
    choose_precision("float32", PROCESSOR)
    assert noted == {}
    choose_precision("auto", PROCESSOR)
    assert noted == {"here": True}


@pytest.mark.parametrize(
    ("command", "depends"),
    [([sys.executable, "-c", ""], True), ([sys.executable, "-c", "'float32'"], False), (["true"], False)],
)
def test_commands_are_noted(noted, command, depends):
    """Programs of this Python, unless they name a precision."""
    subprocess.run(command, check=True)
    assert bool(noted) == depends


@pytest.fixture
def fresh(tmp_path) -> Path:
    """A machine with the commands that .ci/run uses, a stand-in for scripts/test, and no browser."""
    (tmp_path / "bin").mkdir()
    for name in ("bash", "dirname", "env", "cat"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    (tmp_path / ".ci").mkdir()
    shutil.copy(HOME / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "scripts").mkdir()
    command(tmp_path / "scripts" / "test", 'echo "tests run, arguments: $*"')
    return tmp_path


def command(path: Path, script: str) -> None:
    path.write_text(f"#!/usr/bin/env bash\n{script}\n")
    path.chmod(0o755)


def run_ci(place: Path) -> subprocess.CompletedProcess[str]:
    bin = place / "bin"
    done = subprocess.run([place / ".ci" / "run"], env={"PATH": str(bin)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "tests run, arguments: \n"), done.stderr
    return done


@pytest.mark.parametrize("works", [True, False])
def test_ci_installs_a_browser_where_it_may(fresh, works):
    """As root with apt-get: the index first, then Debian's packages; where that fails, what is missing is said."""
    told = fresh / "told"
    command(fresh / "bin" / "id", "echo 0")
    made = "\n".join(
        f'echo > "{fresh}/bin/{n}"; {shutil.which("chmod")} +x "{fresh}/bin/{n}"'
        for n in ("chromium", "chromedriver")
    )
    install = f'[ "$1" = install ] || exit 0\n{made}' if works else "exit 100"
    command(fresh / "bin" / "apt-get", f'echo "$*" >> "{told}"\n{install}')
    done = run_ci(fresh)
    calls = told.read_text().splitlines()
    assert calls[0].split()[0] == "update"
    assert ("apt-get install chromium chromium-driver" in done.stderr) != works
    assert [set(call.split()) >= {"install", "chromium", "chromium-driver"} for call in calls[1:]] == [
        True
    ] * works


@pytest.mark.parametrize("user", ["0", "1000"])
def test_ci_says_what_is_missing(fresh, user):
    """Without apt-get, or without being root: in words, with the line that mends it; the tests run."""
    command(fresh / "bin" / "id", f"echo {user}")
    if user != "0":
        command(fresh / "bin" / "apt-get", f'echo > "{fresh}/told"')
    assert "apt-get install chromium chromium-driver" in run_ci(fresh).stderr
    assert not (fresh / "told").exists()


def test_ci_leaves_a_browser_alone(fresh):
    """What is there is not installed."""
    for name in ("google-chrome", "chromedriver", "apt-get"):
        command(fresh / "bin" / name, f'echo "$0" >> "{fresh}/told"')
    command(fresh / "bin" / "id", "echo 0")
    assert run_ci(fresh).stderr == ""
    assert not (fresh / "told").exists()


def test_the_readme_names_the_browsers_packages():
    """The one line that brings them."""
    assert "apt-get install chromium chromium-driver" in (HOME / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("changed", ["constraints.txt", "pyproject.toml", "src/filterscope/_version.py"])
def test_install_notices_what_changed(tmp_path, changed):
    """Installed once; again only where a pinned version, an extra or filterscope's own version has changed."""
    for name in ("scripts/install", "constraints.txt", "pyproject.toml", "src/filterscope/_version.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HOME / name, tmp_path / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    command(tmp_path / ".venv" / "bin" / "python", f'echo "$*" >> "{tmp_path}/calls"')

    def installs() -> int:
        subprocess.run([tmp_path / "scripts" / "install", "test"], check=True, capture_output=True)
        return len((tmp_path / "calls").read_text().splitlines())

    assert (installs(), installs()) == (1, 1)
    with (tmp_path / changed).open("a") as file:
        file.write("\n# changed\n")
    assert (installs(), installs()) == (2, 2)
