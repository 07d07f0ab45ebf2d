"""Train a small network within minutes on a laptop, and look at what it has learned.

    python examples/train_and_look.py --data digits --net cnn
    python examples/train_and_look.py --data cifar10 --net resnet --framework keras
    python examples/train_and_look.py --data photographs/ --net cnn --size 32   # one folder a class

Draws the first layer's kernels before and after training, filters of each stage, and the classes; says at the end
where the sheets are. `digits` comes with scikit-learn; `mnist` and `cifar10` are downloaded once by Keras.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class Data:
    """Pictures uint8 (N, H, W, C) with their labels, some of them kept back for validation."""

    pictures: np.ndarray
    labels: np.ndarray
    classes: list[str]

    def split(self) -> tuple[Data, Data]:
        order = np.random.default_rng(0).permutation(len(self.labels))
        cut = max(1, len(order) // 6)
        parts = order[cut:], order[:cut]
        train, test = (Data(self.pictures[p], self.labels[p], self.classes) for p in parts)
        return train, test


def load(name: str, size: int) -> Data:
    """Digits, MNIST, CIFAR-10, or a folder with one folder of pictures a class."""
    if name == "digits":
        from sklearn.datasets import load_digits

        found = load_digits()
        pictures = (found.images * (255 / 16)).round().astype(np.uint8)[..., None]
        return Data(pictures, found.target, [str(i) for i in range(10)])
    if name in ("mnist", "cifar10"):
        import keras

        try:
            (x, y), _ = getattr(keras.datasets, name).load_data()
        except Exception as error:  # Keras raises a bare Exception for any failed download
            sys.exit(f"{name} could not be downloaded ({error}); digits needs no download: --data digits")
        classes = CIFAR10 if name == "cifar10" else [str(i) for i in range(10)]
        return Data(x.reshape(*x.shape[:3], -1), y.reshape(-1), classes)
    folder = Path(name)
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if len(classes) < 2:
        sys.exit(
            f"--data takes digits, mnist, cifar10 or a folder with one folder of pictures a class (got {name!r})"
        )
    files = [
        (p, i)
        for i, c in enumerate(classes)
        for p in sorted((folder / c).rglob("*"))
        if p.suffix.lower() in ENDINGS
    ]
    if len(files) < 2 * len(classes):
        sys.exit(f"{name!r} holds {len(files)} pictures for {len(classes)} classes: too few to train on")
    squares, labels = [], []
    for path, label in files:
        try:
            with Image.open(path) as image:
                squares.append(np.asarray(ImageOps.fit(image.convert("RGB"), (size, size))))
        except (OSError, ValueError) as error:
            print(f"left out: {path} ({error})", file=sys.stderr)
            continue
        labels.append(label)
    return Data(np.stack(squares), np.array(labels), classes)


# --- PyTorch --------------------------------------------------------------------------------------------------


def torch_network(kind: str, shape: tuple[int, ...], classes: int) -> Any:
    """A plain or residual network of three stages, of two where pictures are tiny."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    size, channels = shape[0], shape[2]

    def convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]

    class Residual(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int):
            super().__init__()
            self.inner = nn.Sequential(
                *convolution(inputs, outputs, stride), *convolution(outputs, outputs)[:2]
            )
            straight = stride == 1 and inputs == outputs
            self.shortcut = nn.Identity() if straight else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.relu = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.relu(self.inner(x) + self.shortcut(x))

    widths = (16, 32, 64) if size >= 16 else (16, 32)
    network = nn.Sequential()
    network.add_module(
        "stage1", nn.Sequential(*convolution(channels, widths[0]), *convolution(widths[0], widths[0]))
    )
    for i, (inputs, outputs) in enumerate(pairwise(widths), 2):
        if kind == "resnet":
            stage: list[nn.Module] = [Residual(inputs, outputs, 2), Residual(outputs, outputs, 1)]
        else:
            stage = [nn.MaxPool2d(2), *convolution(inputs, outputs), *convolution(outputs, outputs)]
        network.add_module(f"stage{i}", nn.Sequential(*stage))
    side = 1 if kind == "resnet" else size // 2 ** (len(widths) - 1)
    # a residual network takes the mean over places, a plain one knows them
    pool = [nn.AdaptiveAvgPool2d(1)] if kind == "resnet" else []
    network.add_module("flat", nn.Sequential(*pool, nn.Flatten(), nn.Dropout(0.3)))
    network.add_module("classes", nn.Linear(widths[-1] * side**2, classes))
    return network


def torch_train(network: Any, train: Data, test: Data, epochs: int, batch: int, noise: float) -> float:
    """Train; the share of validation pictures that are told right."""
    import torch
    import torch.nn.functional as F

    x, y = _tensor(train.pictures), torch.from_numpy(train.labels).long()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    steps = epochs * -(-len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps)
    accuracy = 0.0
    for epoch in range(epochs):
        network.train()
        for rows in torch.randperm(len(x)).split(batch):
            loss = F.cross_entropy(network(varied(x[rows], noise)), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        network.eval()
        with torch.no_grad():
            guesses = torch.cat([network(part).argmax(1) for part in _tensor(test.pictures).split(500)])
            accuracy = float((guesses == torch.from_numpy(test.labels)).float().mean())
        print(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}, validation {accuracy:.1%}", flush=True)
    return accuracy


def _tensor(pictures: np.ndarray) -> Any:
    """uint8 (N, H, W, C) as float (N, C, H, W) in 0 to 1."""
    import torch

    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def varied(x: Any, noise: float) -> Any:
    """Each picture of a batch (N, C, H, W) in 0 to 1 turned, zoomed and moved a little, under noise.

    A network that is trained so responds to shapes more than to details that happen to go with them, and its classes look
    more like themselves: Kaur et al. 2019, "Are Perceptually-Aligned Gradients a General Property of Robust Classifiers?"
    `noise` is the largest standard deviation; each picture has its own.
    """
    import torch
    import torch.nn.functional as F

    count = len(x)
    angle, zoom = (torch.rand(2, count) - 0.5) * torch.tensor([[0.35], [0.4]])  # 10 degrees, a fifth
    zoom, moved = zoom + 1, (torch.rand(count, 2) - 0.5) * 0.3
    rows = [
        torch.stack([zoom * angle.cos(), -zoom * angle.sin(), moved[:, 0]], 1),
        torch.stack([zoom * angle.sin(), zoom * angle.cos(), moved[:, 1]], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    return (x + noise * torch.rand(count, 1, 1, 1) * torch.randn_like(x)).clamp(0, 1)


# --- Keras ----------------------------------------------------------------------------------------------------


def keras_network(kind: str, shape: tuple[int, ...], classes: int) -> Any:
    """The same network in Keras."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)

    def convolution(x: Any, filters: int, name: str, stride: int = 1, *, relu: bool = True) -> Any:
        x = layers.Conv2D(filters, 3, stride, padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x) if relu else x

    widths = (16, 32, 64) if shape[0] >= 16 else (16, 32)
    start = keras.Input(shape, name="picture")
    x = layers.Rescaling(1 / 255, name="rescaling")(start)
    x = convolution(convolution(x, widths[0], "stage1_conv1"), widths[0], "stage1_conv2")
    for i, width in enumerate(widths[1:], 2):
        if kind == "resnet":
            for block, stride in ((1, 2), (2, 1)):
                shortcut = (
                    layers.Conv2D(width, 1, stride, name=f"stage{i}_short{block}")(x) if stride == 2 else x
                )
                y = convolution(x, width, f"stage{i}_conv{2 * block - 1}", stride)
                y = convolution(y, width, f"stage{i}_conv{2 * block}", relu=False)
                x = layers.ReLU(name=f"stage{i}_relu{block}")(
                    layers.Add(name=f"stage{i}_add{block}")([y, shortcut])
                )
        else:
            x = layers.MaxPooling2D(name=f"stage{i}_pool")(x)
            x = convolution(convolution(x, width, f"stage{i}_conv1"), width, f"stage{i}_conv2")
    # a residual network takes the mean over places, a plain one knows them
    x = layers.GlobalAveragePooling2D(name="pool")(x) if kind == "resnet" else layers.Flatten(name="flat")(x)
    x = layers.Dropout(0.3, name="dropout")(x)
    return keras.Model(start, layers.Dense(classes, activation="softmax", name="classes")(x), name=kind)


def keras_train(network: Any, train: Data, test: Data, epochs: int, batch: int, noise: float) -> float:
    """Train; the share of validation pictures that are told right."""
    import keras
    import torch

    class Batches(keras.utils.PyDataset):  # type: ignore[misc] # keras has no types
        """The pictures, varied, in another order each epoch."""

        def __len__(self) -> int:
            return -(-len(train.labels) // batch)

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            rows = self.order[index * batch : (index + 1) * batch]
            x = varied(_tensor(train.pictures[rows]), noise) * 255
            return x.permute(0, 2, 3, 1).numpy(), train.labels[rows]

        def on_epoch_begin(self) -> None:
            self.order = torch.randperm(len(train.labels)).numpy()

    batches = Batches()
    batches.on_epoch_begin()
    rate = keras.optimizers.schedules.CosineDecay(0.005, epochs * len(batches))
    network.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    network.fit(batches, epochs=epochs, verbose=2, validation_data=(test.pictures, test.labels))
    return float(network.evaluate(test.pictures, test.labels, verbose=0)[1])


# --- looking --------------------------------------------------------------------------------------------------


def kernels(network: Any, path: Path) -> Path:
    """The first convolution's kernels as a sheet."""
    from filterscope.pictures.kernels import kernel_sheet
    from filterscope.pictures.sheet import save_image

    first = next(name for name, row in network.layers.items() if "Conv" in row.kind)
    save_image(kernel_sheet(network, first, range(network.layer(first).units)), path)
    return path


def stages(network: Any) -> list[str]:
    """The last convolution of each map size: one layer a stage, the shallow first."""
    rows = [row for row in network.layers.values() if "Conv" in row.kind and row.parameters]
    return list({row.output_shape[1:]: row.name for row in rows}.values())


def opened(model: Any, data: Data, framework: str) -> Any:
    """The network as filterscope sees it, with its classes' names."""
    import filterscope

    told = {"size": data.pictures.shape[1], "range": (0, 1)} if framework == "torch" else {}
    return filterscope.open_network(model, classes=data.classes, **told)


def look(network: Any, out: Path, steps: int | None) -> list[Path]:
    """Sheets of filters, stage by stage, and of the classes."""
    import filterscope

    classes = next(name for name, row in network.layers.items() if row.softmax)
    written = []
    for title, target in [
        *((f"filters-{name.replace('/', '.')}", name) for name in stages(network)),
        ("classes", f"{classes}:*"),
    ]:
        # at the size it was trained on, where a class has its shape; larger pictures repeat it like wallpaper
        found = filterscope.visualize(network, target, steps=steps, size=network.input.size)
        sheet = found if isinstance(found, filterscope.Sheet) else filterscope.Sheet([found])
        failed = [str(p.target) for p in sheet if p.status != "ok"]
        written.append(sheet.save(out / f"{title}.png"))
        print(
            f"{written[-1]}: {len(sheet)} pictures of {target}"
            + (f"; not ok: {', '.join(failed)}" if failed else "")
        )
    return written


def main(argv: Sequence[str] | None = None) -> None:
    """Load, train, look."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits", metavar="digits|mnist|cifar10|FOLDER")
    parser.add_argument("--net", default="cnn", choices=["cnn", "resnet"])
    parser.add_argument("--framework", default="torch", choices=["keras", "torch"])
    parser.add_argument("--epochs", type=int, help="[about two minutes' worth]")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=32, help="side of a folder's pictures [32]")
    parser.add_argument("--limit", type=int, default=20_000, help="pictures to train on at most [20000]")
    parser.add_argument(
        "--noise", type=float, default=0.5, help="trained under noise of up to this, of the range [0.5]"
    )
    parser.add_argument("--steps", type=int, help="steps of each ascent [the recipe's own]")
    parser.add_argument("--out", type=Path, default=Path("train-and-look"))
    args = parser.parse_args(argv)
    if args.framework == "keras":
        os.environ.setdefault("KERAS_BACKEND", "torch")
    train, test = load(args.data, args.size).split()
    train = Data(train.pictures[: args.limit], train.labels[: args.limit], train.classes)
    epochs = args.epochs or (20 if args.data == "digits" else 4)
    shape = train.pictures.shape[1:]
    args.out.mkdir(parents=True, exist_ok=True)
    print(
        f"{len(train.labels)} pictures of {shape[0]} x {shape[1]} x {shape[2]}, {len(train.classes)} classes"
    )
    make, fit = (keras_network, keras_train) if args.framework == "keras" else (torch_network, torch_train)
    model = make(args.net, shape, len(train.classes))
    sheets = [kernels(opened(model, train, args.framework), args.out / "kernels-before.png")]
    began = time.perf_counter()
    accuracy = fit(model, train, test, epochs, args.batch, args.noise)
    print(f"trained in {time.perf_counter() - began:.0f} s: {accuracy:.1%} of the validation pictures")
    network = opened(model, train, args.framework)
    sheets += [kernels(network, args.out / "kernels-after.png"), *look(network, args.out, args.steps)]
    print("sheets: " + ", ".join(str(path) for path in sheets))


if __name__ == "__main__":
    main()
