"""What tests of whole networks share."""

from collections.abc import Iterator

import pytest

from minincep_kernels.machine import num_threads


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Run on one thread.

    Threads that wait for each other spin, so on a machine that is busy with other things, a
    network takes 30 times as long on two threads as on one.
    """
    with num_threads(1):
        yield
