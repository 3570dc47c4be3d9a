"""Draw hen's eggs on a conveyor belt, all intact or at least one broken: no download needed.

A picture is made in the order in which things lie on each other: belt, litter, shadows, spill,
shells with their damage, straw, and last the camera. Lengths are in half picture sides, so one seed
shows one scene at every size. Style, eggs, litter and camera come from random streams that do not
know the label: `render(7, False)` and `render(7, True)` are the same eggs before and after.

    python examples/eggs/render.py --count 400 --seed 0 --size 299 -o eggs --sheet sheet.png
    minincep train eggs -o learnt --model inception_resnet_v2 --width 0.2 --blocks 1,2,1
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

import shells
from canvas import (
    SUPERSAMPLING,
    Array,
    Canvas,
    Rng,
    colour,
    direction,
    ribbon,
    zigzag,
)
from styles import FAMILIES, SEEN, Family, Style, lay_belt

LABELS = ("intact egg", "broken egg")
DAMAGES = ("hairline", "cracks", "hole", "opening")
STRAW, FEATHER = (206, 172, 98), (235, 228, 215)

Pictures = npt.NDArray[np.uint8]


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


def draw_shade(rng: Rng, canvas: Canvas) -> None:
    """The shadow of something out of sight, a bar or a hand, over belt and eggs alike."""
    way, edge = direction(rng.uniform(0, 2 * np.pi)), rng.uniform(-0.8, 0.8)
    aside = way[::-1] * (-1, 1)
    far = edge + rng.choice([rng.uniform(0.2, 0.6), 4.0])
    band = np.stack([edge * way + 3 * aside, far * way + 3 * aside])
    band = np.concatenate([band, (band - 6 * aside)[::-1]])
    mask = canvas.mask([band], rng.uniform(0.01, 0.06))
    canvas.paint(canvas.picture * rng.uniform(0.55, 0.8), mask)


def streams(seed: int) -> list[Rng]:
    """Random numbers for the scene, the litter, the damage and the camera, in this order."""
    return [np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(4)]


def draw_damage(rng: Rng) -> str:
    """First draw from the stream of the damage."""
    return str(rng.choice(DAMAGES, p=[0.2, 0.25, 0.25, 0.3]))


def damage(seed: int) -> str:
    """How the first broken egg of `render(seed, True)` is broken."""
    return draw_damage(streams(seed)[2])


def style(seed: int, family: Family = SEEN) -> Style:
    """The style of `render(seed, ..., family=family)`."""
    return family.style(streams(seed)[0])


def render(seed: int, broken: bool, size: int = 128, family: Family = SEEN) -> Pictures:
    """One picture, the same bytes for the same arguments. -> (size, size, 3)."""
    scene, litter, fate, camera = streams(seed)
    look = family.style(scene)
    canvas, eggs = lay_belt(scene, look, size), shells.lay_eggs(scene, look)
    draw_crumbs(litter, canvas, int(litter.integers(0, 9)), colour(STRAW, 0.8), 0.035)
    draw_straws(litter, canvas, litter.uniform(-1, 1, (int(litter.integers(0, 4)), 2)))
    if litter.random() < 0.35:
        draw_feather(litter, canvas)
    if litter.random() < 0.35:  # shell of earlier eggs
        draw_crumbs(litter, canvas, int(litter.integers(1, 6)), eggs[0].tint, 0.09)

    kinds, own_spill = [""] * len(eggs), None
    if broken:
        kinds[0] = draw_damage(fate)
        for i in range(1, len(eggs)):
            kinds[i] = draw_damage(fate) if fate.random() < 0.2 else ""
        for i, kind in enumerate(kinds):
            if kind == "opening":
                eggs[i] = dataclasses.replace(eggs[i], cut=fate.uniform(-0.1, 0.5))
        if fate.random() < {"hairline": 0.0, "cracks": 0.1, "hole": 0.4, "opening": 0.7}[kinds[0]]:
            aim = eggs[0].angle if kinds[0] == "opening" else fate.uniform(0, 2 * np.pi)
            away = eggs[0].length * fate.uniform(0.6, 1.1) * direction(aim)
            own_spill = eggs[0].centre + away
    for egg in eggs:
        shells.cast_shadow(canvas, egg)
    # Earlier eggs have soiled the belt and the shells too: only the shells in sight tell the label.
    soiled, radius = litter.random() < 0.4, litter.uniform(0.45, 0.65) * eggs[0].length
    earlier = eggs[0].centre + litter.uniform(1, 1.5) * eggs[0].length * direction(
        litter.uniform(0, 7)
    )
    if own_spill is not None or soiled:
        place = earlier if own_spill is None else own_spill
        shells.draw_spill(np.random.default_rng(seed), canvas, place, radius)

    for egg, kind in zip(eggs, kinds, strict=True):
        near = canvas.around(egg.centre, 1.1 * egg.length)
        surface = shells.shell(scene, near, egg, look)
        cover = near.mask([egg.outline()], 0.5 / near.scale)
        if litter.random() < 0.25:
            start = litter.uniform((-0.55, -0.35), (0.5, 0.35))
            shells.draw_dirt(litter, surface, egg, start)
        for draw, share in ((shells.draw_scratches, 0.15), (shells.draw_stamp, 0.2)):
            if litter.random() < share:
                draw(litter, surface, egg)
        break_shell(fate, surface, egg, cover, kind)
        if litter.random() < 0.2:
            shells.draw_hairs(litter, surface, egg)
        near.paint(surface.picture, cover)
    if litter.random() < 0.35:
        draw_straws(litter, canvas, eggs[0].centre + litter.normal(0, 0.2, (1, 2)))
    if litter.random() < 0.3:
        draw_shade(litter, canvas)
    return develop(camera, canvas, look)


def break_shell(rng: Rng, surface: Canvas, egg: shells.Egg, cover: Image.Image, kind: str) -> None:
    """Damage of a kind, well inside the outline; "" leaves the shell whole."""
    start = rng.uniform((-0.55, -0.35), (0.5, 0.35))
    if kind == "hairline":
        shells.draw_hairline(rng, surface, egg, start)
    elif kind == "cracks":
        shells.draw_cracks(rng, surface, egg, start)
    elif kind == "hole":
        shells.draw_hole(rng, surface, egg, start)
    elif kind == "opening":
        shells.draw_opening(rng, surface, egg, cover)


def blurred(rng: Rng, planes: Array) -> Array:
    """Out of focus, or moved along a line while the shutter was open, or sharp. (3, H, W)."""
    kind, extent = rng.choice(["sharp", "focus", "motion"], p=[0.6, 0.2, 0.2]), rng.uniform(0, 1)
    reach = extent * planes.shape[1] / 100  # canvas pixels; one part in a hundred of the picture
    shifts = np.outer(np.linspace(-1, 1, 5), direction(rng.uniform(0, np.pi)))
    if kind == "sharp":
        return planes
    if kind == "focus":
        shifts = np.concatenate(
            [0.5 * direction(np.arange(5) * 1.2566), direction(np.arange(9) * 0.698)]
        )
    steps = np.rint(reach * shifts).astype(int).tolist()
    total = np.zeros_like(planes)
    for step in steps:
        total += np.roll(planes, step, (1, 2))
    return total / np.float32(len(steps))


def develop(rng: Rng, canvas: Canvas, look: Style) -> Pictures:
    """Blur, downsample, exposure, colour cast, vignette and grain. -> (size, size, 3)."""
    s, planes = SUPERSAMPLING, blurred(rng, canvas.picture)
    small = sum(planes[:, i::s, j::s] for i in range(s) for j in range(s)) / np.float32(s * s)
    small *= colour(look.lamp.tint, rng.uniform(0.85, 1.2) * rng.uniform(0.95, 1.05, 3))
    small *= 1 - rng.uniform(0, 0.15) * (canvas.x[:, ::s] ** 2 + canvas.y[::s] ** 2)
    small += rng.uniform(0.004, 0.02) * rng.standard_normal(small.shape, dtype=np.float32)
    values = (np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(values.transpose(1, 2, 0))


def scene_seeds(count: int, seed: int) -> list[int]:
    """What `data_set` renders: no two values of `seed` share a scene."""
    return [(seed << 32) + i for i in range(count)]


def shuffled_labels(count: int, seed: int) -> npt.NDArray[np.int64]:
    """Which pictures are broken: half of them. -> (count,)."""
    return np.random.default_rng(seed).permutation(np.arange(count, dtype=np.int64) % 2)


def data_set(
    count: int, seed: int, size: int = 128, family: Family = SEEN
) -> tuple[Pictures, npt.NDArray[np.int64]]:
    """Shuffled pictures, half of them broken, and labels. -> (count, size, size, 3), (count,).

    Picture i is `render(scene_seeds(count, seed)[i], labels[i], size, family)`.
    """
    labels = shuffled_labels(count, seed)
    pictures = np.empty((count, size, size, 3), np.uint8)
    for i, scene in enumerate(scene_seeds(count, seed)):
        pictures[i] = render(scene, bool(labels[i]), size, family)
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
    parser.add_argument("--family", choices=FAMILIES, default=SEEN.name, help="of styles")
    parser.add_argument("-o", "--output", type=Path, help="folder; a folder for each class in it")
    parser.add_argument("--sheet", type=Path, help="one file with all the pictures")
    options = parser.parse_args()
    if not (options.output or options.sheet):
        parser.error("say where to write: -o FOLDER, --sheet FILE, or both")

    family = FAMILIES[options.family]
    pictures, labels = data_set(options.count, options.seed, options.size, family)
    if options.output:
        for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            path = options.output / LABELS[label] / f"{i:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path, quality=90)
    if options.sheet:
        contact_sheet(pictures).save(options.sheet)


if __name__ == "__main__":
    main()
