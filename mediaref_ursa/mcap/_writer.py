"""An MCAP file of JSON messages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mcap.writer import Writer

_PROFILE = "owa"
_SCHEMA_NAME = "desktop/ScreenCaptured"


def write_json_messages(path: Path, topic: str, schema: bytes, messages: Iterable[tuple[int, bytes]]) -> None:
    """Write a new MCAP file with one topic.

    Args:
        path: The file.
        topic: The name of the topic.
        schema: The JSON schema of its messages.
        messages: The time of each in nanoseconds, and its JSON.
    """
    with path.open("xb") as file:
        writer = Writer(file)
        writer.start(profile=_PROFILE, library="mediaref-ursa")
        schema_id = writer.register_schema(_SCHEMA_NAME, "jsonschema", schema)
        channel = writer.register_channel(topic, "json", schema_id)
        for number, (time_ns, text) in enumerate(messages):
            writer.add_message(channel, log_time=time_ns, data=text, publish_time=time_ns, sequence=number)
        writer.finish()
