"""Recorder: a training is the same to the bit with and without; what it draws, where it goes on, what it survives."""

from __future__ import annotations

import json
import logging
import random

import numpy as np
import pytest
import torch
from PIL import Image
from tests.epochs.conftest import QUICK, data, made

import filterscope as fs
from filterscope.epochs import recorder as module
from filterscope.errors import ArgumentError, ImageError, OutputError, TargetError

EPOCHS = 2


def recording(folder):
    return json.loads((folder / "recording.json").read_text())


def epochs(folder) -> list[int]:
    return [turn["epoch"] for turn in recording(folder)["turns"]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training with pictures, images and all: the folder."""
    return tmp_path_factory.mktemp("training") / "pictures"


def test_a_training_goes_on_as_without(train, whole, tmp_path):
    """Losses, weights, statistics, gradients, modes, hooks and all random numbers, to the bit."""

    def trained(with_pictures: bool):
        random.seed(1)
        np.random.seed(1)
        model = made()
        calls = []
        model[2].register_forward_hook(lambda *_: calls.append(model.training))
        modes = []

        def look(epoch: int) -> None:
            model[4].eval()  # each part has a mode of its own
            before = [p.grad for p in model.parameters()], [m.training for m in model.modules()]
            if with_pictures:
                recorder(epoch)
            assert all(a is p.grad for a, p in zip(before[0], model.parameters(), strict=True))
            modes.append([m.training for m in model.modules()] == before[1])

        if with_pictures:
            recorder = fs.Recorder(model, ["0:0-1", "5:*"], whole, images=data()[0], seed=3, **QUICK)
            recorder.begin()
        losses = train(model, EPOCHS, look)
        assert all(modes)
        state = [*model.state_dict().values(), *(p.grad for p in model.parameters())]
        numbers = [random.random(), np.random.random(), torch.rand(())]
        return losses, state, len(calls), numbers, {t.dtype for t in state}

    a, b = trained(True), trained(False)
    assert a[0] == b[0]
    assert all(torch.equal(x, y) for x, y in zip(a[1], b[1], strict=True))
    assert a[2:] == b[2:]


def test_what_is_written(whole):
    """A turn for each epoch, pictures with their records, animations, numbers of every unit, dead ReLUs."""
    told = recording(whole)
    assert epochs(whole) == [0, 1, 2]
    first, *_, last = told["turns"]
    assert [row["target"] for row in last["units"]] == ["0:0", "0:1", "5:0", "5:1", "5:2"]
    assert any(row["excitation"] is not None for row in last["units"])  # not where no image excites a unit
    assert all(row["change"] is None for row in first["units"])
    assert all(0 <= row["change"] <= 1 for row in last["units"] if row["change"] is not None)
    assert [*last["dead"]] == ["2"]
    assert last["dead"]["2"][1] == 4
    assert last["images"] == 24
    for turn in told["turns"]:
        for row in turn["units"]:
            with Image.open(whole / row["file"]) as image:
                assert json.loads(image.text["filterscope"])["weights_sha256"] == turn["weights_sha256"]
                assert json.loads(image.text["filterscope"])["attempt"] == 0
    with Image.open(whole / "animations" / "5-0002.webp") as film:
        assert film.n_frames == 3
    assert not list(whole.rglob("*.part"))


def test_a_later_run_goes_on(train, tmp_path):
    """By its epochs; by its weights, where its epochs begin anew; from a middle epoch on, after a crash."""
    model, out = made(), tmp_path / "out"
    train(model, 2, fs.Recorder(model, "0:0", out, **QUICK))
    assert epochs(out) == [1, 2]
    train(model, 1, fs.Recorder(model, "0:0", out, **QUICK), first=3)
    assert epochs(out) == [1, 2, 3]
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, 2, fs.Recorder(model, "0:0", out, **QUICK), first=1)
    assert epochs(out) == [1, 2, 3, 4, 5]
    model.load_state_dict(kept)  # the checkpoint was older than the pictures
    again = fs.Recorder(model, "0:0", out, **QUICK)
    torch.manual_seed(5)
    train(model, 1, again, first=4)
    assert epochs(out) == [1, 2, 3, 4]
    assert not (out / "epoch-00005").exists()
    before = (out / "recording.json").read_bytes()
    again(4)  # the same weights: nothing to draw
    assert (out / "recording.json").read_bytes() == before
    assert again.folder == out


@pytest.mark.parametrize("change", [{"targets": "0:1"}, {"seed": 9}, {"steps": 3}, {}])
def test_another_recording_gets_a_folder_of_its_own(train, tmp_path, caplog, change):
    """Other targets, seed or recipe, and a training that starts over; what was there stays as it was."""
    model, out = made(), tmp_path / "out"
    fs.Recorder(model, "0:0", out, **QUICK)(1)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = made(seed=1)
    options = {"targets": "0:0", **QUICK, **change}
    recorder = fs.Recorder(other, options.pop("targets"), out, **options)
    recorder(1)
    assert recorder.folder == tmp_path / "out-1"
    assert epochs(recorder.folder) == [1]
    assert {path: path.read_bytes() for path in before} == before
    why = {"targets": "targets", "seed": "seed", "steps": "recipe"}.get(next(iter(change), ""), "starts over")
    assert why in caplog.text


def test_errors_are_logged_and_no_more(tmp_path, caplog, monkeypatch):
    """Whatever drawing raises, but for Ctrl-C; random numbers go on either way."""
    model = made()
    recorder = fs.Recorder(model, "0:0", tmp_path / "out", **QUICK)
    real = module.draw_turn

    def failing(error):
        def draw(*_):
            torch.rand(3)
            raise error

        return draw

    state = torch.get_rng_state()
    monkeypatch.setattr(module, "draw_turn", failing(ZeroDivisionError("division by zero")))
    recorder(1)
    assert "epoch 1 has no pictures: division by zero" in caplog.text
    monkeypatch.setattr(module, "draw_turn", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        recorder(1)
    assert torch.equal(torch.get_rng_state(), state)
    monkeypatch.setattr(module, "draw_turn", real)
    recorder(2)
    assert epochs(recorder.folder) == [2]


def test_weights_that_are_no_numbers(tmp_path, caplog):
    """A training that has diverged goes on without pictures."""
    model = made()
    recorder = fs.Recorder(model, "0:0", tmp_path / "out", **QUICK)
    with torch.no_grad():
        model[0].weight.fill_(float("nan"))
    recorder(1)
    assert "NaN or infinite" in caplog.text
    assert not recorder.folder.exists()


def test_pictures_go_to_loggers_too(tmp_path, caplog):
    """Each by name with its pixels and epoch; a logger that fails costs nothing but its pictures."""
    seen = []

    def keep(name, image, step):
        seen.append((name, image.shape, image.dtype, step))

    def fail(name, image, step):
        raise OSError("disk full")

    fs.Recorder(made(), ["0:0", "5:2"], tmp_path / "a", log=keep, **QUICK)(4)
    assert seen == [("0:0", (8, 8, 3), np.uint8, 4), ("5:2", (8, 8, 3), np.uint8, 4)]
    recorder = fs.Recorder(made(), "0:0", tmp_path / "b", log=fail, **QUICK)
    recorder(1)
    assert "could not all be logged: disk full" in caplog.text
    assert epochs(recorder.folder) == [1]


@pytest.mark.parametrize("budget", [{"seconds": 0.001}, {"share": 0.001}])
def test_a_budget_picks_the_steps_once(tmp_path, caplog, budget):
    """The least number where there is no time; said in the log and on the page; the same at every turn, and by a later
    run."""
    out, model = tmp_path / "out", made()
    options = {**QUICK, "steps": 20, **budget}
    recorder = fs.Recorder(model, "0:0", out, **options)
    recorder.begin()
    recorder(1)
    assert "takes 8 of 20 steps at every turn" in caplog.text
    assert "takes 8 of 20 steps" in (out / "epochs.js").read_text()
    assert epochs(out) == ([1] if "share" in budget else [0, 1])
    with torch.no_grad():
        model[0].weight.mul_(2)
    fs.Recorder(model, "0:0", out, **{**options, **dict.fromkeys(budget, 1000.0)})(2)
    assert {turn["steps"] for turn in recording(out)["turns"]} == {8}


def test_a_large_budget_takes_the_recipe(tmp_path):
    """No step more than the recipe has."""
    fs.Recorder(made(), "0:0", tmp_path, seconds=500, **QUICK)(1)
    assert recording(tmp_path)["turns"][0]["steps"] == 2


def test_another_process_draws_nothing(tmp_path, monkeypatch):
    """Of several processes the first one draws."""
    monkeypatch.setattr(module, "is_first_process", lambda: False)
    recorder = fs.Recorder(made(), "0:0", tmp_path / "out", **QUICK)
    recorder(1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"targets": "9:0"}, TargetError, "has no layer '9'"),
        ({"seconds": 1, "share": 0.5}, ArgumentError, "not both"),
        ({"seconds": 0}, ArgumentError, "seconds is a number above 0"),
        ({"share": "much"}, ArgumentError, "share is a number above 0"),
        ({"stepz": 2}, ArgumentError, "no option 'stepz'; did you mean 'steps'"),
        ({"second": 2}, ArgumentError, "no option 'second'; did you mean 'seconds'"),
        ({"input": {"rnge": (0, 1)}}, ArgumentError, "did you mean 'range'"),
        ({"input": 3}, ArgumentError, "input is options of open_network"),
        ({"images": np.zeros((3, 8, 8, 1)) - 1.0}, ImageError, "floats in 0 to 1"),
        ({"images": np.zeros((0, 8, 8, 1))}, ImageError, "an array of pictures is"),
        ({"images": 3}, ImageError, "images is a folder"),
        ({"images": "nowhere"}, ImageError, "no folder of pictures"),
        ({"log": 3}, ArgumentError, "log takes a SummaryWriter"),
        ({"model": "tiny-vgg16"}, ArgumentError, "takes the model object"),
        ({"model": 3}, ArgumentError, "the torch or Keras model"),
    ],
)
def test_wrong_arguments(tmp_path, options, error, message):
    """Are refused before the training begins, and leave nothing behind."""
    given = {"model": made(), "targets": "0:0", **QUICK, **options}
    with pytest.raises(error, match=message):
        fs.Recorder(given.pop("model"), given.pop("targets"), tmp_path / "out", **given)
    assert not list(tmp_path.iterdir())


def test_out_is_a_file(tmp_path):
    """A training would go without pictures."""
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="is a file; name a folder"):
        fs.Recorder(made(), "0:0", tmp_path / "out", **QUICK)


@pytest.mark.parametrize("epoch", [1.5, -1, "1"])
def test_an_epoch_is_a_whole_number(tmp_path, caplog, epoch):
    """Anything else is said, and draws nothing."""
    recorder = fs.Recorder(made(), "0:0", tmp_path / "out", **QUICK)
    recorder(epoch)
    assert "an epoch is a whole number from 0 on" in caplog.text
    assert not (tmp_path / "out").exists()


def test_a_model_that_has_no_shapes_yet(tmp_path, caplog):
    """Is opened once it has run."""
    model = torch.nn.Sequential(torch.nn.LazyConv2d(4, 3), torch.nn.ReLU())
    with caplog.at_level(logging.WARNING):
        recorder = fs.Recorder(model, "0:0", tmp_path / "out", **QUICK)
    assert "cannot be opened yet" in caplog.text
    model(torch.zeros(1, 1, 8, 8))
    recorder(1)
    assert epochs(recorder.folder) == [1]


def test_guesses_are_corrected_by_input(tmp_path, caplog):
    """What is guessed of a network is given to a recorder as `input`, and elsewhere to open_network as before."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    with caplog.at_level(logging.WARNING):
        fs.Recorder(model, "0:0", tmp_path / "out", steps=2, size=16, input={"size": 16})
        assert (
            'say so with input={"range": ..., "mean": ..., "std": ..., "show_channels": ...}' in caplog.text
        )
        fs.open_network(torch.nn.Sequential(*model), size=16)
    assert "say so with open_network(range=, mean=, std=, show_channels=)" in caplog.text
