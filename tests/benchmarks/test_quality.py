"""The pure parts of benchmarks/quality/: spectra by hand, scores, tables, what is kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks import page, result_files
from benchmarks.quality import run as quality
from benchmarks.quality.jobs import sample, side_by_side
from benchmarks.quality.judge import Judge
from benchmarks.quality.report import Result, sample_rows, side_rows
from benchmarks.quality.scores import Score, Scorer, dead_units, summary
from benchmarks.quality.spectrum import distance, natural_profile, profile
from benchmarks.quality.store import Store, digest
from benchmarks.quality.table import markdown
from benchmarks.runners.quality_plan import save
from PIL import Image


def score(unit: int = 0, activation: float = 2.0, best: float = 1.0, **more) -> Score:
    return Score("conv", unit, activation, best, **{"top": True, "spectrum": 0.5, "seconds": 1.0, **more})


def waves(side: int, cycles: int, height: float) -> np.ndarray:
    x = height * np.cos(2 * np.pi * cycles * np.arange(side) / side)
    return np.repeat(np.tile(np.rint(127 + x), (side, 1)).astype(np.uint8)[..., None], 3, axis=2)


def test_a_flat_picture_lies_at_the_floor():
    """ln 1 / (255 n) in every ring."""
    flat = np.full((16, 16, 3), 90, np.uint8)
    assert profile(flat, 16) == pytest.approx(np.full(7, -np.log(255 * 16)))


def test_a_cosines_amplitude_by_hand():
    """height / 2 at +-k, times the Hann window's mean 1 / 2 in each direction: height / 8, in the ring's other
    frequencies nothing but the window's own sidelobes."""
    image, side, cycles = waves(32, 6, 102), 32, 6
    k = np.fft.fftfreq(side, 1 / side)
    ring = np.rint(np.hypot(k[:, None], k[None])) == cycles
    y = image[..., 0] / 255
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(side) / side)
    by_hand = np.abs(np.fft.fft2((y - y.mean()) * window[:, None] * window)) / side**2
    assert by_hand.max() == pytest.approx(0.4 / 8, rel=0.01)
    expected = np.log(np.maximum(by_hand, 1 / (255 * side)))[ring].mean()
    assert profile(image, side)[cycles - 1] == pytest.approx(expected)


def test_half_the_contrast_is_ln_2_away():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (64, 64, 3)).astype(float)
    loud, soft = noise.astype(np.uint8), np.rint(127 + (noise - 127) / 2).astype(np.uint8)
    assert distance(soft, profile(loud, 64)) == pytest.approx(np.log(2), abs=0.02)
    assert distance(loud, profile(loud, 64)) == 0


def test_noise_is_far_from_photographs():
    """White noise lies further from the shipped profile than noise whose amplitudes fall as photographs' do."""
    rng = np.random.default_rng(0)
    white = rng.normal(size=(128, 128))
    k = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None])
    pink = np.fft.ifft2(np.fft.fft2(white) / np.maximum(k, 1 / 128) ** 1.2).real
    pictures = [np.clip(127 + 50 * x / x.std(), 0, 255).astype(np.uint8) for x in (white, pink)]
    far, near = (distance(np.repeat(p[..., None], 3, axis=2), natural_profile(224)) for p in pictures)
    assert near < 0.5 < 1 < far


def test_summary_by_hand():
    """Rates over live units, the median over those with a natural best, dead ones counted apart."""
    scores = [
        score(0, 2.0),
        score(1, 0.5, top=False),
        score(2, 6.0, seconds=4.0),
        score(3, 0.0, best=0.0, top=False),  # dead
        score(4, 1.0, best=0.0, top=False),  # no photograph excites it, the picture does
    ]
    dead = dead_units(scores)
    assert dead == {("conv", 3)}
    row = summary(scores, dead)
    assert (row["pictures"], row["dead"], row["success"], row["excitation"]) == (5, 1, 0.75, 2.0)
    assert row["top_unit"] == pytest.approx(2 / 3)
    assert row["seconds"] == pytest.approx(8 / 5)
    assert "probability" not in row


def test_a_unit_is_dead_only_where_no_program_excites_it():
    assert dead_units([score(0, 0.0, best=0.0), score(0, 0.1, best=0.0)]) == set()


def test_classes_have_probabilities_and_a_judge():
    row = summary([score(0, probability=0.995, judge=1), score(1, probability=0.9, judge=4)])
    assert (row["sure"], row["judge_top1"], row["judge_top5"]) == (0.5, 0.5, 1.0)
    table = markdown([(["sharp"], row)], ["program"])
    assert "| judge top-1 |" in table
    assert table.splitlines()[2].startswith("| sharp | 2 | 100.0% | 2.00 |")


def test_columns_without_a_number_are_left_out():
    table = markdown([(["a"], {"success": 0.5}), (["b"], {"success": None, "seconds": 2.0})], ["program"])
    assert table.splitlines() == [
        "| program | success | s a picture |",
        "|---|---|---|",
        "| a | 50.0% |  |",
        "| b |  | 2.00 |",
    ]


def test_a_judge_ranks_like_itself(tiny):
    """The network as its own judge: a picture's rank is that of its class among the sorted logits."""
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    scorer = Scorer(tiny, {"predictions": np.ones(200)}, natural_profile(64))
    values = scorer.activations("predictions", image)
    judge = Judge.of(tiny, tiny)
    assert judge.rank(image, int(values.argmax())) == 1
    assert judge.rank(image, int(values.argsort()[-3])) == 3


@pytest.fixture
def scorer(tiny) -> Scorer:
    from filterscope.measure.natural import shipped

    layers = ("block4_conv3", "predictions")
    return Scorer(tiny, {n: shipped(tiny, n).best for n in layers}, natural_profile(64))


def test_samples_are_nested(scorer):
    """The side-by-side units are in every sample, a sample in the whole, the same each time."""
    side = side_by_side(scorer)
    some, whole = sample(scorer, 4, first=side), sample(scorer, None, first=side)
    assert side == {"block4_conv3": [7, 100], "predictions": [65, 0, 18]}
    for layer in side:
        assert set(side[layer]) <= set(some[layer]) <= set(whole[layer])
        assert whole[layer] == list(range(scorer.network.layer(layer).units))
        assert len(some[layer]) == 4
    assert sample(scorer, 4, first=side) == some


def test_scores_agree_with_the_librarys(scorer):
    """What `filterscope show` reports of a picture is what the benchmark measures of its file."""
    from filterscope.drawing.draw import draw
    from filterscope.drawing.run import Run
    from filterscope.recipe import get_recipe

    net = scorer.network
    recipe = get_recipe("sharp", steps=4, size=64)
    for text in ("block4_conv3:7", "predictions:65"):
        (picture,) = draw(net, net.targets(text), recipe, run=Run(precision="float32"))
        found = scorer.score(picture.target.layer, picture.target.unit, picture.image, 0.0)
        assert found.activation == pytest.approx(picture.scores.activation, rel=1e-4)
        assert found.excitation == pytest.approx(picture.scores.excitation, rel=1e-4)
        assert found.top == picture.scores.top_unit
        if picture.scores.probability is not None:
            assert found.probability == pytest.approx(picture.scores.probability, rel=1e-3)


def test_enlarging_counts_only_where_it_helps(scorer):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    plain, fed = (
        scorer.score("predictions", 0, image, 0.0),
        scorer.score("predictions", 0, image, 0.0, fed=96),
    )
    assert fed.activation >= plain.activation
    assert scorer.score("predictions", 0, image, 0.0, fed=64).activation == pytest.approx(plain.activation)


def test_a_peers_picture_is_read_back_only_with_its_label(tmp_path):
    """Another label (other settings, other weights) and a damaged file mean: draw it anew."""
    store = Store(tmp_path)
    place = store.place("net", "lucent", "conv", 3)
    save(Image.new("RGB", (8, 8), (1, 2, 3)), place, {"label": "a", "seconds": 2.5})
    kept = store.read("net", "lucent", "conv", 3, "a")
    assert kept is not None
    assert (kept.seconds, kept.image[0, 0].tolist()) == (2.5, [1, 2, 3])
    assert store.read("net", "lucent", "conv", 3, "b") is None
    place.write_bytes(place.read_bytes()[:40])
    assert store.read("net", "lucent", "conv", 3, "a") is None


def test_a_score_is_measured_once(tmp_path):
    store = Store(tmp_path)
    save(Image.new("RGB", (8, 8)), store.place("net", "p", "conv", 0), {"label": "a", "seconds": 1})
    kept = store.read("net", "p", "conv", 0, "a")
    assert store.score(kept, "m", lambda: score()) == score()
    store.save()
    again = Store(tmp_path)
    assert again.score(kept, "m", lambda: pytest.fail("measured twice")) == score()
    assert again.score(kept, "other", lambda: score(1)) == score(1)


def test_digests_tell_settings_apart():
    assert digest("a", 1) == digest("a", 1) != digest("a", 2)


def test_rows_compare_the_same_units(scorer):
    """The sample's table holds only units that all its programs drew."""
    side = {"block4_conv3": [7]}
    three = [Score("block4_conv3", u, 2.0, 1.0, True, 0.1, 1.0) for u in (7, 8, 9)]
    results = [
        Result(scorer, "sharp", three, False, side),
        Result(scorer, "natural", three[:2], False, side),
        Result(scorer, "lucent", three[:1], False, side),
    ]
    assert [(cells[1], row["pictures"]) for cells, row in side_rows(results)] == [
        ("sharp", 1), ("natural", 1), ("lucent", 1),
    ]  # fmt: skip
    assert [(cells[1], row["pictures"]) for cells, row in sample_rows(results, [])] == [
        ("sharp", 2), ("natural", 2),
    ]  # fmt: skip


def test_a_small_run_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    """One preset, few steps: the table, the sheet, the JSON; the second run draws nothing."""
    from filterscope.recipe import PRESETS

    quick = PRESETS["sharp"].model_copy(update={"steps": 2, "size": 32})
    monkeypatch.setitem(PRESETS, "sharp", quick)
    monkeypatch.setattr(quality, "IMAGES", tmp_path / "none")
    command = [
        "--networks",
        "tiny-vgg16",
        "--presets",
        "sharp",
        "--peers",
        "none",
        "--whole",
        "none",
        "--quick",
    ]
    assert quality.main([*command, "--out", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert "| tiny-vgg16 | sharp |" in table
    assert {"quality.md", "quality.json", "sheet.png"} <= {p.name for p in tmp_path.iterdir()}
    monkeypatch.setattr(quality, "draw", lambda *a, **k: pytest.fail("drawn twice"))
    assert quality.main([*command, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == table


def test_wrong_names_are_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        quality.main(["--presets", "shrap"])
    assert stop.value.code == 2
    assert "'shrap' is not one of naive" in capsys.readouterr().err


def test_a_finished_run_is_kept_as_the_pages_tables(scorer, tmp_path, monkeypatch):
    """The rows of a run with one preset, in benchmarks/results' form; a run in which a program is missing leaves none."""
    monkeypatch.setattr(quality, "open_job", lambda *args, **settings: scorer)
    drawn = {"sharp": [score(7), score(100)], "lucent": [score(7)]}
    monkeypatch.setattr(
        quality,
        "draw_preset",
        lambda scorer, preset, *_: [replace(s, layer="block4_conv3") for s in drawn[preset]],
    )
    complaints = iter(["lucent did not run", None])
    monkeypatch.setattr(
        quality,
        "draw_peer",
        lambda *_: ([replace(s, layer="block4_conv3") for s in drawn["lucent"]], next(complaints)),
    )
    monkeypatch.setattr("benchmarks.quality.report.side_sheet", lambda *_: Image.new("RGB", (8, 8)))
    asked = ["--networks", "tiny-vgg16", "--presets", "sharp", "--peers", "lucent", "--whole", "none"]
    asked += ["--out", str(tmp_path / "out"), "--results", str(tmp_path / "results")]
    assert quality.main(asked) == 0
    assert not (tmp_path / "results").exists()
    assert quality.main(asked) == 0
    parts = result_files.read(tmp_path / "results" / "quality-part.json")
    assert [row["row"] for row in parts["side by side"]["rows"]] == [
        ["tiny-vgg16", "sharp"],
        ["tiny-vgg16", "lucent"],
    ]
    assert parts["side by side"]["versions"]["torch-lucent"]
    made = page.table("quality-part / side by side", tmp_path / "results")
    assert "| tiny-vgg16 | sharp | 2 | 100.0% | 2.00 |" in made


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ([], "quality"),
        (["--units", "1", "--whole", "none"], "quality"),
        (["--presets", "sharp"], "quality-part"),
        (["--peers", "none"], "quality-part"),
        (["--quick", "--peers", "none"], "quality-quick"),
        (["--quick", "--name", "mine"], "mine"),
    ],
)
def test_only_a_whole_run_takes_the_place_of_the_pages_figures(options, name, tmp_path):
    """Nor one from which the real VGG16 is missing, as it does without its weights."""
    (tmp_path / "weights").touch()
    here = ["--vgg16-weights", str(tmp_path / "weights"), "--images", str(tmp_path)]
    assert quality.arguments([*here, *options]).name == name


def test_without_the_real_weights_a_run_is_a_part(monkeypatch):
    monkeypatch.setattr(quality, "WEIGHTS", Path("/nowhere"))
    assert quality.arguments([]).name == "quality-part"
