"""The machine and the versions that figures belong to."""

import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def fingerprint(
    packages: Iterable[str] = ("minincep", "numpy", "numba", "scipy"),
) -> dict[str, Any]:
    """What a record says of the machine, and of these packages."""
    from minincep_kernels import machine
    from minincep_kernels.vectors import LANES

    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    model = re.search(r"model name\s*: (.+)", text)
    vectors = set(re.findall(r"\b(?:fma|avx\w*|amx\w*|asimd\w*|sve\w*)\b", text))
    return {
        "cpu": model[1] if model else platform.processor(),
        "vectors": sorted(vectors),
        "lanes": LANES,
        "cores": machine.available_cores(),
        "caches": [
            {"level": cache.level, "size": cache.size, "cores": cache.cores}
            for cache in machine.caches()
        ],
        "system": platform.platform(),
        "versions": {
            **{package: _version(package) for package in packages},
            "python": platform.python_version(),
        },
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # such as minincep itself, run from a folder of sources
        return "unknown"
