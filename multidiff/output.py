"""What a run leaves behind: named files, their sidecars and an index page.

Every media file has a JSON sidecar beside it that says how it was made; `multidiff sample --from` reads it.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multidiff.errors import InputError
from multidiff.files import readable, written_whole

SIDECAR_VERSION = 1
PLAYERS = {
    ".wav": "audio", ".flac": "audio", ".ogg": "audio", ".mp3": "audio", ".mp4": "video", ".webm": "video",
    ".gif": "img", ".png": "img",
}  # fmt: skip


def slug(text: str, longest: int = 40) -> str:
    """A file name's part from free text: lower case, words joined by dashes."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:longest].rstrip("-")


def free_stem(folder: Path, stem: str, record: Mapping[str, Any]) -> str:
    """`stem`, or `stem-2`, `stem-3`, ... when a file made otherwise already has that name.

    Making the same thing again writes the same file; nothing else is ever overwritten.
    """
    candidate, number = stem, 1
    while (sidecar := folder / f"{candidate}.json").exists():
        try:
            if json.loads(sidecar.read_text("utf-8")).get("job") == record.get("job"):
                return candidate
        except (ValueError, AttributeError):
            pass
        number += 1
        candidate = f"{stem}-{number}"
    return candidate


def write_sidecar(path: Path, record: Mapping[str, Any]) -> Path:
    """`path` with suffix .json, written whole."""
    sidecar = path.with_suffix(".json")
    with written_whole(sidecar) as temporary:
        temporary.write_text(json.dumps({"format": SIDECAR_VERSION, **record}, indent=1, ensure_ascii=False) + "\n")
    return sidecar


def read_sidecar(path: str | Path) -> dict[str, Any]:
    """The record of a sidecar, given its path or that of the media file beside it. Raises InputError."""
    path = Path(path)
    if path.suffix != ".json":
        path = path.with_suffix(".json")
    path = readable(path, "a sidecar written by multidiff")
    try:
        record = json.loads(path.read_text("utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a sidecar: {error}") from None
    if not isinstance(record, dict) or "job" not in record:
        raise InputError(f"{path}: not a sidecar of multidiff (no 'job' in it)")
    if record.get("format") != SIDECAR_VERSION:
        raise InputError(f"{path}: sidecar format {record.get('format')}; this version reads {SIDECAR_VERSION}")
    return record


def write_index(folder: Path) -> Path:
    """`index.html`: every sample of a folder with its player or picture, its prompt and its seed."""
    cards = []
    for sidecar in sorted(folder.glob("*.json")):
        try:
            record = json.loads(sidecar.read_text("utf-8"))
            job, files = record["job"], record["files"]
        except (ValueError, KeyError, TypeError):
            continue
        shown = "".join(_element(name) for name in files if (folder / name).exists())
        said = html.escape(f"{job.get('prompt') or job.get('given') or ''}")
        cards.append(
            f"<figure>{shown}<figcaption>{said}<small>{html.escape(_caption(job))}</small></figcaption></figure>"
        )
    page = folder / "index.html"
    with written_whole(page) as temporary:
        temporary.write_text(
            "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>{html.escape(folder.name)}</title><style>body{{font:15px system-ui;margin:2em;background:#fafafa}}"
            "main{display:flex;flex-wrap:wrap;gap:1.5em}figure{margin:0;max-width:22em}img,video{width:100%}"
            "audio{width:100%}small{display:block;color:#777}</style>"
            f"<h1>{html.escape(folder.name)}</h1><main>{''.join(cards)}</main>\n",
            "utf-8",
        )
    return page


def _element(name: str) -> str:
    kind, name = PLAYERS.get(Path(name).suffix), html.escape(name, quote=True)
    if kind == "img":
        return f'<a href="{name}"><img src="{name}" alt=""></a>'
    return f'<{kind} controls loop src="{name}"></{kind}>' if kind else f'<a href="{name}">{name}</a> '


def _caption(job: Mapping[str, Any]) -> str:
    settings = job.get("settings", {})
    return f"{job.get('model')}, seed {job.get('seed')}, {settings.get('steps')} steps"
