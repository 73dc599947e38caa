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
    "packet_?heads": "packet prefixes",
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
}
"""Whole words of a name, as its underscores and capitals divide it."""

IN_PROSE = {
    "told|tells?|telling": "reported, known, distinguish",
    "elsewhere|beside": "in the cache directory, sidecar, next to",
    "nobody|whoever|somebody|him|anybody": "the thing that is meant",
    "litter|witness(es)?|judges?|judged|crew|ledger": "orphans, spot check, classify, pool, disk usage",
    "lets? (\\w+ )?go": "close, clear",
    "at hand": "local",
    # "in place of", "in its place", "in one place" are no locations
    r"(?<!in )(?<!the )(?<!one )(?<!its )(?<!whose )(?<!right )(?<!same )places?": "location, position, slot",
}
"""Words of docstrings and comments."""


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
"""Names that stay: what programs or files hold, and what is the field's word for another thing."""


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
