"""Putting saved numbers back: all of them, each where it was, or none."""

from collections.abc import Mapping

import numpy as np

from minincep.io.errors import WeightError
from minincep.io.text import printable
from minincep_kernels import Array


def restore(owner: str, places: Mapping[str, Array], state: Mapping[str, Array]) -> None:
    """Copy each array of a saved state to the place of its name.

    Parameters
    ----------
    owner
        Whose state it is, for messages.
    places
        Arrays to write to, by name.

    Raises
    ------
    WeightError
        If a name is missing or unexpected, an array has another shape or type of number, or a count
        is negative.  Then nothing has been changed.
    """
    wrong = [f"{name!r} is missing" for name in places if name not in state]
    wrong += [f"{printable(str(name))!r} is unexpected" for name in state if name not in places]
    for name, place in places.items():
        if name in state:
            found = np.asarray(state[name])
            if (found.shape, found.dtype) != (place.shape, place.dtype):
                wrong.append(
                    f"{name!r} is {found.dtype} {found.shape}, should be {place.dtype} "
                    f"{place.shape}"
                )
            elif found.dtype.kind == "i" and (found < 0).any():
                wrong.append(f"{name!r} is below 0, and counts")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise WeightError(
            f"this state does not fit {owner}: {'; '.join(wrong[:5])}{more}. Resume with the "
            "network and the settings that it was saved with"
        )
    for name, place in places.items():
        place[...] = state[name]
