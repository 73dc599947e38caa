"""``storage_options`` in every spelling, for fsspec and for Lance."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mediaref_ursa import InvalidReferenceError
from mediaref_ursa._model.storage_options import (
    fsspec_options,
    fsspec_uri,
    lance_options,
    lance_uri,
    secrets_of,
)

ACCOUNT = {"type": "service_account", "private_key": "pem"}

S3_SPELLINGS: dict[str, dict[str, Any]] = {
    "s3fs": {"key": "k", "secret": "s", "token": "t", "endpoint_url": "http://host:9000"},
    "s3fs, all in client_kwargs": {
        "client_kwargs": {
            "aws_access_key_id": "k",
            "aws_secret_access_key": "s",
            "aws_session_token": "t",
            "endpoint_url": "http://host:9000",
        }
    },
    "object_store": {
        "access_key_id": "k",
        "secret_access_key": "s",
        "session_token": "t",
        "endpoint": "http://host:9000",
    },
    "Lance, Polars and Delta": {
        "aws_access_key_id": "k",
        "aws_secret_access_key": "s",
        "aws_session_token": "t",
        "aws_endpoint": "http://host:9000",
    },
    "Delta, in capitals": {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_SESSION_TOKEN": "t",
        "AWS_ENDPOINT_URL": "http://host:9000",
        "AWS_ALLOW_HTTP": "true",
    },
    "both at once": {
        "key": "k",
        "secret": "s",
        "aws_access_key_id": "k",
        "aws_secret_access_key": "s",
        "token": "t",
        "endpoint_url": "http://host:9000",
        "allow_http": True,
    },
}


@pytest.mark.parametrize("scheme", ["s3", "s3a"])
@pytest.mark.parametrize("options", S3_SPELLINGS.values(), ids=S3_SPELLINGS)
def test_s3_in_every_spelling(scheme: str, options: dict[str, Any]) -> None:
    assert fsspec_options(scheme, options, {}) == {
        "key": "k",
        "secret": "s",
        "token": "t",
        "endpoint_url": "http://host:9000",
    }
    assert lance_options(scheme, options, {}) == {
        "aws_access_key_id": "k",
        "aws_secret_access_key": "s",
        "aws_session_token": "t",
        "aws_endpoint": "http://host:9000",
        "aws_region": "us-east-1",
        "allow_http": "true",
    }


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, str]]] = {
    "nothing": ("s3", {}, {}, {}),
    "None is nothing": ("s3", {"key": None, "client_kwargs": {"region_name": None}}, {}, {}),
    "anonymous, s3fs": ("s3", {"anon": True}, {"anon": True}, {"aws_skip_signature": "true"}),
    "anonymous, object_store": (
        "s3",
        {"aws_skip_signature": "True"},
        {"anon": True},
        {"aws_skip_signature": "true"},
    ),
    "not anonymous": ("s3", {"skip_signature": "false"}, {"anon": False}, {"aws_skip_signature": "false"}),
    "region, s3fs": (
        "s3",
        {"client_kwargs": {"region_name": "eu-west-1", "verify": False}},
        {"client_kwargs": {"region_name": "eu-west-1", "verify": False}},
        {"aws_region": "eu-west-1"},
    ),
    "region, object_store": (
        "s3",
        {"region": "eu-west-1"},
        {"client_kwargs": {"region_name": "eu-west-1"}},
        {"aws_region": "eu-west-1"},
    ),
    "outer before inner": (
        "s3",
        {"endpoint_url": "https://outer", "client_kwargs": {"endpoint_url": "https://inner"}},
        {"endpoint_url": "https://outer"},
        {"aws_endpoint": "https://outer", "aws_region": "us-east-1"},
    ),
    "http may be forbidden": (
        "s3",
        {"endpoint": "http://host", "allow_http": "false"},
        {"endpoint_url": "http://host"},
        {"aws_endpoint": "http://host", "aws_region": "us-east-1", "allow_http": "false"},
    ),
    "addressing style": (
        "s3",
        {"aws_virtual_hosted_style_request": "true", "config_kwargs": {"read_timeout": 5}},
        {"config_kwargs": {"read_timeout": 5, "s3": {"addressing_style": "virtual"}}},
        {"aws_virtual_hosted_style_request": "true"},
    ),
    "requester pays": (
        "s3",
        {"request_payer": "true"},
        {"requester_pays": True},
        {"aws_request_payer": "true"},
    ),
    "what only object_store knows": (
        "s3",
        {
            "timeout": "60s",
            "aws_unsigned_payload": "true",
            "client_max_retries": 3,
            "conditional_put": "etag",
        },
        {},
        {
            "timeout": "60s",
            "aws_unsigned_payload": "true",
            "client_max_retries": "3",
            "conditional_put": "etag",
        },
    ),
    "what only fsspec knows": (
        "s3",
        {"config_kwargs": {"read_timeout": 5}, "session": object},
        {"config_kwargs": {"read_timeout": 5}, "session": object},
        {},
    ),
    "Google, path of gcsfs": (
        "gs",
        {"token": "/keys/a.json", "project": "p"},
        {"token": "/keys/a.json", "project": "p"},
        {"google_application_credentials": "/keys/a.json", "project": "p"},
    ),
    "Google, path of object_store": (
        "gcs",
        {"google_service_account": "a.json"},
        {"token": "a.json"},
        {"google_application_credentials": "a.json"},
    ),
    "Google, account as a mapping": (
        "gs",
        {"token": ACCOUNT},
        {"token": ACCOUNT},
        {"google_service_account_key": json.dumps(ACCOUNT)},
    ),
    "Google, account as JSON": (
        "gs",
        {"service_account_key": json.dumps(ACCOUNT)},
        {"token": ACCOUNT},
        {"google_service_account_key": json.dumps(ACCOUNT)},
    ),
    "Google, anonymous in gcsfs": (
        "gs",
        {"token": "anon"},
        {"token": "anon"},
        {"google_skip_signature": "true"},
    ),
    "Google, anonymous in object_store": (
        "gs",
        {"google_skip_signature": "true"},
        {"token": "anon"},
        {"google_skip_signature": "true"},
    ),
    "Google, a way of gcsfs": ("gs", {"token": "cloud"}, {"token": "cloud"}, {}),
    "Google, an access token": (
        "gs",
        {"google_storage_token": "ya29.x"},
        {"token": "ya29.x"},
        {"google_storage_token": "ya29.x"},
    ),
    "Azure, adlfs": (
        "az",
        {"account_name": "a", "account_key": "k"},
        {"account_name": "a", "account_key": "k"},
        {"azure_storage_account_name": "a", "azure_storage_account_key": "k"},
    ),
    "Azure, object_store": (
        "abfss",
        {"azure_storage_account_name": "a", "azure_storage_sas_token": "k", "azure_tenant_id": "t"},
        {"account_name": "a", "sas_token": "k", "tenant_id": "t"},
        {
            "azure_storage_account_name": "a",
            "azure_storage_sas_token": "k",
            "azure_storage_tenant_id": "t",
        },
    ),
    "Azure, connection string": (
        "abfs",
        {"connection_string": "AccountName=a;AccountKey=k==;EndpointSuffix=core.windows.net"},
        {"connection_string": "AccountName=a;AccountKey=k==;EndpointSuffix=core.windows.net"},
        {"azure_storage_account_name": "a", "azure_storage_account_key": "k=="},
    ),
    "Azure, endpoint": (
        "az",
        {"azure_endpoint": "https://a.example/"},
        {"account_host": "a.example"},
        {"azure_storage_endpoint": "https://a.example/"},
    ),
    "Alibaba": (
        "oss",
        {"key": "k", "secret": "s", "endpoint": "https://oss", "oss_region": "r"},
        {"key": "k", "secret": "s", "endpoint": "https://oss"},
        {
            "oss_access_key_id": "k",
            "oss_secret_access_key": "s",
            "oss_endpoint": "https://oss",
            "oss_region": "r",
        },
    ),
    "Hugging Face": ("hf", {"token": "hf_x"}, {"token": "hf_x"}, {"hf_token": "hf_x"}),
    "Hugging Face, anonymous": (
        "hf",
        {"token": False, "endpoint": "u"},
        {"token": False, "endpoint": "u"},
        {},
    ),
    "memory": ("memory", {"use_listings_cache": False}, {"use_listings_cache": False}, {}),
    "local": ("", {"aws_region": "r"}, {"aws_region": "r"}, {}),
}


@pytest.mark.parametrize(("scheme", "options", "fsspec", "lance"), CASES.values(), ids=CASES)
def test_both_libraries_hear_the_same(
    scheme: str, options: dict[str, Any], fsspec: dict[str, Any], lance: dict[str, str]
) -> None:
    given = json.dumps(options, default=str)
    assert fsspec_options(scheme, options, {}) == fsspec
    assert lance_options(scheme, options, {}) == lance
    assert json.dumps(options, default=str) == given, "what the caller passes is not changed"


def test_two_values_of_one_option_are_misuse() -> None:
    for translate in (fsspec_options, lance_options):
        with pytest.raises(ValueError, match="expected one 'key', found another in 'aws_access_key_id'"):
            translate("s3", {"key": "a", "aws_access_key_id": "b"}, {})


@pytest.mark.parametrize(
    ("environment", "endpoint", "region"),
    [
        ({}, None, None),
        ({"AWS_ENDPOINT_URL": "https://a"}, "https://a", None),
        ({"AWS_ENDPOINT": "https://b", "AWS_DEFAULT_REGION": "r"}, "https://b", "r"),
        ({"AWS_ENDPOINT_URL_S3": "https://c", "AWS_ENDPOINT_URL": "https://a"}, "https://c", None),
        ({"AWS_REGION": "q", "AWS_DEFAULT_REGION": "r", "AWS_ENDPOINT_URL": ""}, None, "q"),
    ],
)
def test_endpoint_and_region_of_the_environment(
    environment: dict[str, str], endpoint: str | None, region: str | None
) -> None:
    """Neither library reads all of these names by itself."""
    fsspec, lance = fsspec_options("s3", None, environment), lance_options("s3", None, environment)
    assert fsspec.get("endpoint_url") == lance.get("aws_endpoint") == endpoint
    assert fsspec.get("client_kwargs", {}).get("region_name") == region
    assert lance.get("aws_region") == (region or (endpoint and "us-east-1"))
    assert fsspec_options("s3", {"endpoint": "https://own"}, environment)["endpoint_url"] == "https://own"


R2 = "https://abc.r2.cloudflarestorage.com"


@pytest.mark.parametrize(
    ("options", "environment", "endpoint"),
    [
        ({"account_id": "abc"}, {}, R2),
        ({"endpoint_url": "https://abc.eu.r2"}, {"R2_ACCOUNT_ID": "other"}, "https://abc.eu.r2"),
        ({"aws_endpoint": "https://abc.eu.r2", "account_id": "x"}, {}, "https://abc.eu.r2"),
        ({"client_kwargs": {"endpoint_url": R2}}, {}, R2),
        ({"account_id": "abc"}, {"R2_ENDPOINT_URL": "https://other"}, R2),
        ({}, {"R2_ACCOUNT_ID": "abc", "AWS_ENDPOINT_URL": "https://aws"}, R2),
        ({}, {"CLOUDFLARE_ACCOUNT_ID": "abc"}, R2),
        (None, {"R2_ENDPOINT_URL": "https://env", "R2_ACCOUNT_ID": "abc"}, "https://env"),
    ],
)
def test_r2_is_s3_at_the_endpoint_of_the_account(
    options: dict[str, Any] | None, environment: dict[str, str], endpoint: str
) -> None:
    assert fsspec_options("r2", options, environment) == {
        "endpoint_url": endpoint,
        "client_kwargs": {"region_name": "auto"},
    }
    assert lance_options("r2", options, environment) == {"aws_endpoint": endpoint, "aws_region": "auto"}


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({}, "from-env"),
        ({"aws_access_key_id": "own", "aws_secret_access_key": "x"}, "own"),
        ({"anon": True}, None),
    ],
)
def test_credentials_of_r2(options: dict[str, Any], key: str | None) -> None:
    environment = {
        "R2_ACCOUNT_ID": "abc",
        "R2_ACCESS_KEY_ID": "from-env",
        "R2_SECRET_ACCESS_KEY": "x",
        "AWS_ACCESS_KEY_ID": "aws",
    }
    assert fsspec_options("r2", options, environment).get("key") == key
    assert lance_options("r2", options, environment).get("aws_access_key_id") == key


def test_half_of_r2s_credentials_are_none() -> None:
    """Both come from AWS's names then, which both libraries read by themselves."""
    assert "key" not in fsspec_options("r2", {"account_id": "abc"}, {"R2_ACCESS_KEY_ID": "k"})


@pytest.mark.parametrize("translate", [fsspec_options, lance_options])
def test_r2_without_an_account(translate: Any) -> None:
    with pytest.raises(InvalidReferenceError, match="account_id or endpoint_url.*R2_ACCOUNT_ID"):
        translate("r2", {"key": "a", "secret": "b"}, {"AWS_ENDPOINT_URL": "https://aws"})


@pytest.mark.parametrize(
    ("uri", "fsspec", "lance"),
    [
        ("s3://b/a.mp4", "s3://b/a.mp4", "s3://b/a.mp4"),
        ("S3A://b/a.mp4", "S3A://b/a.mp4", "s3://b/a.mp4"),
        ("r2://b/k/a.mp4", "s3://b/k/a.mp4", "s3://b/k/a.mp4"),
        ("gcs://b/a", "gcs://b/a", "gs://b/a"),
        ("s3://b/50%.mp4", "s3://b/50%.mp4", "s3://b/50%25.mp4"),
        ("abfs://c/a", "abfs://c/a", "az://c/a"),
        ("abfs://c@a.example/a", "abfs://c@a.example/a", "abfss://c@a.example/a"),
        ("hf://datasets/a/b", "hf://datasets/a/b", "hf://datasets/a/b"),
        ("/data/50%.mp4", "/data/50%.mp4", "/data/50%.mp4"),
        ("http://h/%20", "http://h/%20", "http://h/%20"),
    ],
)
def test_uris(uri: str, fsspec: str, lance: str) -> None:
    assert (fsspec_uri(uri), lance_uri(uri)) == (fsspec, lance)


def test_secrets_are_found_wherever_they_stand() -> None:
    options = {"key": "a", "endpoint_url": "e", "client_kwargs": {"aws_secret_access_key": "b"}, "token": ""}
    assert secrets_of(options) == {"a", "b"}
