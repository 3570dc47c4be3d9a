"""Records of invented times, as the laboratory writes them: a few rows, or thousands."""

import itertools
import random
import statistics
from typing import Any

LADDER: dict[str, tuple[str | None, float]] = {  # the rung below, share of the peak
    "naive": (None, 0.012),
    "im2col": ("naive", 0.55),
    "im2col_gemm": ("im2col", 0.5),
    "tile_implicit": ("im2col_gemm", 0.8),
    "tile_direct": ("tile_implicit", 0.88),
    "winograd_4x4_3x3": ("tile_direct", 1.9),
    "winograd_1d": ("winograd_4x4_3x3", 1.6),
    "pointwise": (None, 0.93),
}
NETWORKS = ("inception_v4", "inception_resnet_v1", "inception_resnet_v2")
PEAK = 110e9
STEPS = {
    "conv2d_1a_3x3": ["direct"],
    "mixed_3a": ["max pool", "direct"],
    "mixed_5b": ["pointwise", "winograd 4x4", "average pool"],
    "repeat": ["pointwise", "winograd 4x4"],
    "mixed_6a": ["direct", "max pool"],
    "repeat_1": ["pointwise", "winograd 1x6", "winograd 6x1"],
    "mixed_7a": ["direct", "max pool"],
    "repeat_2": ["pointwise", "implicit"],
    "conv2d_7b_1x1": ["pointwise"],
    "global_pool": ["global average"],
    "logits": ["pointwise"],
}


def record(shapes: int = 4, *, threads: tuple[int, ...] = (1, 2), seed: int = 0) -> dict[str, Any]:
    """A record of the ladder of convolutions on so many shapes, of three engines, and of steps."""
    luck = random.Random(seed)
    rows = [
        row
        for shape in layers(shapes, luck)
        for count in threads
        for row in _conv2d(shape, count, luck)
    ]
    for count in threads:
        rows += [_engine(name, count, luck) for name in ("minincep", "ONNX Runtime", "OpenVINO")]
        rows += [_step(path, kind, count, luck) for path in STEPS for kind in STEPS[path]]
    return {
        "format": "minincep-bench",
        "version": 1,
        "machine": {
            "cpu": "Test CPU",
            "cores": 2,
            "system": "Linux",
            "versions": {"minincep": "0.1.0", "python": "3.11.7", "numpy": "2.4.6"},
        },
        "settings": {"repeats": 7, "quick": False},
        "roof": {str(count): roof(count) for count in threads},
        "rows": rows,
    }


def roof(threads: int) -> dict[str, Any]:
    return {
        "flops": PEAK * threads,
        "bandwidth": 12e9 * threads,
        "levels": [
            {"name": "L1", "size": 32768 * threads, "bandwidth": 400e9 * threads},
            {"name": "L2", "size": (1 << 20) * threads, "bandwidth": 160e9 * threads},
            {"name": "L3", "size": 1 << 25, "bandwidth": 60e9 * threads},
        ],
    }


def layers(count: int, luck: random.Random) -> list[dict[str, Any]]:
    """So many shapes: maps of the sizes that the networks have, all kinds of filters."""
    kernels = [(1, 1), (3, 3), (1, 7), (7, 1), (1, 3), (3, 1)]
    every = list(
        itertools.product((147, 71, 35, 17, 8), kernels, (32, 64, 192, 384, 1024), (32, 96, 256))
    )
    every = [one for one in every if one[0] * one[2] <= 17 * 1024]
    return [
        {
            "batch": 1,
            "height": size,
            "width": size,
            "channels": channels,
            "kernel": list(kernel),
            "stride": [1, 1],
            "padding": [(kernel[0] - 1) // 2] * 2 + [(kernel[1] - 1) // 2] * 2,
            "out_channels": out,
        }
        for size, kernel, channels, out in luck.sample(every, count)
    ]


def _conv2d(shape: dict[str, Any], threads: int, luck: random.Random) -> list[dict[str, Any]]:
    size, (down, across) = shape["height"], shape["kernel"]
    channels, out = shape["channels"], shape["out_channels"]
    flops = 2 * size * size * down * across * channels * out
    moved = 4 * (size * size * (channels + out) + down * across * channels * out)
    label = f"{size}x{size}x{channels} {down}x{across} -> {out}"
    networks = {name: luck.randint(1, 10) for name in luck.sample(NETWORKS, luck.randint(1, 3))}
    rows: list[dict[str, Any]] = []
    done: dict[str, float] = {}
    for variant, (below, share) in LADDER.items():
        if variant == "winograd_4x4_3x3" and (down, across) != (3, 3):
            continue
        if variant == "winograd_1d" and (down == across or size == 8):
            continue
        if variant == "pointwise" and (down, across) != (1, 1):
            continue
        work = flops / (3.6 if variant == "winograd_4x4_3x3" else 2.4 if "win" in variant else 1)
        least = max(work / (PEAK * threads), moved / (60e9 * threads))
        median = max(flops / (share * luck.uniform(0.6, 1.05) * PEAK * threads), least)
        seconds = [median * luck.uniform(0.97, 1.08) for _ in range(7)]
        median = statistics.median(seconds)
        done[variant] = median
        rows.append(
            {
                "op": "conv2d",
                "variant": variant,
                "below": below,
                "shape": shape,
                "label": label,
                "networks": networks,
                "threads": threads,
                "cache": "warm",
                "flops": flops,
                "bytes": moved,
                "work": work,
                "seconds": seconds,
                "peak": [PEAK * threads for _ in seconds],
                "control": seconds,
                "median": median,
                "compile_seconds": luck.uniform(0.1, 3),
                "error": 1e-6,
                "tolerance": 1e-5,
                "gflops": flops / median / 1e9,
                "share_of_roof": least / median,
                "speedup_over_below": done[below] / median if below in done else None,
                "bound": "compute" if least == work / (PEAK * threads) else "bandwidth",
                "path": None,
            }
        )
    return rows


def _engine(name: str, threads: int, luck: random.Random) -> dict[str, Any]:
    row = _row("network", name, threads, luck.uniform(0.1, 0.3) / threads, luck)
    return row | {"label": "inception_resnet_v2 299, batch 1"}


def _step(path: str, kind: str, threads: int, luck: random.Random) -> dict[str, Any]:
    row = _row("step", kind, threads, luck.uniform(0.001, 0.02) / threads, luck)
    return row | {"path": f"{path}/conv2d_{kind}", "label": "35x35x64 1x1/1 -> 35x35x96"}


def _row(op: str, variant: str, threads: int, median: float, luck: random.Random) -> dict[str, Any]:
    flops = 1e9 * luck.uniform(0.5, 2)
    seconds = [median * luck.uniform(0.97, 1.03) for _ in range(5)]
    median = statistics.median(seconds)
    return {
        "op": op,
        "variant": variant,
        "below": None,
        "label": "",
        "shape": {"model": "inception_resnet_v2", "batch": 1, "size": 299},
        "networks": {"inception_resnet_v2": 1},
        "threads": threads,
        "cache": "warm",
        "flops": flops,
        "bytes": 1e8,
        "work": flops,
        "seconds": seconds,
        "peak": [PEAK * threads] * 5,
        "control": [],
        "median": median,
        "compile_seconds": 0.0,
        "error": 1e-6,
        "tolerance": 1e-4,
        "gflops": flops / median / 1e9,
        "share_of_roof": min(1.0, flops / median / (PEAK * threads)),
        "speedup_over_below": None,
        "bound": "compute",
        "path": None,
    }


def hostile(threads: tuple[int, ...] = (1, 2)) -> dict[str, Any]:
    """A record whose names all try to be more than text, and of an operation that does nothing."""
    nasty = '</script><script>window.injected=1</script><img src=x onerror="injected=1"> {{data}}'
    content = record(3, threads=threads)
    content["machine"] |= {"cpu": nasty, nasty: [nasty, {nasty: nasty}]}
    content["settings"] = {nasty: nasty}
    content["roof"]["1"]["levels"][0]["name"] = nasty
    for row in content["rows"]:
        row["label"] = f"{row['label']} {nasty} <!-- \u2028 $_{{ \ud800"
        row["variant"] = f"猫 $_{{$ {row['variant']}{nasty}"  # no formula, and not in every font
        row["below"] = row["below"] and f"猫 $_{{$ {row['below']}{nasty}"
        row["networks"] = {nasty: 1, "__proto__": 2, "constructor": 3}
        if row["op"] == "step":
            row["path"] = f"<img src=x onerror=injected=1>{row['path']}"
            row["shape"]["model"] = nasty
        elif row["op"] == "conv2d":
            row["op"] = f"../{nasty}"
        elif "OpenVINO" in row["variant"]:
            row |= {"op": "idle", "flops": 0, "bytes": 0, "work": 0, "gflops": 0}
    return content
