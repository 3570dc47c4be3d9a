"""Where windows lie."""

from minincep_kernels.jit import inlined


@inlined
def span(i: int, window: int, stride: int, corner: int, length: int) -> tuple[int, int]:
    """The pixels, from the first to behind the last, that window i sees of so many in a row."""
    first = i * stride - corner
    return max(first, 0), min(first + window, length)
