"""progress.py: a bar with steps, activation and time left, on a terminal only unless asked for."""

import functools

import numpy as np
import pytest
import tqdm.auto

from filterscope.progress import Step, progress_bar
from filterscope.target import Target


@pytest.fixture(autouse=True)
def redrawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is redrawn at every step, however fast they come."""
    monkeypatch.setattr(tqdm.auto, "tqdm", functools.partial(tqdm.auto.tqdm, mininterval=0))


def steps(on_step) -> None:
    for done in (2, 4, 6):
        on_step(Step(done, 6, Target("block3_conv1", 1), activations=np.array([done / 3])))


def test_shown(capsys):
    """Layer, steps done of all, activation, time left; on standard error, none of it left behind on standard out."""
    with progress_bar(True) as on_step:
        steps(on_step)
        shown = capsys.readouterr()
    assert shown.out == ""
    for text in ("block3_conv1", "/6", "activation 0.6667", "<", "step"):
        assert text in shown.err


@pytest.mark.parametrize("shown", [False, None])
def test_not_shown(capsys, shown):
    """Nothing where it is switched off, or where nobody watches."""
    with progress_bar(shown) as on_step:
        steps(on_step)
    assert capsys.readouterr() == ("", "")


def test_closed_when_the_work_fails(capsys):
    """An error comes through, and the bar is closed behind it."""

    def fail():
        with progress_bar(True) as on_step:
            on_step(Step(1, 2, Target("a", 1)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with progress_bar(True) as on_step:
        steps(on_step)
    assert "block3_conv1" in capsys.readouterr().err


def test_no_steps_no_bar(capsys):
    """Without a step nothing is shown."""
    with progress_bar(True):
        pass
    assert capsys.readouterr() == ("", "")
