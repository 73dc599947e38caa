"""One word for one thing, the field's: names and docstrings keep none of the words that were replaced."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_layers import PACKAGE, SOURCES

IN_NAMES = {
    "crew|helpers?": "worker",
    "hand_over": "offload",
    "marks": "validators",
    "trails?": "access pattern",
    "goes_on": "is_sequential",
    "wanted_again": "will_reuse",
    "begun": "schedule",
    "pace": "low speed limit",
    "clock": "deadline",
    "trial(?!_decode)": "trial decode",
    "witness(es)?|judges?": "spot check, classify",
    "flights|(?<!single_)(?<!in_)flight": "single flight",
    "ledger|account|swept|litter": "disk usage, usage file, eviction result, orphans",
    "segment_?cache|segment_?key": "range cache, object key",
    "guarded|guards": "sandboxed, etag-pinned, public-only, confines",
    "lone_field|lossy|inherits": "single_field, has_gap, depends_on_previous_state",
    "hidden|shown": "never output, displayed",
    "at_hand|near": "is_local",
    "told|tells?|say": "reported, known",
    "taken_from": "from_options, from_x",
    "elsewhere|beside": "in the cache directory, sidecar",
    "let_\\w+_go|give_up": "close, clear",
    "places?": "location, position, slot, rank",
    "most|least|largest": "max, min",
    "nobody|whoever|somebody": "the thing that is meant",
    "claims": "sync sample checker, flags",
    "packet_?heads|heads_bytes": "packet prefixes",
    "is_said": "is_logged",
    "discard": "close for resources, clear for caches",
    "far|afar": "remote",
    "lone": "single",
}
"""Whole words of a name, as its underscores and capitals divide it."""

IN_PLACE = r"(?<!in )(?<!the )(?<!one )(?<!its )(?<!whose )(?<!right )(?<!same )places?"
"""Locations: "in place of", "in its place", "in one place" are none."""

IN_PROSE = {
    "told|tells?|telling": "reported, known, distinguish",
    "elsewhere|beside": "in the cache directory, sidecar, next to",
    "nobody|whoever|somebody|him|anybody|people|strangers?": "the thing that is meant",
    "litter|swept|witness(es)?|judges?|judged|crew|ledger": "orphans, spot check, classify, pool, disk usage",
    "helpers?|hand(s|ed|ing)? over": "worker process, offload, pass",
    "trails?|pace|heads": "access pattern, low speed limit, prefixes",
    "segment cache": "range cache",
    "shown": "displayed",
    "guard(s|ed)": "sandboxed, etag-pinned, public-only, confines",
    "lossy": "has_gap",
    # "lone surrogates" is what Unicode calls them
    "lone(?! surrogates?)": "single",
    "lets? (\\w+ )?go|g[ia]ves? up|given up|giving up": "close, clear, fail",
    "at hand|near (segment|store|run)s?": "local",
    # "so far" and "as far as" are no distances
    "afar|far (away|store|segment|run|byte|video)s?": "remote",
    IN_PLACE: "location, position, slot",
}
"""Words of docstrings and comments."""

IN_MESSAGES = {
    "places?": "location, position, slot",
    "elsewhere|beside": "outside, next to",
    "told|tells?": "reported, known, distinguish",
    "shown": "displayed",
    "nobody|whoever|somebody|anybody": "the thing that is meant",
    "helper|segment cache|far away": "worker process, range cache, remote",
}
"""Words of messages and of what the command line prints: texts of several words in the code."""


KEPT = {
    "place",  # LanceFrameIndex.place, which is public
    "open_elsewhere",  # LanceFrameIndex.open_elsewhere, which is public
    "hidden",  # write_frame_index(hidden=), which is public
    "HIDDEN",
    "HIDDEN_FOLDER",
    "hidden_frame_index_uri",
    "hidden_packets",  # on disk, and in the output of ``inspect``
    "tell",  # a method of files
    "_is_hidden",  # of files whose names begin with a dot
    "account",  # of a cloud store
    "_R2_NEEDS_ACCOUNT",
}
"""Names that stay: public names, names in files, and those whose word is the field's for another thing."""


PAGES = sorted({*(PACKAGE.parent / "docs").glob("*.md"), PACKAGE.parent / "README.md"})
"""The pages, which keep none of the words of messages either."""


def sources() -> dict[str, Path]:
    return {str(path.relative_to(PACKAGE)): path for path in SOURCES.values()}


def words_of(name: str) -> str:
    """Return a name as words between underscores: ``_DecoderPool`` is ``_decoder_pool_``."""
    divided = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return f"_{divided.strip('_').lower()}_"


def names_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id if isinstance(node, ast.Name) else node.attr


def prose_in(text: str) -> Iterator[tuple[int, str]]:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            doctest = re.compile(r"^\s*(?:>>>|\.\.\.) .*$", re.MULTILINE)
            yield node.lineno, doctest.sub("", node.value.value)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def messages_in(text: str) -> Iterator[tuple[int, str]]:
    """Yield the parts of texts in the code that have several words, docstrings excepted."""
    tree = ast.parse(text)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield from [(node.lineno, node.value)] if " " in node.value.strip() else []


def documented_attributes(node: ast.ClassDef) -> list[str]:
    """Return the names under "Attributes:" in a class's docstring."""
    section = re.search(r"^Attributes:\n((?:    .*\n?|\n)+)", ast.get_docstring(node) or "", re.MULTILINE)
    return re.findall(r"^    (\w+):", section[1], re.MULTILINE) if section else []


def attributes_of(node: ast.ClassDef) -> set[str]:
    fields = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
    for one in ast.walk(node):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            fields.add(one.target.id)
        elif isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store):
            fields.add(one.attr)
    return fields


@pytest.mark.parametrize("name", sources())
def test_no_name_keeps_a_word_that_was_replaced(name: str) -> None:
    found = [
        f"{name}:{line} {one}"
        for line, one in names_in(ast.parse(sources()[name].read_text(encoding="utf-8")))
        for word in IN_NAMES
        if one not in KEPT and re.search(rf"_(?:{word})_", words_of(one))
    ]
    assert found == []


@pytest.mark.parametrize("name", sources())
def test_no_docstring_or_comment_keeps_a_word_that_was_replaced(name: str) -> None:
    found = [
        f"{name}:{line} {match[0]}"
        for line, text in prose_in(sources()[name].read_text(encoding="utf-8"))
        for word in IN_PROSE
        for match in re.finditer(rf"(?<![`\w])(?:{word})(?![`\w])", text, re.IGNORECASE)
    ]
    assert found == []


@pytest.mark.parametrize("name", sources())
def test_no_message_keeps_a_word_that_was_replaced(name: str) -> None:
    found = [
        f"{name}:{line} {match[0]}"
        for line, text in messages_in(sources()[name].read_text(encoding="utf-8"))
        for word in IN_MESSAGES
        for match in re.finditer(rf"(?<![`\w])(?:{word})(?![`\w])", text, re.IGNORECASE)
    ]
    assert found == []


@pytest.mark.parametrize("name", sources())
def test_docstrings_describe_attributes_under_their_names(name: str) -> None:
    tree = ast.parse(sources()[name].read_text(encoding="utf-8"))
    wrong = [
        f"{name}:{node.lineno} {node.name}.{attribute}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for attribute in documented_attributes(node)
        if attribute not in attributes_of(node)
    ]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_keeps_a_word_that_was_replaced(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    found = [
        f"{page.name}: {text[max(match.start() - 30, 0) : match.end() + 10]!r}"
        for word in (*IN_MESSAGES, IN_PLACE)
        for match in re.finditer(rf"(?<![\w-])(?:{word})(?![\w-])", text, re.IGNORECASE)
        if word != "places?"
    ]
    assert found == []
