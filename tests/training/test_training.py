"""training/: the data set's two layouts, runs that survive interruption, folding, export, the Keras twin."""

import hashlib
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from training.architectures import ARCHITECTURES
from training.card import text
from training.data import ClassName, Pictures, open_data
from training.errors import TrainingError
from training.folding import add_batch_norm, fold, half, read_weights, unfold, write_weights
from training.loop import _average_towards, likeness
from training.networks import Network

from training import augment, checkpoint, evaluate, export, files, keras_twin, measure, schedule, train

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "src" / "filterscope" / "networks" / "data"
WNIDS = ["n00000003", "n00000001", "n00000004", "n00000002"]  # the published wnids.txt is unsorted too
NAMES = {
    "n00000001": "sea snake, serpent",
    "n00000002": "crane",
    "n00000003": "crane, bird",
    "n00000004": "pug",
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """These networks and pictures are too small to share out among processors."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of eight training and four validation pictures of noise, as the data set is published."""
    root, random = tmp_path_factory.mktemp("usual"), np.random.default_rng(0)
    (root / "wnids.txt").write_text("\n".join(WNIDS))
    (root / "words.txt").write_text("".join(f"{wnid}\t{name}\n" for wnid, name in NAMES.items()))
    (root / "val" / "images").mkdir(parents=True)
    rows = []
    for i, wnid in enumerate(WNIDS * 12):
        photo = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).resize((64, 64))
        if i == 5:
            photo = photo.convert("L")  # some of the real ones are grey
        if i < 32:
            folder = root / "train" / wnid / "images"
            folder.mkdir(parents=True, exist_ok=True)
            photo.save(folder / f"{wnid}_{i}.JPEG")
        else:
            rows.append(f"val_{i}.JPEG\t{wnid}\t0\t0\t63\t63\n")
            photo.save(root / "val" / "images" / f"val_{i}.JPEG")
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    return root


@pytest.fixture(scope="module")
def mosaics(usual: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures as sheets of five rows and four columns, the last of a split not full."""
    root, source, labels = tmp_path_factory.mktemp("mosaics"), open_data(usual), {}
    for split in ("train", "val"):
        pictures = source.pictures(split)
        labels[split] = pictures.labels.tolist()
        images = np.concatenate([pictures.images.numpy(), np.zeros((20, 64, 64, 3), np.uint8)])
        for n in range(-(-len(pictures) // 20)):
            sheet = images[20 * n : 20 * n + 20].reshape(5, 4, 64, 64, 3).transpose(0, 2, 1, 3, 4)
            Image.fromarray(sheet.reshape(320, 256, 3)).save(root / f"{split}-{n:03}.webp", lossless=True)
    (root / "labels.json").write_text(json.dumps(labels))
    (root / "classes.tsv").write_text("".join(f"{c.wnid}\t{c.names}\n" for c in source.classes()))
    return root


def run_train(data: Path, out: Path, *more: str) -> Result:
    """Two short epochs of four steps of training.train, in float32."""
    settings = ["--arch", "tiny-resnet", "--epochs", "2", "--batch", "8", "--precision", "float32"]
    return CliRunner().invoke(train.main, [*settings, "--data", str(data), "--out", str(out), *more])


@pytest.fixture(scope="module")
def finished(mosaics: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never interrupted."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    result = run_train(mosaics, out)
    assert result.exit_code == 0, result.output
    return out


def shaken(arch: str, classes: int = 7) -> Network:
    """A network with weights and batch-norm statistics unlike the fresh ones."""
    torch.manual_seed(1)
    network = Network(arch, classes)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.3, 0.3)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def pixels(batch: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(2)) * 255


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


# The data set


@pytest.mark.parametrize("limit", [None, 10])
@pytest.mark.parametrize("split", ["train", "val"])
def test_both_layouts_read_alike(usual, mosaics, split, limit):
    """Classes, labels and pictures are the same from either layout."""
    a, b = open_data(usual), open_data(mosaics)
    assert a.classes() == b.classes()
    left, right = a.pictures(split, limit), b.pictures(split, limit)
    assert len(left) == (limit or {"train": 32, "val": 16}[split])
    assert left.images.shape == (len(left), 64, 64, 3)
    assert left.images.dtype == torch.uint8
    assert torch.equal(left.images, right.images)
    assert torch.equal(left.labels, right.labels)


def test_labels_follow_the_sorted_wordnet_ids(usual):
    """Label 0 is the first id in sorted order, whatever the order of wnids.txt."""
    data = open_data(usual)
    assert [c.wnid for c in data.classes()] == sorted(WNIDS)
    assert data.classes()[0].short == "sea_snake"
    assert set(data.pictures("train", 32).labels.tolist()) == {0, 1, 2, 3}


def test_parent_of_the_published_folder_is_found(usual, tmp_path):
    """DATA may be the folder into which the archive was unpacked."""
    (tmp_path / "tiny-imagenet-200").symlink_to(usual)
    assert len(open_data(tmp_path).classes()) == 4


@pytest.mark.parametrize("names", [[], ["holiday.jpg"]])
def test_a_folder_without_the_data_is_refused(tmp_path, names):
    """The message says what was found and what is allowed."""
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(TrainingError) as error:
        open_data(tmp_path)
    assert (names[0] if names else "nothing") in error.value.message
    assert "labels.json" in error.value.message
    assert "wnids.txt" in error.value.message


def test_missing_sheets_are_counted(mosaics, tmp_path):
    """Labels without pictures are an error with both numbers."""
    for name in ("labels.json", "classes.tsv", "train-000.webp"):
        (tmp_path / name).write_bytes((mosaics / name).read_bytes())
    with pytest.raises(TrainingError, match=r"32 labels for 'train'.*20 pictures"):
        open_data(tmp_path).pictures("train")


def test_a_damaged_picture_is_named(usual, tmp_path):
    """Which of 110,000 files it was."""
    for name in ("wnids.txt", "words.txt"):
        (tmp_path / name).write_bytes((usual / name).read_bytes())
    folder = tmp_path / "train" / WNIDS[0] / "images"
    folder.mkdir(parents=True)
    (folder / "x.JPEG").write_bytes(b"no picture")
    with pytest.raises(TrainingError, match=r"x\.JPEG"):
        open_data(tmp_path).pictures("train")


# The parts of a run


def test_schedule_by_hand():
    """The rate rises over the first 8 % of the steps, ends near 0; pictures grow from 40 to 64 px."""
    rates = [schedule.learning_rate(step, 100, 0.2) for step in range(100)]
    assert rates[0] == pytest.approx(0.2 / 8)
    assert max(rates) == rates[7]
    assert rates[50] == pytest.approx(0.1)
    assert rates[99] < 1e-4
    sizes = [schedule.picture_size(epoch, 10) for epoch in range(10)]
    assert sizes == [40] * 4 + [56] * 4 + [64] * 2
    assert schedule.picture_size(0, 10, 48) == 48
    assert schedule.average_decay(0) == 0.1
    assert schedule.average_decay(10**6) == schedule.AVERAGE_DECAY


def test_average_by_hand():
    """A share of 1/4 moves parameters and statistics a quarter of the way; counters are copied."""
    mean, now = torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2)
    now.weight.data.fill_(5.0)
    now.running_mean.fill_(8.0)
    now.num_batches_tracked.fill_(9)
    _average_towards(mean, now, 0.25)
    assert mean.weight.tolist() == [2.0, 2.0]
    assert mean.running_mean.tolist() == [2.0, 2.0]
    assert int(mean.num_batches_tracked) == 9


def test_statistics_are_those_of_the_pictures(mosaics):
    """After measuring, the first batch norm's mean is that of the first convolution's output."""
    network, pictures = shaken("tiny-resnet"), open_data(mosaics).pictures("train")
    measure.measure_statistics(network, pictures, torch.device("cpu"))
    unit = network.units["conv1_conv"]
    with torch.no_grad():
        seen = unit.conv((augment.to_pixels(pictures.images) - network.mean) / network.std)
    torch.testing.assert_close(unit.norm.running_mean, seen.mean((0, 2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(unit.norm.running_var, seen.var((0, 2, 3)), atol=1e-4, rtol=1e-3)
    assert not network.training


def test_pictures_are_spread_over_the_classes():
    """Of pictures that come class by class some of every class; all of them where there are few."""
    pictures = Pictures(torch.zeros(60, 64, 64, 3, dtype=torch.uint8), torch.arange(60) // 20)
    assert measure.spread(pictures, 6).labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert len(measure.spread(pictures, 5000)) == 60


def test_augmented_pictures_keep_their_range():
    """A flat picture stays flat, any picture in 0..255, the size is the one asked for."""
    flat = augment.augment(torch.full((3, 3, 64, 64), 77.0), 40)
    assert flat.shape == (3, 3, 40, 40)
    torch.testing.assert_close(flat, torch.full_like(flat, 77.0))
    noise = augment.augment(pixels(4, 64, 64), 64)
    assert noise.min() >= -1e-3
    assert noise.max() <= 255.001


def test_a_share_of_the_pictures_loses_contrast():
    """About a quarter comes nearer to mid-grey, by 60 to 90 %; the others stay; without a share, all do."""
    torch.manual_seed(3)
    before = pixels(400, 4, 4)
    after = augment.lower_contrast(before, 0.25)
    left = ((after - 127.5) / (before - 127.5)).flatten(1)
    assert 60 < int((left[:, 0] < 0.99).sum()) < 140
    for ratio in left:
        torch.testing.assert_close(ratio, ratio[:1].expand(48), atol=1e-3, rtol=1e-3)
        assert ratio[0] == pytest.approx(1, abs=1e-3) or 0.1 <= ratio[0] <= 0.4
    state = torch.get_rng_state()
    assert augment.lower_contrast(before, 0) is before
    assert torch.equal(torch.get_rng_state(), state)


def test_likeness_by_hand():
    """Of two at 60 degrees and one against the first: 1/4 for either of the pair, 0 for the third."""
    kernel = torch.tensor([[2.0, 0.0], [0.5, 0.75**0.5], [-1.0, 0.0]])
    assert float(likeness(kernel)) == pytest.approx(2 * 0.25 / 3, abs=1e-6)
    assert float(likeness(torch.eye(4))) == 0


def test_decorrelation_makes_classes_less_alike(mosaics, tmp_path):
    """The same run with the likeness in its loss ends with less of it."""
    ends = []
    for weight in ("0", "10"):
        assert run_train(mosaics, tmp_path / weight, "--decorrelate", weight).exit_code == 0
        ends.append(likeness(fold(checkpoint.averaged_network(tmp_path / weight)[0])["predictions/kernel"].T))
    assert ends[1] < 0.9 * ends[0]


def test_accuracy_by_hand():
    """Of 4 pictures one is right at first, two more among five, one is not."""
    scores = torch.eye(8)[[0, 0, 0, 0]] * 10 - torch.arange(8.0)  # ranked 0, 1, 2, ...
    pictures = Pictures(torch.zeros(4, 64, 64, 3, dtype=torch.uint8), torch.tensor([0, 1, 4, 5]))
    result = measure.accuracy(lambda x: scores[: len(x)], pictures)
    assert (result.top1_percent, result.top5_percent, result.pictures) == (25, 75, 4)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    """No half-written file, neither in place nor beside it."""

    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError("disk full")

    (tmp_path / "x.json").write_text("old")
    with pytest.raises(OSError, match="disk full"):
        files.write_whole(tmp_path / "x.json", fail)
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert (tmp_path / "x.json").read_text() == "old"


# Runs


def interrupt() -> None:
    """A person's Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


def power_cut() -> None:
    """Nothing of the program's own runs after this; only what lies on disk counts."""
    raise SystemError("power cut")


@pytest.mark.parametrize(("stop", "at"), [(interrupt, 3), (power_cut, 7)])
def test_an_interrupted_run_ends_in_the_same_weights(mosaics, finished, tmp_path, monkeypatch, stop, at):
    """Stopped in the first or second epoch, then begun again: the checkpoint is the same to the bit."""
    whole, calls = augment.augment, []

    def counted(images: torch.Tensor, size: int) -> torch.Tensor:
        calls.append(size)
        if len(calls) == at:
            stop()
        return whole(images, size)

    monkeypatch.setattr(augment, "augment", counted)
    stopped = run_train(mosaics, tmp_path, "--minutes", "0" if stop is power_cut else "5")
    assert stopped.exit_code == (130 if stop is interrupt else 1), stopped.output
    if stop is interrupt:
        assert f"interrupted at step {at} of 8" in stopped.output
    assert checkpoint.load(tmp_path)["step"] == (at if stop is interrupt else at - 1)
    again = run_train(mosaics, tmp_path)
    assert again.exit_code == 0, again.output
    assert "going on" in again.output
    assert len(calls) == 8 + (stop is power_cut)
    left, right = checkpoint.load(tmp_path), checkpoint.load(finished)
    for part in ("network", "average"):
        assert all(torch.equal(left[part][name], tensor) for name, tensor in right[part].items())
    for figures in left["history"] + right["history"]:
        del figures["seconds"]
    assert left["history"] == right["history"]


def test_a_finished_run_is_not_trained_again(mosaics, finished):
    """The same command repeats the result and leaves the checkpoint as it is."""
    before = (finished / "checkpoint.pt").read_bytes()
    assert run_train(mosaics, finished).exit_code == 0
    assert (finished / "checkpoint.pt").read_bytes() == before


def test_history_is_there_for_people(finished):
    """Settings and the figures of each epoch, as JSON."""
    history = json.loads((finished / "history.json").read_text())
    assert history["settings"]["arch"] == "tiny-resnet"
    assert [figures["epoch"] for figures in history["epochs"]] == [1, 2]
    assert 0 <= history["epochs"][1]["top1_percent"] <= 100


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--epochs", "3"], "epochs was 2, now 3"),
        (["--peak-lr", "0.1"], "peak_lr was 0.2, now 0.1"),
        (["--seed", "1"], "seed was 0, now 1"),
        (["--arch", "tiny-vgg16"], "arch was 'tiny-resnet', now 'tiny-vgg16'"),
        (["--limit", "16"], "limit was None, now 16"),
        (["--label-smoothing", "0"], "label_smoothing was 0.1, now 0.0"),
        (["--size", "64"], "size was None, now 64"),
        (["--low-contrast", "0.2"], "low_contrast was 0.0, now 0.2"),
        (["--decorrelate", "3"], "decorrelate was 0.0, now 3.0"),
    ],
)
def test_changed_settings_are_refused(mosaics, finished, changed, said):
    """A run never goes on with other settings than it began with."""
    result = run_train(mosaics, finished, *changed)
    assert result.exit_code == 1
    assert said in result.output
    assert "another --out" in result.output


def test_a_run_from_before_a_setting_had_its_default(mosaics, finished, tmp_path):
    """Such a run goes on, and is exported."""
    state = checkpoint.load(finished)
    for name in ("label_smoothing", "size", "low_contrast", "init", "decorrelate", "freeze"):
        del state["settings"][name]
    checkpoint.save(tmp_path, state)
    assert run_train(mosaics, tmp_path).exit_code == 0
    assert "other settings" in run_train(mosaics, tmp_path, "--size", "64").output
    assert export.describe(state)["settings"]["label_smoothing"] == 0.1


def test_settings_reach_the_steps(mosaics, tmp_path, monkeypatch):
    """Every step gets the size, the share that loses contrast and the label smoothing that were asked for."""
    seen = []
    monkeypatch.setattr(augment, "augment", lambda x, size: seen.append(size) or x)
    monkeypatch.setattr(augment, "lower_contrast", lambda x, share: seen.append(share) or x)
    entropy = torch.nn.functional.cross_entropy
    monkeypatch.setattr(
        "training.loop.F.cross_entropy",
        lambda *args, label_smoothing: seen.append(label_smoothing) or entropy(*args),
    )
    result = run_train(mosaics, tmp_path, "--size", "48", "--label-smoothing", "0.3", "--low-contrast", "0.2")
    assert result.exit_code == 0, result.output
    assert seen == [48, 0.2, 0.3] * 8
    assert export.describe(checkpoint.load(tmp_path))["picture_sizes"] == "48 px to 100% of the epochs"


def save_start(folder: Path, arch: str = "tiny-resnet", classes: int = 4) -> Path:
    """Folded weights, as they ship, of a shaken network."""
    path = folder / f"{arch}.safetensors"
    write_weights(path, half(fold(shaken(arch, classes))), {})
    return path


def test_a_run_starts_from_folded_weights(mosaics, tmp_path):
    """At a tiny rate it ends where it started; it knows the file's content, not only its name."""
    start, out = save_start(tmp_path), tmp_path / "run"
    more = ["--init", str(start), "--peak-lr", "1e-9", "--size", "64"]
    result = run_train(mosaics, out, *more)
    assert result.exit_code == 0, result.output
    before, after = unfold(read_weights(start)), checkpoint.averaged_network(out)[0]
    state = checkpoint.load(out)
    photos = augment.to_pixels(open_data(mosaics).pictures("val").images)
    with torch.inference_mode():
        assert relative(after(photos), before(photos)) < 0.5
    assert "sha256" in state["settings"]["init"]
    assert "init" in export.describe(state)["settings"]
    assert run_train(mosaics, out, *more).exit_code == 0
    write_weights(start, half(fold(Network("tiny-resnet", 4))), {})
    refused = run_train(mosaics, out, *more)
    assert refused.exit_code == 1
    assert "init was 'tiny-resnet.safetensors, sha256" in refused.output


def test_frozen_layers_stay_as_they_are(mosaics, tmp_path):
    """Kernels, batch norm and its statistics; the other layers learn."""
    start, out = save_start(tmp_path), tmp_path / "run"
    more = ["--init", str(start), "--freeze", "conv1,conv2,conv3"]
    assert run_train(mosaics, out, *more).exit_code == 0
    before, after = read_weights(start), fold(checkpoint.averaged_network(out)[0])
    for name, tensor in after.items():
        frozen = name.startswith(("conv1", "conv2", "conv3"))
        assert frozen == (relative(tensor, before[name].float()) < 1e-3), name
    assert "freeze was 'conv1,conv2,conv3', now None" in run_train(mosaics, out, *more[:2]).output


@pytest.mark.parametrize(
    ("freeze", "init", "said"),
    [("conv1", False, "needs --init"), ("conv1,conv9", True, "no layer starts with 'conv9'")],
)
def test_impossible_freezing_is_refused(mosaics, tmp_path, freeze, init, said):
    """Fresh layers, and layers that are not there."""
    more = ["--init", str(save_start(tmp_path))] if init else []
    result = run_train(mosaics, tmp_path / "run", "--freeze", freeze, *more)
    assert result.exit_code != 0
    assert said in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("arch", "classes"), [("tiny-vgg16", 4), ("tiny-resnet", 5)])
def test_a_start_of_another_network_is_refused(mosaics, tmp_path, arch, classes):
    """Another architecture, or another number of classes."""
    result = run_train(mosaics, tmp_path / "run", "--init", str(save_start(tmp_path, arch, classes)))
    assert result.exit_code == 1
    assert f"is a {arch} of {classes} classes; allowed: tiny-resnet of 4" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--batch", "64"], "--batch 64 is more than the 32 training pictures"),
        (["--device", "abacus"], "--device abacus cannot be used"),
        (["--arch", "alexnet"], "tiny-vgg16"),
    ],
)
def test_impossible_settings_are_refused(mosaics, tmp_path, more, said):
    """The message names the setting and what is allowed; nothing is written."""
    result = run_train(mosaics, tmp_path / "run", *more)
    assert result.exit_code != 0
    assert said in result.output
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_is_named(mosaics, tmp_path):
    """No traceback, and the file is not overwritten."""
    (tmp_path / "checkpoint.pt").write_bytes(b"half of a checkpoint")
    result = run_train(mosaics, tmp_path)
    assert result.exit_code == 1
    assert "cannot read the checkpoint" in result.output
    assert (tmp_path / "checkpoint.pt").read_bytes() == b"half of a checkpoint"


# Folding and the Keras twin


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_folded_equals_unfolded(arch):
    """Folding batch norm changes no output, at any picture size."""
    network = shaken(arch)
    with torch.inference_mode():
        for size in ((64, 64), (48, 80)):
            expected = network(pixels(3, *size))
            assert relative(unfold(fold(network))(pixels(3, *size)), expected) < 1e-5


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_batch_norm_put_back_changes_nothing(arch):
    """Not the output in evaluation mode, and hardly that over the same pictures in training; unlike its norms."""
    folded, photos = unfold(fold(shaken(arch))), pixels(20, 64, 64)
    network = add_batch_norm(folded, photos)
    with torch.no_grad():
        assert relative(network(pixels(3, 48, 80)), folded(pixels(3, 48, 80))) < 1e-5
        assert relative(unfold(fold(network))(photos), folded(photos)) < 1e-5
        for module in network.train().modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        assert relative(network(photos), folded(photos)) < 1e-3
    assert not any(module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_twin_equals_folded(arch, tmp_path):
    """The .keras file, run by Keras, gives the softmax of the folded network, at any picture size."""
    weights = half(fold(shaken(arch)))
    keras_twin.save_twin(keras_twin.fill(keras_twin.keras_model(arch, 7), weights), tmp_path / "twin.keras")
    twin, network = keras_twin.open_twin(tmp_path / "twin.keras"), unfold(weights)
    with torch.inference_mode():
        for size in ((64, 64), (48, 80)):
            assert relative(twin(pixels(2, *size)), network(pixels(2, *size)).softmax(1)) < 1e-4


def test_weights_that_fit_no_architecture_are_refused():
    """Foreign names and wrong shapes are named."""
    weights = fold(shaken("tiny-vgg16"))
    with pytest.raises(TrainingError, match=r"allowed: the folded weights of tiny-vgg16, tiny-resnet"):
        unfold({"fc/kernel": torch.zeros(2, 2)})
    with pytest.raises(TrainingError, match=r"'block1_conv1/kernel' has the shape \(32, 3, 5, 5\)"):
        unfold(weights | {"block1_conv1/kernel": torch.zeros(5, 5, 3, 32)})
    with pytest.raises(TrainingError, match=r"'predictions/bias' has values beyond float16"):
        half(weights | {"predictions/bias": torch.full((7,), 1e6)})


def test_same_weights_give_the_same_file(tmp_path):
    """Byte for byte, with tensors and strings that safetensors reads back."""
    weights = {"b/kernel": torch.ones(3), "a/bias": torch.arange(5.0).half()}
    said = {key: key * 2 for key in "zyxwvu"}
    for name in ("one", "two"):
        write_weights(tmp_path / name, weights, said)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert torch.equal(load_file(tmp_path / "one")["a/bias"], weights["a/bias"])
    with safe_open(tmp_path / "one", "pt") as opened:
        assert opened.metadata() == said


# Export and evaluate


@pytest.fixture(scope="module")
def exported(mosaics: Path, finished: Path) -> Path:
    """What export makes of the finished run."""
    out = finished.parent / "exported"
    args = ["--checkpoint", str(finished), "--data", str(mosaics), "--out", str(out)]
    result = CliRunner().invoke(export.main, [*args, "--keras", str(out / "twin.keras")])
    assert result.exit_code == 0, result.output
    return out


def run_evaluate(file: Path, data: Path) -> str:
    result = CliRunner().invoke(evaluate.main, [str(file), "--data", str(data)])
    assert result.exit_code == 0, result.output
    return result.output.split(": ", 1)[1]


def test_export_writes_every_file(exported):
    """Weights, config, cards, class names: and nothing else, half-written or hidden."""
    names = {path.name for path in exported.iterdir()}
    assert names == {"tiny-resnet.safetensors", "tiny-resnet.json", "tiny-resnet.card.json", "MODEL_CARD.md",
                     "tiny-imagenet-classes.json", "twin.keras"}  # fmt: skip
    card = json.loads((exported / "tiny-resnet.card.json").read_text())
    weights = (exported / "tiny-resnet.safetensors").read_bytes()
    assert card["weights"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert card["training"]["settings"]["batch"] == 8
    assert "top-1" in (exported / "MODEL_CARD.md").read_text()
    assert json.loads((exported / "tiny-imagenet-classes.json").read_text())[0] == ["n00000001", "sea_snake"]


def test_evaluate_agrees_on_every_form(exported, finished, mosaics, usual):
    """The run, its folded weights and its Keras twin have one accuracy, that of the card, on both layouts."""
    card = json.loads((exported / "tiny-resnet.card.json").read_text())
    folded = run_evaluate(exported / "tiny-resnet.safetensors", mosaics)
    assert folded.startswith(f"top-1 {card['top1_percent']:.2f} %, top-5 100.00 % of 16 pictures")
    assert run_evaluate(exported / "tiny-resnet.safetensors", usual) == folded
    assert run_evaluate(exported / "twin.keras", mosaics) == folded
    assert run_evaluate(finished, mosaics) == folded


def test_export_takes_folded_weights(exported, mosaics, tmp_path):
    """Folded weights exported again are the same file; their recipe comes from a JSON file."""
    source = exported / "tiny-resnet.safetensors"
    recipe = {"code": "elsewhere", "second_run": {"settings": {"epochs": 2, "seed": 0}, "dropout": 0.2}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    args = ["--weights", str(source), "--data", str(mosaics), "--out", str(tmp_path)]
    refused = CliRunner().invoke(export.main, args)
    assert refused.exit_code == 2
    assert "--recipe" in refused.output
    result = CliRunner().invoke(export.main, [*args, "--recipe", str(tmp_path / "recipe.json")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / source.name).read_bytes() == source.read_bytes()
    card = json.loads((tmp_path / "tiny-resnet.card.json").read_text())
    assert card["training"] == recipe
    said = "- code: elsewhere\n- second run:\n  - settings: epochs 2, seed 0\n  - dropout: 0.2\n"
    assert said in (tmp_path / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x.txt", "is no network"),
        ("x.safetensors", "cannot read weights"),
        ("x.keras", "cannot read the Keras model"),
        ("", "no checkpoint.pt"),
    ],
)
def test_evaluate_refuses_what_is_no_network(mosaics, tmp_path, name, said):
    """One line, exit status 1."""
    if name:
        (tmp_path / name).write_bytes(b"nothing")
    result = CliRunner().invoke(evaluate.main, [str(tmp_path / name), "--data", str(mosaics)])
    assert result.exit_code == 1
    assert said in result.output


def test_shared_short_names_are_told_apart():
    """Two cranes get their WordNet ids, others keep their first name."""
    classes = [ClassName(wnid, NAMES[wnid]) for wnid in sorted(WNIDS)]
    shorts = [short for _, short in export.unique_names(classes)]
    assert shorts == ["sea_snake", "crane_n00000002", "crane_n00000003", "pug"]


# What ships


def test_shipped_files_belong_together():
    """Card, weights, config and class names tell of one network."""
    card = json.loads((SHIPPED / "tiny-vgg16.card.json").read_text())
    data = (SHIPPED / card["weights"]["file"]).read_bytes()
    assert len(data) == card["weights"]["bytes"] <= 8e6
    assert hashlib.sha256(data).hexdigest() == card["weights"]["sha256"]
    with safe_open(SHIPPED / "tiny-vgg16.safetensors", "pt") as opened:
        assert float(opened.metadata()["top1_percent"]) == card["top1_percent"] >= 50.0
    assert keras_twin.config(keras_twin.keras_model("tiny-vgg16", 200)) == json.loads(
        (SHIPPED / "tiny-vgg16.json").read_text()
    )
    for name, count in (("tiny-imagenet", 200), ("imagenet", 1000)):
        classes = json.loads((SHIPPED / f"{name}-classes.json").read_text())
        wnids = [wnid for wnid, _ in classes]
        assert len(classes) == count
        assert wnids == sorted(set(wnids))
    assert (SHIPPED / "MODEL_CARD.md").read_text(encoding="utf-8") == text(card)
    assert card["training"] == json.loads(
        (ROOT / "training" / "tiny-vgg16.recipe.json").read_text(encoding="utf-8")
    )


def test_shipped_layers_are_those_of_vgg16():
    """Named and ordered as in Keras' VGG16, with a linear output before the softmax."""
    layers = json.loads((SHIPPED / "tiny-vgg16.json").read_text())["config"]["layers"]
    names = [layer["config"]["name"] for layer in layers]
    assert names[:5] == ["input_layer", "preprocessing", "block1_conv1", "block1_conv2", "block1_pool"]
    assert names[-4:] == ["block5_conv3", "global_average_pooling", "predictions", "softmax"]
    assert layers[-2]["config"]["activation"] == "linear"
    assert layers[0]["config"]["batch_shape"] == [None, None, None, 3]


def test_shipped_network_on_real_pictures(shared, tmp_path):
    """Keras' own answer to 16 validation pictures equals torch's; of 500, about half are right."""
    pictures = open_data(shared / "data" / "tiny-imagenet").pictures("val", 500)
    weights = load_file(SHIPPED / "tiny-vgg16.safetensors")
    network = unfold(weights)
    keras_twin.save_twin(
        keras_twin.fill(keras_twin.keras_model("tiny-vgg16", 200), weights), tmp_path / "twin.keras"
    )
    batch = augment.to_pixels(pictures.images[::32])
    with torch.inference_mode():
        expected = network(batch).softmax(1)
    assert len(batch) == 16
    assert relative(keras_twin.open_twin(tmp_path / "twin.keras")(batch), expected) < 1e-3
    assert 44 < measure.accuracy(network, pictures).top1_percent < 56


def test_shipped_weights_go_on_from_the_first_run(shared):
    """Blocks 1 to 3 are those of the first run, frozen in the second; the rest has learned on."""
    first = load_file(shared / "models" / "tiny-vgg16.safetensors")
    shipped = load_file(SHIPPED / "tiny-vgg16.safetensors")
    assert first.keys() == shipped.keys()
    for name, tensor in shipped.items():
        change = relative(tensor.float(), first[name].float())
        assert change < 1e-3 if name.startswith(("block1", "block2", "block3")) else change > 0.01, name
