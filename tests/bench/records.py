"""A record for tests."""

import copy
from dataclasses import replace

from minincep.bench.record import Record, Row
from minincep_kernels.roofline import Level, Roof

ROW = Row(
    op="conv2d",
    variant="mine",
    below="naive",
    shape={"batch": 1, "height": 9, "kernel": [3, 3]},
    label="9x9x3 3x3 -> 5",
    networks={"inception_v4": 2},
    threads=1,
    cache="warm",
    flops=1e6,
    bytes=1e4,
    work=5e5,
    seconds=[1e-3, 2e-3, 3e-3],
    peak=[1e11, 1.1e11, 1.2e11],
    control=[1e-3, 1.1e-3, 1.2e-3],
    median=2e-3,
    compile_seconds=0.5,
    error=1e-7,
    tolerance=1e-5,
    gflops=0.5,
    share_of_roof=0.1,
    bound="compute",
)


def record() -> Record:
    roof = Roof(1e11, 1e10, (Level("L1", 49152, 2e11),))
    rows = [ROW, replace(ROW, variant="naive", below=None, speedup_over_below=None)]
    rows = [copy.deepcopy(row) for row in rows]  # tests damage them
    return Record({"cpu": "one", "cores": 2}, {"op": "conv2d"}, {1: roof, 2: roof}, rows)
