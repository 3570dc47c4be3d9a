"""Two tasks, as folders of pictures: a folder for each class.

`damage` shows broken eggs only, and asks how they are broken.  `broken` shows intact and broken
eggs, and asks which.  No two sets of pictures share a scene, since no two share a seed.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from PIL import Image

import render
from styles import SEEN, UNSEEN, Family

SIZE = 96  # pixels


@dataclass(frozen=True)
class Scene:
    """A picture to be: `render.render(seed, broken)`, in the folder of its class."""

    seed: int
    broken: bool
    label: str


@dataclass(frozen=True)
class Pictures:
    """A set of pictures.

    Attributes
    ----------
    task
        "damage", "broken", or "pairs": as broken, but each scene intact, then broken.
    count
        How many pictures.
    seed
        What they are rendered from; `render` keeps those of two seeds apart.
    family
        In which styles.
    """

    task: str
    count: int
    seed: int
    family: Family

    def scenes(self) -> Iterator[Scene]:
        """What is in the pictures, in their order."""
        if self.task == "pairs":
            for seed in render.scene_seeds(self.count // 2, self.seed):
                for broken in (False, True):
                    yield Scene(seed, broken, render.LABELS[broken])
            return
        labels = render.shuffled_labels(self.count, self.seed)
        for seed, label in zip(render.scene_seeds(self.count, self.seed), labels, strict=True):
            if self.task == "damage":
                yield Scene(seed, True, render.damage(seed))
            else:
                yield Scene(seed, bool(label), render.LABELS[label])

    def write(self, folder: Path, pool: ProcessPoolExecutor) -> None:
        """Draw them: `folder`/CLASS/NUMBER.png."""
        scenes = list(self.scenes())
        paths = [folder / s.label / f"{i:05d}.png" for i, s in enumerate(scenes)]
        for place in sorted({path.parent for path in paths}):
            place.mkdir(parents=True)
        for _ in pool.map(_write, paths, scenes, repeat(self.family), chunksize=32):
            pass

    def damages(self) -> list[str]:
        """How the first broken egg of each picture is broken; "" where none is."""
        return [render.damage(s.seed) if s.broken else "" for s in self.scenes()]


def _write(path: Path, scene: Scene, family: Family) -> None:
    picture = render.render(scene.seed, scene.broken, SIZE, family)
    Image.fromarray(picture).save(path, compress_level=1)


# Seeds from 3000 on are for trying settings out: no figure in a report comes from them.

TESTS = {  # of the network that comes along
    "seen": Pictures("broken", 1000, 500, SEEN),
    "unseen": Pictures("broken", 1000, 501, UNSEEN),
}
TRANSFER_TEST = Pictures("broken", 1000, 502, UNSEEN)


def default_training(seed: int) -> dict[str, Pictures]:
    """What the network that comes along learns from, and what its curves are drawn with."""
    return {
        "train": Pictures("pairs", 8192, 1000 + seed, SEEN),
        "val": Pictures("broken", 400, 1500 + seed, SEEN),
    }


def pretraining(seed: int) -> dict[str, Pictures]:
    """Many pictures of broken eggs, to learn from how shells break."""
    return {
        "train": Pictures("damage", 4096, 1100 + seed, SEEN),
        "val": Pictures("damage", 400, 1600 + seed, SEEN),
    }


def farm(seed: int) -> dict[str, Pictures]:
    """400 pictures of a farm's own, in other styles: half to learn from, half to look at."""
    return {
        "train": Pictures("broken", 200, 1200 + seed, UNSEEN),
        "val": Pictures("broken", 200, 1700 + seed, UNSEEN),
    }
