"""``storage_options`` of users, translated into the options of fsspec and of Lance. Pure.

Two spellings are common: that of fsspec and its file systems (``key``, ``secret``, ``endpoint_url``,
``client_kwargs={...}``, ``anon``), and that of object_store, which Lance, Polars and Delta share
(``aws_access_key_id``, ``aws_endpoint``, ``allow_http="true"``). Either may be given, mixed too. Each is
first read into one set of names, then written for the library that is to understand it. What only the
other library knows is left out; what neither table knows is handed on.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from mediaref_ursa._core.errors import InvalidReferenceError
from mediaref_ursa._core.uris import CLOUD_SCHEMES, scheme_of

StorageOptions = Mapping[str, Any]
Environment = Mapping[str, str]

FSSPEC_SCHEMES: Final = CLOUD_SCHEMES | {"memory"}
"""Schemes that are served through fsspec."""

_FAMILY_OF = {
    **dict.fromkeys(("s3", "s3a", "r2"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "abfs"),
}

# Of each option: its name here, its name for Lance, and what else it is called. Letter case is ignored.
_S3_NAMES = {
    "key": ("aws_access_key_id", "access_key_id", "username"),
    "secret": ("aws_secret_access_key", "secret_access_key", "password"),
    "token": ("aws_session_token", "session_token", "aws_token"),
    "endpoint_url": ("aws_endpoint", "endpoint", "aws_endpoint_url", "aws_endpoint_url_s3"),
    "region": ("aws_region", "region_name", "default_region", "aws_default_region"),
    "anon": ("aws_skip_signature", "skip_signature"),
    "allow_http": ("allow_http", "aws_allow_http"),
    "virtual_hosted": ("aws_virtual_hosted_style_request", "virtual_hosted_style_request"),
    "requester_pays": ("aws_request_payer", "request_payer"),
}
_GS_NAMES: dict[str, tuple[str, ...]] = {
    "token": ("google_storage_token",),
    "path": (
        "google_application_credentials",
        "application_credentials",
        "google_service_account",
        "google_service_account_path",
        "service_account",
        "service_account_path",
    ),
    "account_json": ("google_service_account_key", "service_account_key"),
    "anon": ("google_skip_signature", "skip_signature"),
}
_AZURE_NAMES = {
    "account_name": ("azure_storage_account_name",),
    "account_key": (
        "azure_storage_account_key",
        "azure_storage_access_key",
        "azure_storage_master_key",
        "access_key",
        "master_key",
    ),
    "sas_token": ("azure_storage_sas_token", "azure_storage_sas_key", "sas_key"),
    "tenant_id": (
        "azure_storage_tenant_id",
        "azure_storage_authority_id",
        "azure_tenant_id",
        "azure_authority_id",
        "authority_id",
    ),
    "client_id": ("azure_storage_client_id", "azure_client_id"),
    "client_secret": ("azure_storage_client_secret", "azure_client_secret"),
    "anon": ("azure_skip_signature", "skip_signature"),
    "endpoint": ("azure_storage_endpoint", "azure_endpoint"),
    "connection_string": ("azure_storage_connection_string",),
}
_OSS_NAMES = {
    "key": ("oss_access_key_id", "access_key_id"),
    "secret": ("oss_secret_access_key", "oss_access_key_secret", "secret_access_key"),
    "token": ("oss_security_token", "security_token"),
    "endpoint": ("oss_endpoint", "endpoint_url"),
    "region": ("oss_region",),
}
_HF_NAMES: dict[str, tuple[str, ...]] = {"token": ("hf_token",), "endpoint": ("hf_endpoint",)}
_NAMES_OF: dict[str, dict[str, tuple[str, ...]]] = {
    "s3": _S3_NAMES,
    "gs": _GS_NAMES,
    "abfs": _AZURE_NAMES,
    "oss": _OSS_NAMES,
    "hf": _HF_NAMES,
}
_FLAGS = frozenset({"allow_http", "anon", "requester_pays", "virtual_hosted"})

# Options of object_store that no file system of fsspec takes.
_OBJECT_STORE_ONLY = re.compile(
    r"(aws|azure|google|oss|hf)_.*|allow_http|allow_invalid_certificates|bucket|bucket_name|checksum"
    r"|client_.*retries|client_retry_timeout|conditional_put|connect_timeout|copy_if_not_exists"
    r"|disable_tagging|download_retry_count|http[12]_only|imdsv1_fallback|max_retries|metadata_endpoint"
    r"|pool_.*|proxy_.*|request_timeout|retry_timeout|s3_express|timeout|unsigned_payload|user_agent",
    re.IGNORECASE,
)
_CONNECTION_STRING_NAMES = {
    "AccountName": "account_name",
    "AccountKey": "account_key",
    "SharedAccessSignature": "sas_token",
    "BlobEndpoint": "endpoint",
}
_R2_NEEDS_ACCOUNT = (
    "expected the account of r2:// in storage_options (account_id or endpoint_url) or in the environment"
    " (R2_ACCOUNT_ID, CLOUDFLARE_ACCOUNT_ID or R2_ENDPOINT_URL), found none"
)


def family_of(scheme: str) -> str:
    """Return fsspec's name for the kind of store of a scheme.

    >>> family_of("s3a"), family_of("r2"), family_of("gcs"), family_of("abfss"), family_of("hf")
    ('s3', 's3', 'gs', 'abfs', 'hf')
    """
    return _FAMILY_OF.get(scheme, scheme)


def fsspec_uri(uri: str) -> str:
    """Return ``uri`` with a scheme that fsspec's file systems know.

    >>> fsspec_uri("r2://bucket/a.mp4")
    's3://bucket/a.mp4'
    """
    return _with_scheme(uri, "s3") if scheme_of(uri) == "r2" else uri


def lance_uri(uri: str) -> str:
    """Return the URI of a cloud object as Lance reads it; others come back as they are.

    Lance takes URIs for percent-encoded. Keys of object stores are not, so that their ``%`` is encoded.

    >>> lance_uri("r2://bucket/a.mp4.lance"), lance_uri("gcs://bucket/50%.mp4.lance")
    ('s3://bucket/a.mp4.lance', 'gs://bucket/50%25.mp4.lance')
    """
    scheme = scheme_of(uri)
    if scheme not in CLOUD_SCHEMES:
        return uri
    family = family_of(scheme)
    if family == "abfs":
        authority = uri.partition("://")[2].partition("/")[0]
        family = "abfss" if "@" in authority else "az"
    return _with_scheme(uri, family).replace("%", "%25")


def fsspec_options(
    scheme: str, options: StorageOptions | None = None, environment: Environment | None = None
) -> dict[str, Any]:
    """Return the arguments of fsspec's file system for ``scheme``.

    Args:
        scheme: That of the URI, such as ``s3`` or ``r2``.
        options: In either spelling.
        environment: Instead of the process's own.

    Raises:
        InvalidReferenceError: ``r2`` without an account.
        ValueError: One option in two spellings, with two values.

    >>> fsspec_options("s3", {"aws_access_key_id": "a", "aws_endpoint": "http://host"}, {})
    {'key': 'a', 'endpoint_url': 'http://host'}
    """
    known, rest = _known(scheme, options, os.environ if environment is None else environment)
    family = family_of(scheme)
    if family in _NAMES_OF:
        rest = {name: value for name, value in rest.items() if not _OBJECT_STORE_ONLY.fullmatch(name)}
    written = _FSSPEC_WRITERS.get(family, _same)(known)
    nested: dict[str, Any] = {
        name: {**rest.get(name, {}), **written.get(name, {})}
        for name in ("client_kwargs", "config_kwargs")
        if name in rest or name in written
    }
    return {**rest, **written, **nested}


def lance_options(
    scheme: str, options: StorageOptions | None = None, environment: Environment | None = None
) -> dict[str, str]:
    """Return the ``storage_options`` of Lance for a table at a URI of ``scheme``; none for local ones.

    Args:
        scheme: That of the URI, such as ``s3`` or ``r2``.
        options: In either spelling.
        environment: Instead of the process's own.

    Raises:
        InvalidReferenceError: ``r2`` without an account.
        ValueError: One option in two spellings, with two values.

    >>> lance_options("s3", {"key": "a", "endpoint_url": "http://host"}, {})["allow_http"]
    'true'
    """
    family = family_of(scheme)
    if family not in _NAMES_OF:
        return {}
    known, rest = _known(scheme, options, os.environ if environment is None else environment)
    names = {name: spellings[0] for name, spellings in _NAMES_OF[family].items()}
    written = _LANCE_WRITERS.get(family, _same)(known)
    found = {**rest, **{names[name]: value for name, value in written.items()}}
    plain = {name: value for name, value in found.items() if isinstance(value, str | bool | int | float)}
    return {name: _text(value) for name, value in plain.items()}


def secrets_of(options: StorageOptions) -> frozenset[str]:
    """Return the secret values in ``options``, those of nested mappings included."""
    found: set[str] = set()
    for name, value in options.items():
        if isinstance(value, Mapping):
            found |= secrets_of(value)
        elif isinstance(value, str) and value and _SECRET_NAME.search(name):
            found.add(value)
    return frozenset(found)


_SECRET_NAME = re.compile(r"key|secret|token|password|credential|connection_string|sas", re.IGNORECASE)


def _with_scheme(uri: str, scheme: str) -> str:
    return f"{scheme}://{uri.partition('://')[2]}"


def _known(
    scheme: str, options: StorageOptions | None, environment: Environment
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split ``options`` into known ones, under the names used here, and the rest."""
    names = _NAMES_OF.get(family_of(scheme), {})
    name_of = {spelling: name for name, spellings in names.items() for spelling in (name, *spellings)}
    known: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    given = {name: value for name, value in (options or {}).items() if value is not None}
    if names is _S3_NAMES:
        given = _lifted(given, name_of)
    for spelling, value in given.items():
        name = name_of.get(spelling.lower())
        if name is None:
            rest[spelling] = value
            continue
        plain = _flag(value) if name in _FLAGS else value
        if known.setdefault(name, plain) != plain:
            raise ValueError(f"storage_options: expected one '{name}', found another in '{spelling}'")
    if scheme == "r2":
        return _with_r2(known, rest, environment), rest
    return (_with_aws(known, environment) if names is _S3_NAMES else known), rest


def _lifted(given: dict[str, Any], name_of: dict[str, str]) -> dict[str, Any]:
    """Move endpoint, region and credentials from ``client_kwargs`` to the top level."""
    client = {name: value for name, value in given.get("client_kwargs", {}).items() if value is not None}
    lifted = {name: client.pop(name) for name in list(client) if name in name_of}
    others = {name: value for name, value in given.items() if name != "client_kwargs"}
    taken = {name_of.get(name.lower()) for name in others}
    inner = {name: lifted[name] for name in lifted if name_of[name] not in taken}
    return {**others, **inner, **({"client_kwargs": client} if client else {})}


def _with_aws(known: dict[str, Any], environment: Environment) -> dict[str, Any]:
    """Add endpoint and region from the environment, since each library reads other variables."""
    endpoint = _first(environment, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    region = _first(environment, "AWS_REGION", "AWS_DEFAULT_REGION")
    found = {"endpoint_url": endpoint, "region": region}
    return {**{name: value for name, value in found.items() if value}, **known}


def _with_r2(known: dict[str, Any], rest: dict[str, Any], environment: Environment) -> dict[str, Any]:
    """Add the account's endpoint and, where none are given, the credentials of the environment."""
    endpoint = known.get("endpoint_url")
    account = rest.pop("account_id", None)
    if not endpoint and not account:
        endpoint = environment.get("R2_ENDPOINT_URL")
        account = _first(environment, "R2_ACCOUNT_ID", "CLOUDFLARE_ACCOUNT_ID")
    if not endpoint and not account:
        raise InvalidReferenceError(_R2_NEEDS_ACCOUNT)
    found = {"region": "auto", **known}
    found["endpoint_url"] = endpoint or f"https://{account}.r2.cloudflarestorage.com"
    key, secret = environment.get("R2_ACCESS_KEY_ID"), environment.get("R2_SECRET_ACCESS_KEY")
    if "key" not in found and not found.get("anon") and key and secret:
        found["key"], found["secret"] = key, secret
    return found


def _first(environment: Environment, *names: str) -> str | None:
    return next((environment[name] for name in names if environment.get(name)), None)


def _flag(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in ("1", "true", "t", "yes", "y", "on", "requester")
    return bool(value)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _same(known: dict[str, Any]) -> dict[str, Any]:
    return known


def _s3_for_fsspec(known: dict[str, Any]) -> dict[str, Any]:
    own = ("key", "secret", "token", "endpoint_url", "anon", "requester_pays")
    written = {name: known[name] for name in own if name in known}
    if "region" in known:
        written["client_kwargs"] = {"region_name": known["region"]}
    if "virtual_hosted" in known:
        style = "virtual" if known["virtual_hosted"] else "path"
        written["config_kwargs"] = {"s3": {"addressing_style": style}}
    return written


def _s3_for_lance(known: dict[str, Any]) -> dict[str, Any]:
    written = dict(known)
    if endpoint := str(known.get("endpoint_url", "")):
        # Without a region Lance asks AWS for the bucket's, whatever the endpoint.
        written.setdefault("region", "us-east-1")
        if endpoint.lower().startswith("http://"):
            written.setdefault("allow_http", True)
    return written


def _gs_for_fsspec(known: dict[str, Any]) -> dict[str, Any]:
    if known.get("anon"):
        return {"token": "anon"}
    if "account_json" in known:
        account = known["account_json"]
        return {"token": json.loads(account) if isinstance(account, str) else account}
    token = known.get("token", known.get("path"))
    return {} if token is None else {"token": token}


def _gs_for_lance(known: dict[str, Any]) -> dict[str, Any]:
    written = dict(known)
    token = written.pop("token", None)
    if token == "anon":  # noqa: S105 - gcsfs's word for no credentials
        written["anon"] = True
    elif isinstance(token, Mapping):
        written["account_json"] = json.dumps(dict(token))
    elif isinstance(token, str) and token.startswith("ya29."):  # an access token
        written["token"] = token
    elif isinstance(token, str) and ("/" in token or token.endswith(".json")):
        written["path"] = token
    return written  # other words name ways of gcsfs to find credentials


def _azure_for_fsspec(known: dict[str, Any]) -> dict[str, Any]:
    written = dict(known)
    endpoint = written.pop("endpoint", None)
    if endpoint is not None:
        written["account_host"] = re.sub(r"^https?://|/+$", "", str(endpoint))
    return written


def _azure_for_lance(known: dict[str, Any]) -> dict[str, Any]:
    written = dict(known)
    for part in str(written.pop("connection_string", "")).split(";"):
        name, _, value = part.partition("=")
        if name in _CONNECTION_STRING_NAMES:
            written.setdefault(_CONNECTION_STRING_NAMES[name], value)
    return written


def _oss_for_fsspec(known: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in known.items() if name != "region"}


def _hf_for_lance(known: dict[str, Any]) -> dict[str, Any]:
    """Leave out what only huggingface_hub knows: the address, and True or False in place of a token."""
    return {name: value for name, value in known.items() if name == "token" and isinstance(value, str)}


_Writer = Callable[[dict[str, Any]], dict[str, Any]]
_FSSPEC_WRITERS: dict[str, _Writer] = {
    "s3": _s3_for_fsspec,
    "gs": _gs_for_fsspec,
    "abfs": _azure_for_fsspec,
    "oss": _oss_for_fsspec,
}
_LANCE_WRITERS: dict[str, _Writer] = {
    "s3": _s3_for_lance,
    "gs": _gs_for_lance,
    "abfs": _azure_for_lance,
    "hf": _hf_for_lance,
}
