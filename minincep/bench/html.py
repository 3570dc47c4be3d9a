"""A record as one HTML file, which opens in any browser without a network.

The page's own parts are in the folder `page`: its frame, its style, and scripts that draw the
figures and the tables from the data, which are in it as JSON.  Names in a record may come from
anybody, so three things keep them from being more than text: the JSON has no character that could
end its element, the scripts make text nodes of it and no markup, and the policy in the page's head
lets the browser run these scripts alone and fetch nothing.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from minincep.bench.record import Record, Row
from minincep.bench.summary import (
    COLORS,
    KINDS,
    bandwidths,
    bars,
    blocks,
    effective,
    groups,
    network_of,
    quartiles,
)

SCRIPTS = ("figures.js", "table.js", "report.js")  # in this order
KEPT = (  # fields of a row that the page has as they are
    *("op", "variant", "label", "path", "networks", "threads", "cache", "flops", "bytes"),
    *("median", "compile_seconds", "error", "tolerance", "gflops", "share_of_roof", "bound"),
    "speedup_over_below",
)
FIELDS = (*KEPT, "model", "key", "low", "high", "effective")
LONGEST = 400  # letters of one fact about the machine


def page(record: Record) -> str:
    """The whole page."""
    folder = files("minincep.bench") / "page"
    style = (folder / "report.css").read_text("utf-8")
    script = "".join((folder / name).read_text("utf-8") for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {"policy": policy, "style": style, "script": script, "data": _json(_data(record))}
    frame = (folder / "report.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], frame)


def _hash(text: str) -> str:
    """How a policy names a script or a style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(data: Mapping[str, Any]) -> str:
    """JSON that no HTML parser takes for anything else: ASCII, and nothing that begins a tag."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _data(record: Record) -> dict[str, Any]:
    keys: dict[str, int] = {}
    names = sorted({name for row in record.rows for name in row.networks})
    ladders = [
        {
            "op": op,
            "threads": threads,
            "cache": cache,
            "network": network or "",
            "bars": [_short(asdict(bar)) for bar in bars(rows, network)],
        }
        for (op, threads, cache), rows in groups(record.rows).items()
        for network in (None, *names)
    ]
    return {
        "title": _title(record),
        "machine": [[name, _words(value)] for name, value in record.machine.items()],
        "settings": [[name, _words(value)] for name, value in record.settings.items()],
        "roofs": [
            {"threads": n, "flops": roof.flops, "bandwidths": list(bandwidths(roof).items())}
            for n, roof in sorted(record.roof.items())
        ],
        "fields": FIELDS,
        "rows": [_values(row, keys) for row in record.rows],
        "ladders": ladders,
        "blocks": [
            {"model": model, "threads": threads, "parts": [asdict(part) for part in parts]}
            for (model, threads), parts in blocks(record.rows).items()
        ],
        "kinds": KINDS,
        "colors": COLORS,
    }


def _values(row: Row, keys: dict[str, int]) -> list[Any]:
    """A row in the order of `FIELDS`; equal shapes get equal numbers."""
    shape = json.dumps(row.shape, sort_keys=True)
    low, high = quartiles(row)
    own = {name: getattr(row, name) for name in KEPT}
    own |= {"model": network_of(row), "key": keys.setdefault(shape, len(keys))}
    own |= {"low": low, "high": high, "effective": effective(row)}
    return list(_short(own).values())


def _short(values: dict[str, Any]) -> dict[str, Any]:
    """Six digits of each number are more than a clock has."""
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in values.items()
    }


def _title(record: Record) -> str:
    versions = record.machine.get("versions")
    version = versions.get("minincep") if isinstance(versions, dict) else None
    cores = _words(record.machine.get("cores", "?"))
    words = f"{_words(record.machine.get('cpu', 'unknown processor'))}, cores: {cores}"
    return f"{words}, minincep {_words(version)}" if version else words


def _words(value: Any) -> str:
    """Some fact in words, however it is nested."""
    if isinstance(value, dict):
        text = ", ".join(f"{name} {_words(part)}" for name, part in value.items())
    elif isinstance(value, list):
        between = "; " if any(isinstance(part, dict) for part in value) else ", "
        text = between.join(_words(part) for part in value)
    else:
        text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
