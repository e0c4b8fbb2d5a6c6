"""Small seeded pictures that a model can confuse: four textures, coloured, noisy, some of them faint."""

import csv
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

LABELS = ("upright", "level", "rising", "blob")
SIDE = 16


def draw(count: int, *, seed: int, side: int = SIDE) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """``count`` RGB pictures (n, side, side, 3) and their labels, indices of ``LABELS``.

    Stripes that stand (red to cyan), lie (blue to yellow) or rise to the right, or a bright blob: a
    model must know colours, orientation and place.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    labels = rng.integers(0, 4, count)
    images = np.empty((count, side, side, 3), np.uint8)
    tints = np.array([[1, -0.6, -0.6], [-0.6, -0.4, 1], [0.2, 0.8, -0.4], [0.8, 0.6, -0.8]])
    for number, label in enumerate(labels):
        phase, waves = rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 3.0)
        across = (x, y, (x + y) / 1.4, x)[label]
        wave = np.sin(2 * np.pi * waves * across + phase)
        if label == 3:
            cx, cy = rng.uniform(0.3, 0.7, 2)
            wave = 2 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 0.03) - 1
        contrast = rng.uniform(3, 40)
        picture = 128 + rng.uniform(-40, 40) + contrast * wave[..., None]
        picture = (
            picture + rng.uniform(0.0, 0.5) * contrast * tints[label] + rng.normal(0, 20, (side, side, 3))
        )
        images[number] = np.clip(picture, 0, 255)
    return images, labels


def write(folder: Path, count: int, *, seed: int = 21, side: int = SIDE + 4) -> Path:
    """``count`` PNGs of ``side`` pixels and ``labels.csv`` (``file,label``) beside them; returns the CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = draw(count, seed=seed, side=side)
    path = folder / "labels.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "label"))
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            cv2.imwrite(str(folder / f"{number:05d}.png"), image[..., ::-1])
            writer.writerow((f"{number:05d}.png", int(label)))
    return path
