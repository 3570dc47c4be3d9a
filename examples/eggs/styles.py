"""Styles: what a belt, its lamp and its hens look like. Those to train on, and others to test on.

The two families share no belt, no colour, no lamp, no shell and no speckles: whoever has
learnt from pictures in seen styles has met nothing of an unseen one but eggs and how they break.
"""

from dataclasses import dataclass

import numpy as np

from canvas import SUPERSAMPLING, Array, Canvas, Rng, colour, direction

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Lamp:
    """Where the light comes from, and what it is like."""

    name: str
    height: tuple[float, float]  # above the belt, rad
    tint: RGB
    sky: tuple[float, float]  # share that comes from everywhere
    gleam: tuple[float, float]  # strength of the highlight


@dataclass(frozen=True)
class Speckles:
    """Spots of pigment on a shell."""

    name: str
    counts: tuple[int, ...]
    sizes: tuple[float, float]  # mean radius
    tint: RGB


@dataclass(frozen=True)
class Style:
    """One of each."""

    belt: str
    belt_tint: RGB
    lamp: Lamp
    shell: RGB
    speckles: Speckles


@dataclass(frozen=True)
class Family:
    """A style is any choice of one of each: `styles()` of them."""

    name: str
    belts: tuple[str, ...]
    belt_tints: tuple[RGB, ...]
    lamps: tuple[Lamp, ...]
    shells: tuple[RGB, ...]
    speckles: tuple[Speckles, ...]

    def styles(self) -> int:
        return int(np.prod([len(choices) for choices in self.choices()]))

    def choices(self) -> tuple[tuple[object, ...], ...]:
        return self.belts, self.belt_tints, self.lamps, self.shells, self.speckles

    def style(self, rng: Rng) -> Style:
        """Choose one, all equally likely."""
        belt, tint, lamp, shell, speckles = (int(rng.integers(len(c))) for c in self.choices())
        return Style(
            self.belts[belt],
            self.belt_tints[tint],
            self.lamps[lamp],
            self.shells[shell],
            self.speckles[speckles],
        )


SEEN = Family(
    "seen",
    belts=("plain", "ribbed", "woven", "slatted", "dotted"),
    belt_tints=((38, 84, 66), (44, 68, 112), (58, 60, 62), (120, 122, 120), (196, 194, 186),
                (136, 110, 82), (30, 30, 32), (150, 64, 52)),
    lamps=(
        Lamp("window", (0.75, 1.05), (250, 252, 255), (0.30, 0.45), (0.03, 0.12)),
        Lamp("tube", (0.90, 1.25), (240, 255, 246), (0.35, 0.50), (0.05, 0.16)),
        Lamp("bulb", (0.60, 0.95), (255, 238, 210), (0.20, 0.32), (0.10, 0.24)),
        Lamp("flash", (1.10, 1.35), (255, 255, 255), (0.18, 0.28), (0.14, 0.26)),
    ),
    shells=((244, 240, 232), (238, 222, 200), (231, 204, 174), (224, 186, 148), (211, 164, 125),
            (198, 142, 102), (158, 98, 66)),
    speckles=(
        Speckles("none", (0,), (0.01, 0.01), (74, 54, 36)),
        Speckles("few", (4, 8, 16), (0.008, 0.022), (74, 54, 36)),
        Speckles("fine", (60, 120), (0.006, 0.012), (96, 62, 40)),
        Speckles("many", (40, 90), (0.008, 0.018), (66, 50, 40)),
    ),
)  # fmt: skip

UNSEEN = Family(
    "unseen",
    belts=("meshed", "planked", "rollers"),
    belt_tints=((92, 104, 60), (86, 128, 140), (170, 140, 60), (88, 60, 92), (160, 168, 178)),
    lamps=(
        Lamp("overcast", (1.00, 1.30), (236, 244, 255), (0.52, 0.62), (0.00, 0.05)),
        Lamp("evening sun", (0.50, 0.62), (255, 226, 188), (0.30, 0.42), (0.05, 0.15)),
        Lamp("greenhouse", (0.80, 1.10), (232, 255, 224), (0.25, 0.42), (0.04, 0.18)),
    ),
    shells=((202, 218, 206), (172, 166, 128), (228, 194, 184), (128, 78, 56), (250, 248, 246)),
    speckles=(
        Speckles("blotched", (6, 14), (0.020, 0.032), (104, 80, 58)),
        Speckles("peppered", (160, 260), (0.004, 0.007), (70, 60, 56)),
        Speckles("reddish", (15, 50), (0.009, 0.020), (124, 62, 44)),
    ),
)
FAMILIES = {family.name: family for family in (SEEN, UNSEEN)}


def pattern(rng: Rng, make: str, canvas: Canvas) -> Array:
    """How much lighter than its colour a belt is, 0.1 for a tenth. -> (H, W) or (1,)."""
    turn, pitch, depth = rng.uniform(0, np.pi), rng.uniform(4, 14), rng.uniform(0.08, 0.25)
    cos, sin = (2 * np.pi * pitch * direction(turn)).tolist()
    along, across = canvas.x * cos + canvas.y * sin, canvas.y * cos - canvas.x * sin
    relief: Array = np.zeros(1, np.float32)
    if make == "ribbed":
        relief = np.sin(along)
    elif make == "woven":
        relief = np.sin(along) * np.sin(across)
    elif make == "slatted":
        relief = np.sin(along / 4) - 2 * (np.cos(along / 4) > 0.97)
    elif make == "dotted":
        relief = (np.cos(along / 2) + np.cos(across / 2) > 1.2).astype(np.float32)
    elif make == "meshed":
        relief = -2.2 * (np.cos(along) + np.cos(across) > 0.6)
    elif make == "planked":
        relief = 0.4 * np.sin(0.7 * along + 3 * canvas.noise(rng, 5))
        relief = relief - 2 * (np.cos(along / 5) > 0.98)
    elif make == "rollers":
        relief = 1.6 * np.abs(np.sin(along / 6)) - 1
    return depth * relief


def lay_belt(rng: Rng, style: Style, size: int) -> Canvas:
    """Hang up the lamp and lay the belt. -> size x size."""
    side = size * SUPERSAMPLING
    line = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    lamp, height = direction(rng.uniform(0, 2 * np.pi)), direction(rng.uniform(*style.lamp.height))
    light = np.append(lamp * height[0], height[1]).astype(np.float32)
    planes = np.empty((3, side, side), np.float32)
    canvas = Canvas(planes, line[None], line[:, None], side / 2, light)

    tone = 1 + sum(a * canvas.noise(rng, n) for a, n in ((0.08, 6), (0.05, 40), (0.05, 150)))
    tone = tone * (1 + pattern(rng, style.belt, canvas))
    tone += 0.15 * rng.uniform() * (canvas.x * light[0] + canvas.y * light[1])
    gain = rng.uniform(0.8, 1.25) * rng.uniform(0.94, 1.06, 3)
    canvas.picture[...] = tone * colour(style.belt_tint, gain)
    return canvas
