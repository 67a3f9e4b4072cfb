"""MP3 tags in letters that libsndfile does not write: it labels UTF-8 as Latin-1 where a tag is long."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO


def tagged(data: bytes, tags: Mapping[str, str]) -> bytes:
    """The frames of an MP3 file, untouched, below an ID3v2.4 header in UTF-8 with these tags (FFmpeg's names)."""
    import av

    out = BytesIO()
    with av.open(BytesIO(data), "r", format="mp3") as given, av.open(out, "w", format="mp3") as made:
        made.metadata.update(tags)
        source = given.streams.audio[0]
        stream = made.add_stream_from_template(source)
        for packet in given.demux(source):
            if packet.dts is not None:  # the last, empty one flushes decoders
                packet.stream = stream
                made.mux(packet)
    return out.getvalue()
