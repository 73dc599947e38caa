"""The error tree: what each class is, what it shows, and what foreign libraries raise as one of it."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import av.error
import pyarrow as pa
import pytest
from _tables import PATIENT
from av.codec.codec import UnknownCodecError
from hypothesis import given
from hypothesis import strategies as st

import mediaref_ursa
from mediaref_ursa._core import errors
from mediaref_ursa._core.errors import (
    CorruptMediaError,
    FrameIndexInvalidError,
    FrameIndexMissingError,
    FrameIndexVersionError,
    LimitExceededError,
    MediaRefError,
    UnsupportedMediaError,
)
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._index.lance_table import lance_errors
from mediaref_ursa._lance import lance_calls
from mediaref_ursa._pyav.errors import foreign_errors

BUILTINS = {
    "MediaRefError": (Exception,),
    "MissingExtraError": (ImportError,),
    "InvalidReferenceError": (ValueError,),
    "FrameIndexError": (Exception,),
    "FrameIndexMissingError": (FileNotFoundError,),
    "FrameIndexExistsError": (FileExistsError,),
    "FrameIndexStaleError": (ValueError,),
    "FrameIndexVersionError": (ValueError,),
    "FrameIndexInvalidError": (ValueError,),
    "FrameOutsideVideoError": (IndexError, ValueError),
    "FrameBeyondToleranceError": (IndexError, ValueError),
    "StoreError": (OSError,),
    "MediaNotFoundError": (OSError, FileNotFoundError),
    "MediaChangedError": (OSError,),
    "CorruptMediaError": (ValueError,),
    "LimitExceededError": (ValueError,),
    "ReentrantCallError": (RuntimeError,),
    "UnsupportedMediaError": (ValueError,),
}
TREE = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, MediaRefError) and kind.__module__ == "mediaref_ursa"
}
SIGNED = "https://user:pass@host/a.mp4?X-Amz-Signature=secret#secret"
kinds = pytest.mark.parametrize("kind", TREE.values(), ids=TREE)


class _PanicError(BaseException):
    """What a panic in Rust code is in Python: no ``Exception``."""


PanicException = type("PanicException", (_PanicError,), {})


def test_the_table_of_this_test_names_every_class() -> None:
    assert set(TREE) == set(BUILTINS)


@kinds
def test_each_class_is_exported_and_is_the_builtin_that_callers_catch(kind: type[MediaRefError]) -> None:
    assert getattr(mediaref_ursa, kind.__name__) is kind
    assert issubclass(kind, (MediaRefError, *BUILTINS[kind.__name__]))
    assert all(issubclass(kind, builtin) for builtin in (MediaRefError, *BUILTINS[kind.__name__]))


@kinds
def test_the_drawn_tree_names_each_class_and_what_it_is(kind: type[MediaRefError]) -> None:
    line = re.search(rf"^[ │├└─]*{kind.__name__}\b(.*)$", errors.__doc__ or "", re.MULTILINE)

    assert line, "not in the docstring"
    for builtin in BUILTINS[kind.__name__]:
        if kind.__name__ != "MediaNotFoundError" or builtin is not OSError:  # its parent's line says so
            assert builtin is Exception or builtin.__name__ in line[1]


@kinds
@pytest.mark.parametrize("uri", [None, SIGNED])
@pytest.mark.parametrize("pts_ns", [None, 0, -(2**63)])
def test_each_survives_pickling_and_copying(
    kind: type[MediaRefError], uri: str | None, pts_ns: int | None
) -> None:
    error = kind("expected a, found b", uri=uri, pts_ns=pts_ns)

    copies = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for found in [*copies, copy.copy(error), copy.deepcopy(error)]:
        assert type(found) is kind
        assert (found.message, found.uri, found.pts_ns) == ("expected a, found b", uri, pts_ns)
        assert str(found) == str(error)


@kinds
def test_the_message_says_where_without_secrets(kind: type[MediaRefError]) -> None:
    error = kind("expected a, found b", uri=SIGNED, pts_ns=7)

    assert str(error) == "https://host/a.mp4 at 7 ns: expected a, found b"
    assert error.uri == SIGNED
    for text in (str(error), repr(error), *map(str, error.args)):
        assert "secret" not in text
        assert "pass" not in text


def test_a_message_without_a_place() -> None:
    assert str(MediaRefError("what")) == "what"
    assert str(MediaRefError("what", uri="a.mp4")) == "a.mp4: what"
    assert str(MediaRefError("what", pts_ns=5)).endswith("at 5 ns: what")


def test_a_data_uri_is_not_printed() -> None:
    error = CorruptMediaError("what", uri="data:image/png;base64," + "QUJD" * 2**18)

    assert str(error) == "data:image/png;base64,... (1048598 characters): what"


SECRET = "s3cr3t"
secret_uris = st.one_of(
    st.builds("{}://user:{}@host/a.mp4".format, st.sampled_from(["https", "HTTP", "s3"]), st.just(SECRET)),
    st.builds("https://host/{}{}{}={}".format, st.text("ab/.%", max_size=300), st.sampled_from("?#"),
              st.text("abc&=/@?#", max_size=9), st.just(SECRET)),
    st.builds("{}:image/png{},{}".format, st.sampled_from(["data", "DATA"]),
              st.sampled_from(["", ";base64", ";charset=utf-8"]), st.just(SECRET * 3)),
)  # fmt: skip


@PATIENT
@given(secret_uris)
def test_no_part_that_may_be_secret_is_shown(uri: str) -> None:
    assert SECRET not in redact(uri)


@PATIENT
@given(st.text(max_size=600))
def test_any_uri_is_shown_in_few_characters(uri: str) -> None:
    assert len(redact(uri)) <= 240


@pytest.mark.parametrize("path", ["takes/what?.mp4", "a#1.mp4", "C:/a.mp4", "user@host.mp4", "ü.mp4", ""])
def test_a_path_is_shown_as_it_is(path: str) -> None:
    assert redact(path) == path


def test_a_missing_extra_names_the_command() -> None:
    with (
        pytest.raises(ImportError, match=r"pip install 'mediaref-ursa\[video\]'") as caught,
        needs_extra("video"),
    ):
        import no_such_module_anywhere  # type: ignore[import-not-found]  # noqa: F401
    assert isinstance(caught.value, MediaRefError)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_mistake_of_our_own_is_not_called_a_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError) as caught, needs_extra("video"):
        import mediaref_ursa._no_such_module  # type: ignore[import-not-found]  # noqa: F401
    assert not isinstance(caught.value, MediaRefError)


AV_ERRORS = {
    name: kind
    for name, kind in sorted(vars(av.error).items())
    if inspect.isclass(kind) and issubclass(kind, BaseException) and name[0].isupper()
}


@pytest.mark.parametrize("kind", AV_ERRORS.values(), ids=AV_ERRORS)
def test_what_pyav_raises_arrives_in_the_tree(kind: type[av.error.FFmpegError]) -> None:
    error = kind(1, "it broke", "a.mp4") if issubclass(kind, av.error.FFmpegError) else kind("it broke")

    with pytest.raises(MediaRefError) as caught, foreign_errors("open it", uri=SIGNED):
        raise error

    assert type(caught.value) in (CorruptMediaError, UnsupportedMediaError, LimitExceededError)
    assert caught.value.__cause__ is error
    assert "could not open it" in caught.value.message
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (av.error.InvalidDataError(1, "broken"), CorruptMediaError),
        (av.error.EOFError(1, "end"), CorruptMediaError),
        (av.error.DecoderNotFoundError(1, "none"), UnsupportedMediaError),
        (av.error.PatchWelcomeError(1, "none"), UnsupportedMediaError),
        (UnknownCodecError("none"), UnsupportedMediaError),
        (av.error.MemoryError(1, "full"), LimitExceededError),
        (MemoryError(), LimitExceededError),
        (ValueError("no such format"), CorruptMediaError),
        (OverflowError("too large"), CorruptMediaError),
        (IndexError("none"), CorruptMediaError),
        (OSError("none"), CorruptMediaError),
    ],
)
def test_the_kind_of_error_is_kept(error: Exception, kind: type[MediaRefError]) -> None:
    with pytest.raises(kind), foreign_errors("decode it"):
        raise error


@contextmanager
def lance_call(doing: str, *, uri: str) -> Iterator[None]:
    """What Lance raises goes through two hands: those of the call, in this process or another, and those
    of the frame index.
    """
    raised: list[BaseException] = []
    try:
        yield
    except BaseException as error:
        raised.append(error)

    def perform(*_: object) -> NoReturn:
        raise raised[0]

    with pytest.MonkeyPatch.context() as patch, lance_errors(doing, uri):
        patch.setitem(lance_calls._PERFORM, "raise", perform)
        lance_calls._perform({"do": "raise", "options": {}}, None)


@pytest.mark.parametrize("library", [foreign_errors, lance_call])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()], ids=repr)
def test_interrupts_pass_through(library, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, library("read it", uri="a.mp4"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("library", [foreign_errors, lance_errors])
def test_our_own_errors_pass_through(library) -> None:
    error = FrameIndexVersionError("newer", uri="a.lance")

    with pytest.raises(FrameIndexVersionError) as caught, library("read it", uri="b.mp4"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PanicException("index out of bounds"), FrameIndexInvalidError),
        (ValueError("no such column"), FrameIndexInvalidError),
        (OSError("Io error: disk\nbacktrace"), FrameIndexInvalidError),
        (pa.ArrowInvalid("bad offsets"), FrameIndexInvalidError),
        (RuntimeError(), FrameIndexInvalidError),
        (MemoryError(), FrameIndexInvalidError),
        (ValueError("Dataset at path x was not found"), FrameIndexMissingError),
    ],
    ids=repr,
)
def test_what_lance_raises_arrives_in_the_tree(error: BaseException, kind: type[MediaRefError]) -> None:
    with pytest.raises(kind) as caught, lance_call("read its rows", uri=SIGNED):
        raise error

    assert caught.value.uri == SIGNED
    assert "backtrace" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("error", [pa.ArrowInvalid("x"), pa.ArrowKeyError("x"), OverflowError("x")], ids=repr)
def test_what_comes_of_strange_columns_arrives_in_the_tree(error: Exception) -> None:
    """Rows are taken apart with Arrow and NumPy, which have errors of their own for absurd numbers."""
    with pytest.raises(FrameIndexInvalidError), lance_errors("take its rows apart", "a.lance"):
        raise error


def test_what_lance_really_raises_for_a_missing_table_means_missing(tmp_path: Path) -> None:
    with pytest.raises(FrameIndexMissingError), lance_errors("open it", "a.lance"):
        lance_calls.describe(str(tmp_path / "none.lance"), {})


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({}, "MediaNotFoundError('no such file')"),
        ({"uri": "a.mp4"}, "MediaNotFoundError('no such file', uri='a.mp4')"),
        ({"uri": "a.mp4", "pts_ns": 0}, "MediaNotFoundError('no such file', uri='a.mp4', pts_ns=0)"),
        (
            {"uri": "https://me:secret@host/a.mp4?signature=secret", "pts_ns": 5},
            "MediaNotFoundError('no such file', uri='https://host/a.mp4', pts_ns=5)",
        ),
    ],
)
def test_repr_names_the_uri(values: dict[str, Any], shown: str) -> None:
    """A list of errors is shown by their reprs."""
    error = mediaref_ursa.MediaNotFoundError("no such file", **values)

    assert repr(error) == repr([error])[1:-1] == repr(pickle.loads(pickle.dumps(error))) == shown
