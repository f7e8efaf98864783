"""Reads TensorBoard's event files."""

import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event


def events(folder: Path) -> list[Event]:
    """The events of a folder's files, oldest file first."""
    found = []
    for path in sorted(folder.glob("events.*"), key=lambda path: path.stat().st_mtime_ns):
        data, at = path.read_bytes(), 0
        while at < len(data):  # each record: length (8 bytes), its checksum (4), the event, its checksum (4)
            (size,) = struct.unpack_from("<Q", data, at)
            found.append(Event.FromString(data[at + 12 : at + 12 + size]))
            at += 12 + size + 4
    return found


def curves(folder: Path) -> dict[str, dict[int, float]]:
    """{tag: {step: value}} of the scalars."""
    result = {}
    for event in events(folder):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                result.setdefault(value.tag, {})[event.step] = value.simple_value
    return result


def tags(folder: Path, kind: str) -> set[tuple[str, int]]:
    """{(tag, step)} of the values of a kind, "audio" or "image"."""
    return {(v.tag, event.step) for event in events(folder) for v in event.summary.value if v.HasField(kind)}
