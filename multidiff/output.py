"""What a run leaves behind: named files, their sidecars and an index page.

Every media file has a JSON sidecar beside it that says how it was made; `multidiff sample --from` reads it.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multidiff.errors import InputError
from multidiff.files import readable, written_whole

SIDECAR_VERSION = 1
GENERATOR = "<meta name=generator content=multidiff>"
PLAYERS = {
    ".wav": "audio", ".flac": "audio", ".ogg": "audio", ".mp3": "audio", ".mp4": "video", ".webm": "video",
    ".gif": "img", ".png": "img", ".apng": "img",
}  # fmt: skip


def slug(text: str, longest: int = 40) -> str:
    """A file name's part from free text: lower case without accents, whole words joined by dashes."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    if len(words) <= longest:
        return words
    return words[: longest + 1].rpartition("-")[0] or words[:longest]


def free_stem(folder: Path, stem: str, record: Mapping[str, Any], suffixes: Sequence[str]) -> str:
    """`stem`, or `stem-2`, `stem-3`, ... when a file of these suffixes, made otherwise, already has that name.

    Making the same thing again with the same weights writes the same file; nothing else is ever overwritten.
    """
    candidate, number = stem, 1
    while any((folder / f"{candidate}.{suffix}").exists() for suffix in ("json", *suffixes)):
        if _made_alike(folder / f"{candidate}.json", record):
            break
        number += 1
        candidate = f"{stem}-{number}"
    return candidate


def _made_alike(sidecar: Path, record: Mapping[str, Any]) -> bool:
    try:
        found = read_sidecar(sidecar)
        return bool(found["job"] == record["job"] and found["made"]["weights"] == record["made"]["weights"])
    except (InputError, KeyError, TypeError):
        return False


def write_sidecar(path: Path, record: Mapping[str, Any]) -> Path:
    """`path` with suffix .json, written whole."""
    sidecar = path.with_suffix(".json")
    with written_whole(sidecar) as temporary:
        temporary.write_text(
            json.dumps({"format": SIDECAR_VERSION, **record}, indent=1, ensure_ascii=False) + "\n", "utf-8"
        )
    return sidecar


def read_sidecar(path: str | Path) -> dict[str, Any]:
    """The record of a sidecar, given its path or that of the media file beside it: `job`, `files`, `made`.

    Raises InputError for any other file.
    """
    path = Path(path)
    if path.name and path.suffix != ".json":
        path = path.with_suffix(".json")
    path = readable(path, "a sidecar written by multidiff")
    try:
        record = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a sidecar of multidiff: {error}") from None
    if not isinstance(record, dict) or not isinstance(record.get("job"), dict):
        raise InputError(f"{path}: not a sidecar of multidiff (no 'job' in it)")
    if record.get("format") != SIDECAR_VERSION:
        raise InputError(f"{path}: sidecar format {record.get('format')}; this version reads {SIDECAR_VERSION}")
    for key, kind in (("files", list), ("made", dict)):
        record[key] = record[key] if isinstance(record.get(key), kind) else kind()
    return record


def write_index(folder: Path) -> Path:
    """`index.html`: every sample of a folder with its player or picture, its prompt and its seed.

    A page of that name that multidiff did not write is left as it is.
    """
    page = folder / "index.html"
    if page.exists() and GENERATOR not in page.read_text("utf-8", errors="replace"):
        return page
    cards = []
    for sidecar in sorted(folder.glob("*.json")):
        try:
            record = read_sidecar(sidecar)
        except InputError:
            continue  # another program's
        job = record["job"]
        shown = "".join(element(str(name)) for name in record["files"] if (folder / str(name)).exists())
        said = html.escape(f"{job.get('prompt') or job.get('given') or ''}")
        cards.append(
            f"<figure>{shown}<figcaption>{said}<small>{html.escape(_caption(job))}</small></figcaption></figure>"
        )
    title = html.escape(folder.resolve().name)
    with written_whole(page) as temporary:
        temporary.write_text(
            "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"{GENERATOR}<title>{title}</title><style>body{{font:15px system-ui;margin:2em;background:#fafafa}}"
            "main{display:flex;flex-wrap:wrap;gap:1.5em}figure{margin:0;max-width:22em}img,video{width:100%}"
            "audio{width:100%}small{display:block;color:#777}</style>"
            f"<h1>{title}</h1><main>{''.join(cards)}</main>\n",
            "utf-8",
        )
    return page


def element(name: str) -> str:
    """HTML that shows or plays a file of the page's folder."""
    kind, name = PLAYERS.get(Path(name).suffix), html.escape(name, quote=True)
    if kind == "img":
        return f'<a href="{name}"><img src="{name}" alt=""></a>'
    return f'<{kind} controls loop src="{name}"></{kind}>' if kind else f'<a href="{name}">{name}</a> '


def _caption(job: Mapping[str, Any]) -> str:
    settings = job.get("settings")
    steps = f", {settings.get('steps')} steps" if isinstance(settings, dict) else ""
    return f"{job.get('model')}, seed {job.get('seed')}{steps}"


def stack(upper: Path, lower: Path) -> None:
    """Put one picture above another, in the file of the lower one."""
    from PIL import Image

    with Image.open(upper) as above, Image.open(lower) as below:
        page = Image.new("RGB", (max(above.width, below.width), above.height + below.height), "white")
        page.paste(above, (0, 0))
        page.paste(below, (0, above.height))
    with written_whole(lower) as temporary:
        page.save(temporary, format="PNG")
