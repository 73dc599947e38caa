"""A real S3 interface on loopback: moto's server, one for all tests, and nothing that leads elsewhere."""

from __future__ import annotations

import json
import logging
import os
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

ACCESS_KEY, SECRET_KEY = "AKIATESTS", "hidden-secret-of-the-tests"
_REQUEST_SECONDS = 30


@dataclass(frozen=True)
class Bucket:
    """A bucket of its own for one test.

    Attributes:
        endpoint_url: Of the server.
        name: Of the bucket.
    """

    endpoint_url: str
    name: str = field(default_factory=lambda: f"bucket-{uuid.uuid4().hex[:12]}")

    @property
    def options(self) -> dict[str, Any]:
        """``storage_options`` in the spelling of fsspec."""
        return {"key": ACCESS_KEY, "secret": SECRET_KEY, "endpoint_url": self.endpoint_url}

    @property
    def object_store_options(self) -> dict[str, Any]:
        """``storage_options`` in the spelling of object_store, Lance and Polars."""
        return {
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET_KEY,
            "aws_endpoint": self.endpoint_url,
            "aws_region": "us-east-1",
            "allow_http": "true",
        }

    def put(self, key: str, data: bytes) -> str:
        """Put an object in place; return its URI."""
        self.client().put_object(Bucket=self.name, Key=key, Body=data)
        return f"s3://{self.name}/{key}"

    def list_keys(self) -> list[str]:
        """Return the keys of all objects."""
        found = self.client().list_objects_v2(Bucket=self.name)
        return [entry["Key"] for entry in found.get("Contents", [])]

    def client(self) -> Any:
        """Return boto3's client of the server."""
        return client_of("s3", self.endpoint_url)


@cache
def client_of(service: str, endpoint_url: str) -> Any:
    """Return boto3's client for a service of the server."""
    import boto3

    return boto3.client(
        service,
        endpoint_url=endpoint_url,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
    )


@cache
def server_url() -> str:
    """Start the server when it is first asked for; it ends with the process."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def leave_aws_alone(monkeypatch: pytest.MonkeyPatch, endpoint_url: str = "http://127.0.0.1:9") -> None:
    """Take away every credential and setting; no request that lacks an endpoint can leave the machine."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "R2_", "CLOUDFLARE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint_url)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


def new_bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Make a bucket. Its endpoint is the environment's too, its credentials are not."""
    bucket = Bucket(server_url())
    leave_aws_alone(monkeypatch, bucket.endpoint_url)
    bucket.client().create_bucket(Bucket=bucket.name)
    return bucket


@contextmanager
def checked_credentials(bucket: Bucket) -> Iterator[dict[str, Any]]:
    """Let the server check signatures for a while; give options that may read and write everything."""
    iam, user = client_of("iam", bucket.endpoint_url), f"user-{uuid.uuid4().hex[:12]}"
    iam.create_user(UserName=user)
    made = iam.create_access_key(UserName=user)["AccessKey"]
    everything = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    policy = json.dumps({"Version": "2012-10-17", "Statement": everything})
    iam.put_user_policy(UserName=user, PolicyName="all", PolicyDocument=policy)
    before = _reset_auth(bucket.endpoint_url, "0")
    try:
        yield {**bucket.options, "key": made["AccessKeyId"], "secret": made["SecretAccessKey"]}
    finally:
        _reset_auth(bucket.endpoint_url, before)


def _reset_auth(endpoint_url: str, unchecked_requests: str) -> str:
    """Set how many requests go unchecked from now on; return what it was."""
    request = urllib.request.Request(
        f"{endpoint_url}/moto-api/reset-auth",
        data=unchecked_requests.encode(),
        headers={"Content-Type": "text/plain"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=_REQUEST_SECONDS) as reply:
        return str(json.load(reply)["PREVIOUS_INITIAL_NO_AUTH_ACTION_COUNT"])
