"""Building the package: its README as package indexes show it, where no link leads into a repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z][a-z0-9+.-]*:|#)([^)\s]+)\)")


def readme_for_indexes(text: str, source: str | None, version: str) -> str:
    """Return the README with links that lead somewhere from anywhere.

    Args:
        text: Markdown with links relative to the repository.
        source: The repository's public address, whose ``blob/`` and ``raw/`` pages show its files. Without
            one a link becomes its text and the file's name, and an image the words that describe it.
        version: Of the package: the tag ``v<version>`` is what is linked to.
    """
    base = (source or "").rstrip("/")

    def replaced(link: re.Match[str]) -> str:
        image, words, path = link.groups()
        if base:
            return f"{image}[{words}]({base}/{'raw' if image else 'blob'}/v{version}/{path})"
        return f"*{words}: see `{path}`*" if image else f"{words} (`{path}`)"

    parts = _FENCED.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(replaced, part) for part in parts)


class ReadmeHook(MetadataHookInterface):
    """Gives the package its long description."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add ``readme`` to what pyproject.toml says."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": readme_for_indexes(text, source, metadata["version"]),
        }
