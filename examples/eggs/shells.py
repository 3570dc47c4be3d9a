"""Eggs: their form, their shading, the ways in which they break, and what lies on whole ones."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from PIL import Image

from canvas import DARK, WHITE, Array, Canvas, Rng, colour, direction, ribbon, ring, zigzag
from styles import Style

WHOLE = 9.0  # an `Egg.cut` beyond the end of every shell
DIRT, ALBUMEN, YOLK, MEMBRANE = (74, 54, 36), (238, 226, 176), (240, 158, 26), (255, 238, 210)


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


def lay_eggs(rng: Rng, style: Style) -> list[Egg]:
    """Choose number, form, size, place and colour of the eggs; they lie apart, all in sight."""
    eggs: list[Egg] = []
    count = int(rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12]))
    low, high = ((0.50, 0.70), (0.42, 0.49), (0.37, 0.42))[count - 1]
    for _ in range(200):
        length, width = rng.uniform(low, high), rng.uniform(0.70, 0.84)
        taper = width * rng.normal((-0.12, -0.05, 0.0), (0.05, 0.03, 0.02))
        tint = np.minimum(rng.normal(1, (0.03, 0.03, 0.04)), 252 / np.array(style.shell))
        egg = Egg(
            centre=rng.uniform(length - 1, 1 - length, 2),
            angle=rng.uniform(0, 2 * np.pi),
            length=length,
            shape=(width, *taper.tolist()),
            bend=rng.normal(0, 0.015),
            tint=colour(style.shell, tint),
        )
        apart = (np.linalg.norm(egg.centre - e.centre) > 0.88 * (length + e.length) for e in eggs)
        if all(apart):
            eggs.append(egg)
        if len(eggs) == count:
            break
    return eggs


def cast_shadow(canvas: Canvas, egg: Egg) -> None:
    """Darken the belt away from the lamp, and all round where the egg touches it."""
    outline, away = egg.outline(), -egg.length / canvas.light[2] * canvas.light[:2]
    for shift, blur, strength in ((0.55, 0.09, 0.7), (0.09, 0.04, 0.6)):
        canvas.paint(colour(DARK, 0.3), canvas.mask([outline + shift * away], blur), strength)


def shell(rng: Rng, canvas: Canvas, egg: Egg, style: Style) -> Canvas:
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

    sky, facing = rng.uniform(*style.lamp.sky), nu * lamp[0] + nv * lamp[1] + nz * lamp[2]
    tone = sky * (0.5 + 0.5 * nz) + (1.08 - sky) * np.clip(facing, 0, None)
    tone *= 1 + rng.uniform(0.005, 0.04) * canvas.noise(rng, 6) + 0.015 * canvas.noise(rng, 60)
    bounce = egg.tint * canvas.picture[:, ::16, ::16].mean((1, 2), keepdims=True)
    shell = dataclasses.replace(canvas, picture=tone * egg.tint)
    shell.picture[...] += (0.35 - 0.35 * nz) * bounce

    count, dot = int(rng.choice(style.speckles.counts)), direction(np.arange(6.0))
    sizes = rng.uniform(*style.speckles.sizes) * rng.gamma(3, 0.33, (count, 1, 1))
    sizes = sizes * rng.uniform(0.6, 1.4, (count, 6, 1))
    spots = egg.place(rng.uniform(-1, 1, (count, 1, 2)) * (1, egg.shape[0]) + sizes * dot)
    pigment = shell.picture * colour(style.speckles.tint, 1.6)
    shell.paint(pigment, shell.mask(spots), rng.uniform(0.4, 0.9))

    half = np.array([lamp[0], lamp[1], lamp[2] + 1], np.float32) / np.sqrt(2 + 2 * lamp[2])
    gleam = np.log(np.clip(nu * half[0] + nv * half[1] + nz * half[2], 1e-3, None))
    shell.picture[...] += rng.uniform(*style.lamp.gleam) * np.exp(gleam * rng.uniform(8, 40))
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


def draw_hairline(rng: Rng, canvas: Canvas, egg: Egg, start: Array) -> None:
    """One fine jagged crack right across, with a branch or two; no piece of shell has moved."""
    heading, width = rng.uniform(0, 2 * np.pi), rng.uniform(0.018, 0.028)
    paths = crack(rng, start, heading, rng.uniform(0.4, 0.9))
    paths += crack(rng, start, heading + np.pi + rng.normal(0, 0.4), rng.uniform(0.4, 0.8))
    lines = canvas.mask(ribbon(egg.place(path), width, 0.5) for path in paths)
    canvas.paint(canvas.picture * colour(DIRT, 1.2), lines, rng.uniform(0.75, 1.0))


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


def draw_dirt(rng: Rng, canvas: Canvas, egg: Egg, start: Array) -> None:
    """A smear of dirt on the shell, dark and ragged, but whole."""
    smear = egg.place(ring(rng, start, rng.uniform(0.08, 0.28), 0.35))
    dirty = canvas.picture * colour(DIRT, 1.3) * (1 + 0.3 * canvas.noise(rng, 30))
    canvas.paint(dirty, canvas.mask([smear], rng.uniform(0.01, 0.05)), rng.uniform(0.5, 0.95))


def draw_hairs(rng: Rng, canvas: Canvas, egg: Egg) -> None:
    """Smooth bent hairs lying on the shell, dark or pale: lines that are no cracks."""
    for _ in range(int(rng.integers(1, 4))):
        middle, way = rng.normal(0, 0.25, 2), rng.uniform(0.2, 0.8) * direction(rng.uniform(0, 7))
        t = np.linspace(-1, 1, 12)[:, None]
        hair = middle + t * way + t * t * rng.normal(0, 0.25) * way[::-1] * (-1, 1)
        tint = colour((DARK, DIRT, (226, 218, 200))[int(rng.integers(3))])
        lines = canvas.mask([ribbon(egg.place(hair), rng.uniform(0.010, 0.022), 0.6)])
        canvas.paint(tint, lines, rng.uniform(0.4, 0.85))


def draw_scratches(rng: Rng, canvas: Canvas, egg: Egg) -> None:
    """A few straight strokes side by side, paler or darker than the shell."""
    start, way = rng.normal(0, 0.25, 2), rng.uniform(0.1, 0.35) * direction(rng.uniform(0, 7))
    aside = way[::-1] * (-1, 1) * rng.uniform(0.2, 0.5)
    count = int(rng.integers(2, 6))
    ends = start + np.arange(count)[:, None] * aside + rng.normal(0, 0.02, (count, 2))
    strokes = [ribbon(egg.place(np.stack([e - way, e + way])), 0.012) for e in ends]
    canvas.paint(canvas.picture * rng.choice([0.6, 1.3]), canvas.mask(strokes), 0.8)


def draw_stamp(rng: Rng, canvas: Canvas, egg: Egg) -> None:
    """A printed code: a row of small angular marks in ink."""
    way = direction(rng.uniform(0, 2 * np.pi))
    axes, start = np.stack([way, way[::-1] * (-1, 1)]), rng.normal(0, 0.15, 2)
    size, marks = rng.uniform(0.035, 0.06), []
    count = int(rng.integers(5, 10))
    for place in np.arange(count) - count / 2:
        corners = rng.choice([-0.5, 0.0, 0.5], (4, 2)) * (0.8, 1.6)
        corners = corners + rng.normal((1.3 * place, 0), 0.05, (4, 2))
        marks.append(ribbon(egg.place(start + size * corners @ axes), 0.011))
    ink = colour(((150, 30, 36), (40, 44, 90), (36, 34, 34))[int(rng.integers(3))])
    canvas.paint(ink, canvas.mask(marks), rng.uniform(0.5, 0.9))
