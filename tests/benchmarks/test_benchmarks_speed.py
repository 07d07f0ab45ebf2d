"""benchmarks/speed: jobs by name under both spellings of the option, rows, and the roofline's shares."""

import sys

import pytest
import torch
from benchmarks import result_files
from benchmarks.speed import report, roofline, run
from benchmarks.speed.rows import plain, ratio


@pytest.fixture
def jobs(monkeypatch, tmp_path):
    """Two jobs that are done at once, each kept in a file of its own; what was run."""
    done = []

    def job(name):
        def measure(bench):
            done.append(name)
            return [plain(name, [1.0], "")]

        return measure

    monkeypatch.setattr(run, "JOBS", {name: job(name) for name in ("own", "roofline")})
    monkeypatch.setattr(run, "Bench", lambda options, folder: None)
    return done


@pytest.mark.parametrize("option", ["--only", "--jobs"])
def test_jobs_by_name(jobs, option, monkeypatch, tmp_path, capsys):
    """Run in their order, kept in the files that the page is made from, and printed."""
    monkeypatch.setattr(sys, "argv", ["speed.py", option, "roofline,own", "--results", str(tmp_path)])
    run.main()
    assert jobs == ["roofline", "own"]
    assert list(result_files.read(tmp_path / "speed-roofline.json")) == ["roofline"]
    assert list(result_files.read(tmp_path / "speed.json")) == ["own"]
    assert "| `own` | own | 1 |" in capsys.readouterr().out


def test_unknown_job(jobs, monkeypatch, capsys):
    """A name that is no job's ends with status 2."""
    monkeypatch.setattr(sys, "argv", ["speed.py", "--only", "rooflines"])
    with pytest.raises(SystemExit, match="2"):
        run.main()
    assert "unknown job 'rooflines'" in capsys.readouterr().err


def test_every_new_job_has_its_file():
    """Whatever is kept beside speed.json is a job."""
    from benchmarks.speed.jobs import JOBS

    assert set(report.FILES) <= set(JOBS)


def test_ratio():
    """Run by run, the median of them."""
    row = ratio("a / b", [2.0, 9.0, 4.0], [1.0, 3.0, 1.0], 3)
    assert (row["value"], row["aim"], row["all"]) == (3.0, ">= 3", [2.0, 3.0, 4.0])


def test_roofline_of_a_layer():
    """A layer that takes twice its least time has a share of a half: here its traffic decides."""
    kind = roofline._convolution(1, 8, 4, inputs=2)
    values = roofline.BATCH * 16 * (2 * 2 + 3 * 8)
    assert (kind.flop, kind.values) == (4 * roofline.BATCH * 8 * 16 * 2, values)
    assert kind.layer(*kind.inputs).shape == (roofline.BATCH, 8, 4, 4)
    clock = iter(float(i) for i in range(1000))
    limits = {"matrix_float32": 1.0, "copy": values * 4 / 0.5e9}
    row = roofline._row("one", kind, torch.float32, limits, lambda: next(clock))
    assert row["value"] == pytest.approx(0.5)
    assert "1000.00 ms: 0% of the matrix rate, 50% of the copy rate" in row["note"]
