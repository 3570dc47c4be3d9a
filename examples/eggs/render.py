"""Draw hen's eggs on a conveyor belt, intact or broken: a data set that needs no download.

A picture is made in the order in which things lie on each other: belt, litter, shadow, spill,
shell with its damage, straw, and last the camera. Lengths are in half picture sides, so one seed
shows one scene at every size. Belt, lamp, egg and litter come from a random stream that does not
know the label: `render(7, False)` and `render(7, True)` are the same egg before and after.

    python examples/eggs/render.py --count 12 --seed 0 --size 299 -o eggs --sheet sheet.png
"""

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

LABELS = ("intact egg", "broken egg")
DAMAGES = ("cracks", "hole", "opening")

SUPERSAMPLING = 2  # canvas pixels per picture pixel, each way
WHOLE = 9.0  # an `Egg.cut` beyond the end of every shell

BELTS = ((38, 84, 66), (44, 68, 112), (58, 60, 62), (120, 122, 120), (196, 194, 186),
         (136, 110, 82), (30, 30, 32), (92, 104, 60), (150, 64, 52), (86, 128, 140))  # fmt: skip
SHELLS = ((244, 240, 232), (238, 222, 200), (224, 186, 148), (198, 142, 102), (158, 98, 66))
STRAW, FEATHER, DIRT, DARK = (206, 172, 98), (235, 228, 215), (74, 54, 36), (20, 18, 16)
ALBUMEN, YOLK, MEMBRANE, WHITE = (238, 226, 176), (240, 158, 26), (255, 238, 210), (255, 255, 255)

Array = npt.NDArray[np.floating[Any]]
Pictures = npt.NDArray[np.uint8]
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


def belt(rng: Rng, size: int) -> Canvas:
    """Choose a lamp and lay a belt: plain, ribbed, woven, meshed or slatted. -> size x size."""
    side = size * SUPERSAMPLING
    line = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    lamp, height = direction(rng.uniform(0, 2 * np.pi)), direction(rng.uniform(0.6, 1.2))
    light = np.append(lamp * height[0], height[1]).astype(np.float32)
    planes = np.empty((3, side, side), np.float32)
    canvas = Canvas(planes, line[None], line[:, None], side / 2, light)

    turn, pitch, depth = rng.uniform(0, np.pi), rng.uniform(4, 14), rng.uniform(0.08, 0.25)
    cos, sin = (2 * np.pi * pitch * direction(turn)).tolist()
    along, across = canvas.x * cos + canvas.y * sin, canvas.y * cos - canvas.x * sin
    tone = 1 + sum(a * canvas.noise(rng, n) for a, n in ((0.08, 6), (0.05, 40), (0.05, 150)))
    make = rng.choice(["plain", "ribbed", "woven", "meshed", "slatted"])
    if make == "ribbed":
        tone += depth * np.sin(along)
    elif make == "woven":
        tone += depth * np.sin(along) * np.sin(across)
    elif make == "meshed":
        tone *= 1 - 2.2 * depth * (np.cos(along) + np.cos(across) > 0.6)
    elif make == "slatted":
        tone += depth * (np.sin(along / 4) - 2 * (np.cos(along / 4) > 0.97))
    tone += 0.15 * rng.uniform() * (canvas.x * light[0] + canvas.y * light[1])
    gain = rng.uniform(0.8, 1.25) * rng.uniform(0.9, 1.1, 3)
    canvas.picture[...] = tone * colour(BELTS[rng.integers(len(BELTS))], gain)
    return canvas


@dataclass(frozen=True)
class Egg:
    """An egg lying on its side: a body of revolution with Preston's outline.

    In the frame of the egg, u runs from the blunt end (-1) to the pointed end (1), v across, both
    in units of half the length; half the width at u is `girth(u) * sqrt(1 - u**2)`
    (F. W. Preston, "The shapes of birds' eggs", The Auk 70, 1953).
    """

    centre: Array
    angle: float  # of the pointed end, rad
    length: float  # half of it
    shape: tuple[float, float, float, float]  # coefficients of `girth`, lowest power first
    bend: float  # how far the middle is shifted sideways: no egg is quite symmetric
    tint: Array  # colour of the shell
    cut: float = WHOLE  # where the shell ends along u, if a piece has broken off

    def axes(self) -> Array:
        """Directions of u and of v in the picture, as columns. -> (2, 2)."""
        return direction(np.array([self.angle, self.angle + np.pi / 2])).T.astype(np.float32)

    def place(self, points: Array) -> Array:
        """Points of the egg's frame in the picture. (..., 2) -> (..., 2)."""
        u, v = points[..., 0], points[..., 1]
        bent = np.stack([u, v + self.bend * (1 - u * u)], -1)
        return self.centre + self.length * bent @ self.axes().T

    def frame(self, canvas: Canvas) -> tuple[Array, Array]:
        """Coordinates u and v of every pixel of the canvas. -> (H, W), (H, W)."""
        axes, (x, y) = self.axes() / np.float32(self.length), self.centre.tolist()
        u = (canvas.x - x) * axes[0, 0] + (canvas.y - y) * axes[1, 0]
        v = (canvas.x - x) * axes[0, 1] + (canvas.y - y) * axes[1, 1]
        return u, v - self.bend * (1 - u * u)

    def girth(self, u: Array) -> Array:
        """Half the width of the egg before its ends are rounded."""
        a, b, c, d = self.shape
        return a + u * (b + u * (c + u * d))

    def outline(self) -> Array:
        """Edge of the shell, as far as it goes, in the picture. -> (60, 2)."""
        angle = np.linspace(0, 2 * np.pi, 60)
        u = np.cos(angle)
        return self.place(np.stack([np.minimum(u, self.cut), self.girth(u) * np.sin(angle)], 1))


def lay_egg(rng: Rng) -> Egg:
    """Choose form, size, place and colour of an egg."""
    width, tint = rng.uniform(0.70, 0.84), rng.uniform(0, len(SHELLS) - 1)
    taper = width * rng.normal((-0.12, -0.05, 0.0), (0.05, 0.03, 0.02))
    return Egg(
        centre=rng.uniform(-0.22, 0.22, 2),
        angle=rng.uniform(0, 2 * np.pi),
        length=rng.uniform(0.48, 0.70),
        shape=(width, *taper.tolist()),
        bend=rng.normal(0, 0.015),
        tint=colour([float(np.interp(tint, range(len(SHELLS)), c)) for c in np.transpose(SHELLS)]),
    )


def cast_shadow(canvas: Canvas, egg: Egg) -> None:
    """Darken the belt away from the lamp, and all round where the egg touches it."""
    outline, away = egg.outline(), -egg.length / canvas.light[2] * canvas.light[:2]
    for shift, blur, strength in ((0.55, 0.09, 0.7), (0.09, 0.04, 0.6)):
        canvas.paint(colour(DARK, 0.3), canvas.mask([outline + shift * away], blur), strength)


def shell(rng: Rng, canvas: Canvas, egg: Egg) -> Canvas:
    """Shaded, speckled shell on a canvas of its own, as large as the given one.

    Notes
    -----
    The body is v**2 + z**2 = girth(u)**2 * (1 - u**2); its gradient is the normal. Light is
    Lambert's cosine, a little skylight, the colour of the belt at the rim, and a highlight.
    """
    (u, v), lamp = egg.frame(canvas), np.append(canvas.light[:2] @ egg.axes(), canvas.light[2])
    girth, roundness = egg.girth(u), 1 - u * u
    slope = egg.shape[1] + u * (2 * egg.shape[2] + u * 3 * egg.shape[3])
    nu = girth * (u * girth - slope * roundness)
    nz = np.sqrt(np.clip(girth * girth * roundness - v * v, 1e-6, None))
    norm = 1 / np.sqrt(nu * nu + v * v + nz * nz)
    nu, nv, nz = nu * norm, v * norm, nz * norm

    sky, facing = rng.uniform(0.25, 0.45), nu * lamp[0] + nv * lamp[1] + nz * lamp[2]
    tone = sky * (0.5 + 0.5 * nz) + (1.08 - sky) * np.clip(facing, 0, None)
    tone *= 1 + rng.uniform(0.005, 0.04) * canvas.noise(rng, 6) + 0.015 * canvas.noise(rng, 60)
    bounce = egg.tint * canvas.picture[:, ::16, ::16].mean((1, 2), keepdims=True)
    shell = dataclasses.replace(canvas, picture=tone * egg.tint)
    shell.picture[...] += (0.35 - 0.35 * nz) * bounce

    count, dot = int(rng.choice([0, 0, 8, 40, 160])), direction(np.arange(6.0))
    sizes = rng.uniform(0.006, 0.022) * rng.gamma(3, 0.33, (count, 1, 1))
    spots = egg.place(rng.uniform(-1, 1, (count, 1, 2)) * (1, egg.shape[0]) + sizes * dot)
    shell.paint(shell.picture * colour(DIRT, 1.6), shell.mask(spots), rng.uniform(0.4, 0.9))

    half = np.array([lamp[0], lamp[1], lamp[2] + 1], np.float32) / np.sqrt(2 + 2 * lamp[2])
    gleam = np.log(np.clip(nu * half[0] + nv * half[1] + nz * half[2], 1e-3, None))
    shell.picture[...] += rng.uniform(0.03, 0.22) * np.exp(gleam * rng.uniform(8, 40))
    return shell


def crack(rng: Rng, start: Array, heading: float, reach: float) -> list[Array]:
    """One branching zigzag, about `reach` long, in the egg's frame; the trunk comes first."""
    path, branches, gone = [start], [], 0.0
    while gone < reach:
        step = rng.uniform(0.05, 0.11)
        path.append(path[-1] + step * direction(heading + rng.normal(0, 0.6)))
        gone += step
        if gone < reach and rng.random() < 0.3:
            aside = heading + rng.choice([-1, 1]) * rng.uniform(0.5, 1.0)
            branches += crack(rng, path[-1], aside, 0.5 * (reach - gone))
    return [np.array(path), *branches]


def draw_cracks(rng: Rng, canvas: Canvas, egg: Egg, start: Array, hub: float = 0.0) -> None:
    """A star of cracks from a circle of radius `hub`, with flakes sunk in between them."""
    arms, first = int(rng.integers(3, 7)), rng.uniform(0, 2 * np.pi)
    headings = first + 2 * np.pi / arms * (np.arange(arms) + rng.normal(0, 0.2, arms))
    trees = [crack(rng, start + hub * direction(h), h, rng.uniform(0.25, 0.9)) for h in headings]
    trunks = [tree[0][: int(rng.integers(2, 5))] for tree in trees]
    for one, other in zip(trunks, trunks[1:] + trunks[:1], strict=True):
        flake = canvas.mask([egg.place(np.concatenate([one, other[::-1]]))])
        canvas.paint(canvas.picture * rng.uniform(0.72, 1.12), flake)
    width = rng.uniform(0.018, 0.03)
    lines = [ribbon(egg.place(path), width, 0.3) for tree in trees for path in tree]
    far_edges = canvas.mask(points - 0.7 * width * canvas.light[:2] for points in lines)
    canvas.paint(canvas.picture * 1.25 + 0.06, far_edges, 0.8)
    canvas.paint(colour(DIRT, 0.5), canvas.mask(lines), rng.uniform(0.7, 0.95))


def draw_hole(rng: Rng, canvas: Canvas, egg: Egg, start: Array) -> None:
    """A missing piece of shell: bright broken edge, dark hollow, cracks from the rim."""
    radius = rng.uniform(0.14, 0.34)
    draw_cracks(rng, canvas, egg, start, 0.8 * radius)
    corners, radii = int(rng.integers(9, 20)), radius * rng.uniform(0.75, 1.15, 2)
    edge = zigzag(rng, start, radii, corners, 0.22)
    canvas.paint(0.7 * egg.tint + 0.26, canvas.mask([egg.place(edge)]))
    deep = -0.035 * egg.length * canvas.light[:2]
    membrane = egg.place(start + (edge - start) * rng.uniform(0.75, 1.0, (corners, 1))) + deep
    (u, v), lamp = egg.frame(canvas), canvas.light[:2] @ egg.axes() * (0.3 / radius)
    tone = np.clip(0.26 - (u - start[0]) * lamp[0] - (v - start[1]) * lamp[1], 0.06, 0.75)
    hollow = tone * (0.5 * egg.tint + 0.5 * colour(MEMBRANE))
    canvas.paint(hollow, canvas.mask([membrane]))
    if rng.random() < 0.4:
        yolk = egg.place(ring(rng, start, 0.5 * radius, 0.1)) + deep
        canvas.paint(colour(YOLK, 0.75), canvas.mask([yolk], 0.01), 0.85)


def draw_opening(rng: Rng, canvas: Canvas, egg: Egg, cover: Image.Image) -> None:
    """The end of the egg gone: a jagged mouth at `egg.cut` that shows the hollow."""
    lip = float(egg.girth(np.array(egg.cut)) * np.sqrt(1 - egg.cut**2))
    start, squeeze = np.array([egg.cut, 0.0]), np.array([rng.uniform(0.3, 0.6), 1.0])
    edge = zigzag(rng, start, squeeze * lip, 26, 0.10)
    mouth = canvas.mask([egg.place(edge)])
    cover.paste(255, mask=mouth)
    canvas.paint(0.75 * egg.tint + 0.24, mouth)
    tone = np.clip(0.45 + 0.8 * (egg.frame(canvas)[0] - egg.cut), 0.08, 0.9)
    hollow = tone * (0.4 * egg.tint + 0.6 * colour(MEMBRANE))
    canvas.paint(hollow, canvas.mask([egg.place(start + (edge - start) * 0.9 + (0.02, 0))]))
    if rng.random() < 0.6:
        draw_cracks(rng, canvas, egg, start - (lip, 0))


def draw_spill(rng: Rng, canvas: Canvas, centre: Array, radius: float) -> None:
    """A pool of egg white, mostly with a yolk, on the belt."""
    pool = canvas.mask([ring(rng, centre, radius, 0.25)], 0.02)
    canvas.paint(colour(ALBUMEN), pool, rng.uniform(0.2, 0.5))
    canvas.shine(pool, 0.5)
    if rng.random() < 0.8:
        middle, size = centre + rng.uniform(-0.3, 0.3, 2) * radius, rng.uniform(0.4, 0.6) * radius
        yolk = canvas.mask([ring(rng, middle, size, rng.choice([0.03, 0.25]))], 0.03)
        canvas.paint(colour(YOLK, rng.uniform(0.8, 1.05)), yolk, rng.uniform(0.75, 1.0))
        canvas.shine(yolk, 0.9)
        glint = ring(rng, middle + 0.35 * size * canvas.light[:2], 0.2 * size, 0.2)
        canvas.paint(colour(WHITE), canvas.mask([glint], 0.015), 0.7)


def draw_straws(rng: Rng, canvas: Canvas, places: Array) -> None:
    """A slightly bent straw through each of the given places, (k, 2)."""
    for place in places:
        way = rng.uniform(0.15, 0.6) * direction(rng.uniform(0, np.pi))
        stalk = place + np.stack([-way, rng.normal(0, 0.06) * way[::-1], way])
        tint = colour(STRAW, rng.uniform(0.55, 1.15))
        canvas.drop([ribbon(stalk, rng.uniform(0.012, 0.03))], tint)


def draw_feather(rng: Rng, canvas: Canvas) -> None:
    """A small feather, a pale pointed vane with a quill, somewhere on the belt."""
    root, way = rng.uniform(-0.9, 0.9, 2), rng.uniform(0.3, 0.9) * direction(rng.uniform(0, 7))
    along, aside = np.linspace(0, 1, 24)[:, None], way[::-1] * (-1, 1) * rng.uniform(0.08, 0.15)
    bulge = np.sin(np.pi * along**0.7) * rng.uniform(0.8, 1.1, (24, 1)) * aside
    spine, tint = root + (0.25 + 0.75 * along) * way, colour(FEATHER, rng.uniform(0.45, 0.95))
    canvas.drop([np.concatenate([spine + bulge, (spine - bulge)[::-1]])], tint)
    canvas.paint(tint * 0.8, canvas.mask([ribbon(root + along * way, 0.014)]))


def draw_crumbs(rng: Rng, canvas: Canvas, count: int, tint: Array, size: float) -> None:
    """Flat jagged pieces, of feed or of shell, anywhere on the belt."""
    places, radii = rng.uniform(-0.95, 0.95, (count, 2)), size * rng.uniform(0.4, 1.2, (count, 2))
    pieces = zip(places, radii, rng.integers(4, 8, count).tolist(), strict=True)
    canvas.drop([zigzag(rng, *piece, 0.3) for piece in pieces], tint * rng.uniform(0.8, 1.05))


def draw_dirt(rng: Rng, canvas: Canvas, egg: Egg, start: Array) -> None:
    """A smear of dirt on the shell, dark and ragged, but whole."""
    smear = egg.place(ring(rng, start, rng.uniform(0.08, 0.28), 0.35))
    dirty = canvas.picture * colour(DIRT, 1.3) * (1 + 0.3 * canvas.noise(rng, 30))
    canvas.paint(dirty, canvas.mask([smear], rng.uniform(0.01, 0.05)), rng.uniform(0.5, 0.95))


def render(seed: int, broken: bool, size: int = 128) -> Pictures:
    """One picture, the same bytes for the same arguments. -> (size, size, 3)."""
    streams = np.random.SeedSequence(seed).spawn(3)
    scene, fate, camera = (np.random.default_rng(stream) for stream in streams)
    canvas, egg = belt(scene, size), lay_egg(scene)
    draw_crumbs(scene, canvas, int(scene.integers(0, 9)), colour(STRAW, 0.8), 0.035)
    draw_straws(scene, canvas, scene.uniform(-1, 1, (int(scene.integers(0, 4)), 2)))
    if scene.random() < 0.35:
        draw_feather(scene, canvas)

    damage = str(fate.choice(DAMAGES, p=[0.4, 0.3, 0.3])) if broken else ""
    if damage == "opening":
        egg = dataclasses.replace(egg, cut=fate.uniform(-0.1, 0.5))
    cast_shadow(canvas, egg)
    # Earlier eggs have soiled the belt and the shells too: only this shell tells the label.
    if fate.random() < {"": 0.4, "cracks": 0.1, "hole": 0.5, "opening": 0.85}[damage]:
        aim = egg.angle if damage == "opening" else fate.uniform(0, 2 * np.pi)
        away = egg.length * (fate.uniform(0.6, 1.1) if broken else fate.uniform(1.0, 1.5))
        draw_spill(fate, canvas, egg.centre + away * direction(aim), fate.uniform(0.2, 0.42))
    if fate.random() < 0.4:
        draw_crumbs(fate, canvas, int(fate.integers(1, 6)), egg.tint, 0.09)

    near = canvas.around(egg.centre, 1.1 * egg.length)
    surface, cover = shell(scene, near, egg), near.mask([egg.outline()], 0.5 / near.scale)
    spots = fate.uniform((-0.55, -0.35), (0.5, 0.35), (2, 2))  # well inside the outline
    if fate.random() < (0.2 if broken else 0.6):
        draw_dirt(fate, surface, egg, spots[0])
    if damage == "cracks":
        draw_cracks(fate, surface, egg, spots[1])
    elif damage == "hole":
        draw_hole(fate, surface, egg, spots[1])
    elif damage == "opening":
        draw_opening(fate, surface, egg, cover)
    near.paint(surface.picture, cover)
    if fate.random() < 0.35:
        draw_straws(fate, canvas, egg.centre + fate.normal(0, 0.2, (1, 2)))
    return develop(camera, canvas)


def develop(rng: Rng, canvas: Canvas) -> Pictures:
    """Downsample, then exposure, colour cast, vignette and grain. -> (size, size, 3)."""
    s, planes = SUPERSAMPLING, canvas.picture
    small = sum(planes[:, i::s, j::s] for i in range(s) for j in range(s)) / np.float32(s * s)
    small *= (rng.uniform(0.9, 1.2) * rng.uniform(0.94, 1.06, (3, 1, 1))).astype(np.float32)
    small *= 1 - rng.uniform(0, 0.15) * (canvas.x[:, ::s] ** 2 + canvas.y[::s] ** 2)
    small += rng.uniform(0.004, 0.02) * rng.standard_normal(small.shape, dtype=np.float32)
    values = (np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(values.transpose(1, 2, 0))


def data_set(count: int, seed: int, size: int = 128) -> tuple[Pictures, npt.NDArray[np.int64]]:
    """Shuffled pictures, half of them broken, and labels. -> (count, size, size, 3), (count,).

    Picture i is `render(seed * 2**32 + i, labels[i], size)`: no two values of `seed` share a scene.
    """
    labels = np.random.default_rng(seed).permutation(np.arange(count, dtype=np.int64) % 2)
    pictures = np.empty((count, size, size, 3), np.uint8)
    for i, label in enumerate(labels):
        pictures[i] = render((seed << 32) + i, bool(label), size)
    return pictures, labels


def contact_sheet(pictures: Pictures, columns: int = 8) -> Image.Image:
    """All pictures in one, row by row."""
    count, size = pictures.shape[:2]
    sheet = Image.new("RGB", (min(columns, count) * size, -(-count // columns) * size))
    for i, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture), (i % columns * size, i // columns * size))
    return sheet


def main() -> None:
    """Write pictures, a contact sheet of them, or both."""
    parser = argparse.ArgumentParser(description="Draw pictures of intact and of broken eggs.")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=299, help="side of a picture, in pixels")
    parser.add_argument("-o", "--output", type=Path, help="folder for the pictures")
    parser.add_argument("--sheet", type=Path, help="one file with all the pictures")
    options = parser.parse_args()
    if not (options.output or options.sheet):
        parser.error("say where to write: -o FOLDER, --sheet FILE, or both")

    pictures, labels = data_set(options.count, options.seed, options.size)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            name = f"{LABELS[label].split()[0]}_{i:03d}.jpg"
            Image.fromarray(picture).save(options.output / name, quality=90)
    if options.sheet:
        contact_sheet(pictures).save(options.sheet)


if __name__ == "__main__":
    main()
