"""What tests of whole networks share."""

from collections.abc import Iterator

import pytest

from minincep_kernels.machine import num_threads


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Run on one thread.

    On a machine that is busy with other things, threads wait for each other more than they work.
    """
    with num_threads(1):
        yield
