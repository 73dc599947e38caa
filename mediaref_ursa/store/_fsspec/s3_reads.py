"""Ranges of S3 objects through s3fs, of one version only: If-Match, and resumed where they break off."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mediaref_ursa._core.errors import StoreError
from mediaref_ursa.store._download.range_download import (
    CHUNK_BYTES,
    ObjectVersion,
    RangeDownload,
    Validators,
    total_of,
)
from mediaref_ursa.store._download.retry import LowSpeedLimit, TransientError

_AS_THEY_ARE = ("", "identity", "aws-chunked")


@dataclass(frozen=True)
class ReadLimits:
    """Time limits of an answer.

    Attributes:
        answer_seconds: Up to its body.
        low_speed_limit: The limit on the low speed of its body.
    """

    answer_seconds: float
    low_speed_limit: LowSpeedLimit


async def read_part(
    filesystem: Any, path: str, version: ObjectVersion, part: RangeDownload, limits: ReadLimits
) -> None:
    """Read the missing bytes of a range; runs in the event loop of the file system.

    Raises:
        MediaChangedError: Another version is there.
        ObjectEndsError: The object ends before the range does.
        TransientError: The answer is not what was asked for, or ends early.
        Exception: As s3fs and what is below it raise.
    """
    bucket, key, version_id = filesystem.split_path(path)
    asked = {"Bucket": bucket, "Key": key, "Range": part.range_header, **filesystem.req_kw}
    if version_id:
        asked["VersionId"] = version_id
    if version.strong_etag is not None and (version.is_given or part.held_bytes):
        asked["IfMatch"] = version.strong_etag
    reply = await asyncio.wait_for(filesystem._call_s3("get_object", **asked), limits.answer_seconds)
    body = reply["Body"]
    try:
        _check_reply(reply, version, part)
        while part.missing_bytes:
            chunk = await body.read(CHUNK_BYTES)
            if not chunk:
                break
            part.add(chunk)
            if part.missing_bytes and limits.low_speed_limit.is_too_slow(len(chunk)):
                raise TransientError("the bytes come too slowly")
    except Exception as error:
        if "Checksum" in type(error).__name__:  # of botocore: the bytes received fail S3's checksum
            part.begin_again()
        raise
    finally:
        closing = body.close()
        if inspect.isawaitable(closing):
            await closing


def _check_reply(reply: Mapping[str, Any], version: ObjectVersion, part: RangeDownload) -> None:
    status = reply.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    found, length = reply.get("ContentRange") or "", reply.get("ContentLength")
    encoding = (reply.get("ContentEncoding") or "").strip().lower()
    if encoding not in _AS_THEY_ARE:
        raise StoreError(f"expected the bytes as they are, found Content-Encoding '{encoding[:80]}'")
    modified = reply.get("LastModified")
    version.admit(
        Validators(
            size=length if status == 200 else total_of(found),
            etag=reply.get("ETag") or None,
            modified=modified.timestamp() if isinstance(modified, datetime) else None,
        )
    )
    part.check_reply(status, found, length)
