"""A picture in the making: polygons, soft masks, noise, and the shadows of small things.

Lengths are in half picture sides, so one seed shows one scene at every size.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

SUPERSAMPLING = 2  # canvas pixels per picture pixel, each way
DARK, WHITE = (20, 18, 16), (255, 255, 255)

Array = npt.NDArray[np.floating[Any]]
Rng = np.random.Generator


@dataclass(frozen=True)
class Canvas:
    """A picture in the making, and the lamp over it. All painting is in place."""

    picture: Array  # (3, H, W), 0 is black and 1 white; planes keep NumPy's inner loops long
    x: Array  # places of the columns, (1, W)
    y: Array  # places of the rows, (H, 1), growing downwards
    scale: float  # pixels per unit of length
    light: Array  # unit vector towards the lamp, (3,), z towards the viewer

    def around(self, centre: Array, reach: float) -> "Canvas":
        """The same canvas, seen through a window round a point."""
        low, high = ((centre + side + 1) * self.scale for side in (-reach, reach))
        columns, rows = (slice(max(int(a), 0), int(b)) for a, b in zip(low, high, strict=True))
        window, x, y = self.picture[:, rows, columns], self.x[:, columns], self.y[rows]
        return dataclasses.replace(self, picture=window, x=x, y=y)

    def noise(self, rng: Rng, cells: int) -> Array:
        """Smooth noise, `cells` bumps a side, standard deviation about 1. -> (H, W)."""
        grid = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
        return np.asarray(grid.resize((self.x.size, self.y.size), Image.Resampling.BICUBIC))

    def mask(self, polygons: Iterable[Array], blur: float = 0.0) -> Image.Image:
        """Where filled polygons, each (k, 2), are, with edges softened over `blur`."""
        margin = int(3 * blur * self.scale) + 1 if blur else 0
        width, height = self.x.size, self.y.size
        mask = Image.new("L", (width + 2 * margin, height + 2 * margin))
        pen, origin = ImageDraw.Draw(mask), np.array([self.x[0, 0], self.y[0, 0]])
        for points in polygons:
            pen.polygon(((points - origin) * self.scale + margin).ravel().tolist(), fill=255)
        if blur and (box := mask.getbbox()):
            box = (box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin)
            mask.paste(mask.crop(box).filter(ImageFilter.GaussianBlur(blur * self.scale)), box)
        return mask.crop((margin, margin, margin + width, margin + height)) if blur else mask

    def paint(self, paint: Array, mask: Image.Image, opacity: float = 1.0) -> None:
        """Lay a colour, (3, 1, 1), or another picture, (3, H, W), over the mask."""
        if box := mask.getbbox():
            window = np.s_[:, box[1] : box[3], box[0] : box[2]]
            weight = np.asarray(mask.crop(box)) * np.float32(opacity / 255)
            below = self.picture[window]
            below += ((paint if paint.size == 3 else paint[window]) - below) * weight

    def drop(self, polygons: Sequence[Array], tint: Array) -> None:
        """Lay small flat things down, with their shadows."""
        shadows = self.mask((points - 0.03 * self.light[:2] for points in polygons), 0.01)
        self.paint(colour(DARK), shadows, 0.5)
        self.paint(tint, self.mask(polygons))

    def shine(self, mask: Image.Image, strength: float) -> None:
        """Light the soft edge of a mask as if it were the slope of a drop."""
        box = mask.getbbox() or (0, 0, 0, 0)
        if min(box[2] - box[0], box[3] - box[1]) > 1:
            dy, dx = np.gradient(np.asarray(mask.crop(box), np.float32) / 255)
            rise = -(dx * self.light[0] + dy * self.light[1]) * (0.04 * strength * self.scale)
            self.picture[:, box[1] : box[3], box[0] : box[2]] += np.clip(rise, -0.15, 0.5)


def colour(rgb: Sequence[float], gain: float | Array = 1.0) -> Array:
    """Colour of 0-255 values, times a gain, as numbers 0-1. -> (3, 1, 1)."""
    return (np.asarray(rgb) * gain / 255).astype(np.float32)[:, None, None]


def direction(angle: float | Array) -> Array:
    """Unit vectors. (...) -> (..., 2)."""
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def ring(rng: Rng, centre: Array, radius: float, roughness: float) -> Array:
    """Random smooth closed curve; roughness 0 is a circle. -> (48, 2)."""
    angle, waves = np.linspace(0, 2 * np.pi, 48, endpoint=False), np.arange(1.0, 6)[:, None]
    sizes = roughness * rng.standard_normal((5, 1)) / waves**1.3
    bumps = (sizes * np.cos(waves * angle + rng.uniform(0, 2 * np.pi, (5, 1)))).sum(0)
    return np.asarray(centre + radius * np.exp(bumps)[:, None] * direction(angle))


def zigzag(rng: Rng, centre: Array, radii: Array, corners: int, depth: float) -> Array:
    """Random jagged closed curve, the edge of broken shell. -> (corners, 2)."""
    angle = 2 * np.pi * (np.arange(corners) + rng.uniform(-0.35, 0.35, corners)) / corners
    return centre + radii * rng.uniform(1 - depth, 1 + depth, (corners, 1)) * direction(angle)


def ribbon(points: Array, width: float, tip: float = 1.0) -> Array:
    """Outline of a line whose width ends at `tip` times its start. (k, 2) -> (2k, 2)."""
    along: Array = np.gradient(points, axis=0)
    aside = along[:, ::-1] * (-1, 1) / np.linalg.norm(along, axis=1, keepdims=True)
    aside *= np.linspace(0.5 * width, 0.5 * width * tip, len(points))[:, None]
    return np.concatenate([points + aside, (points - aside)[::-1]])
