"""What ``speed.py`` measured, as JSON, as Markdown tables and as a chart.

``python benchmarks/_speed_report.py docs`` writes tables and chart anew from ``docs/benchmarks.json``.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Values = dict[str, dict[int, float]]

OURS = ("ours", "ours, one thread", "ours, out=", "ours, codec threads", "limit", "ours, frame by frame")
FAMILIES = ("torchcodec", "mediaref", "decord", "opencv")
WANTED = {
    "16 random": {"gop30": 2.2, "gop250": 2.2, "hd": 2.0, "hevc": 2.5, "av1": 1.3, "small": 1.5},
    "16, stride 10": {"gop30": 2.0, "gop250": 1.5, "hd": 1.9, "hevc": 1.6, "av1": 1.3, "small": 1.5},
    "64 contiguous": {"gop30": 1.5, "gop250": 1.2, "hd": 1.2, "hevc": 1.2, "av1": 1.2, "small": 1.3},
    "sliding 64 by 32": {"gop30": 2.0, "gop250": 2.0, "hd": 2.0, "hevc": 2.0, "av1": 1.5, "small": 1.5},
}
_BEGIN, _END = "<!-- written by benchmarks/speed.py -->", "<!-- end of what benchmarks/speed.py writes -->"


def write_report(rows: list[Row], videos: Mapping[str, Path], docs: Path) -> None:
    """Write ``benchmarks.json``, the tables of ``benchmarks.md`` and ``benchmarks.png``."""
    megabytes = {name: round(path.stat().st_size / 1e6, 1) for name, path in videos.items()}
    lines = ",\n".join(json.dumps(row) for row in rows)
    measured = {"python": platform.python_version(), "cores": _cores(), "megabytes": megabytes}
    about = json.dumps(measured)[:-1]
    (docs / "benchmarks.json").write_text(f'{about}, "rows": [\n{lines}\n]}}\n', encoding="utf-8")
    show_report(docs)


def show_report(docs: Path) -> None:
    """Write the tables of ``benchmarks.md`` and ``benchmarks.png`` from what ``benchmarks.json`` holds."""
    measured = json.loads((docs / "benchmarks.json").read_text(encoding="utf-8"))
    rows: list[Row] = measured["rows"]
    page = docs / "benchmarks.md"
    before, _, rest = (page.read_text(encoding="utf-8") if page.exists() else "").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    text = "\n".join(_lines(rows, measured["megabytes"]))
    page.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}", encoding="utf-8")
    print(text)
    draw(rows, docs / "benchmarks.png")


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _lines(rows: list[Row], megabytes: Mapping[str, float]) -> Iterator[str]:
    media = list(dict.fromkeys(row["media"] for row in rows))
    patterns = list(dict.fromkeys(row["pattern"] for row in rows))
    yield "### Against the best of the others"
    yield ""
    yield (
        "Frames a second of `batch_decode(..., as_array=True)` over those of the best other reader in each "
        "repeat: the median, next to its goal where it has one and bold where it reaches it; the range; and "
        "who that was."
    )
    yield ""
    yield from _table(
        ["", *media],
        [[pattern, *(_ratio_cell(rows, name, pattern) for name in media)] for pattern in patterns],
    )
    yield ""
    yield "### Processor time, with one thread"
    yield ""
    yield "Processor seconds a frame of the best other reader over those with `max_workers=1`."
    yield ""
    yield from _table(
        ["", *media],
        [[pattern, *(_cpu_cell(rows, name, pattern) for name in media)] for pattern in patterns],
    )
    yield ""
    yield "### Against the limit"
    yield ""
    yield (
        "Share of the frames a second that feeding just the needed packets, in memory, to FFmpeg on all "
        "cores gives, where nothing is read, checked or converted; and, in brackets, with `out=`."
    )
    yield ""
    limited = [pattern for pattern in patterns if _values(rows, "", pattern, "limit")]
    yield from _table(
        ["", *media],
        [[pattern, *(_limit_cell(rows, name, pattern) for name in media)] for pattern in limited],
    )
    for name in media:
        size = f", {megabytes[name]:.1f} MB" if name in megabytes else ""
        yield ""
        yield f"### {name}{size}"
        yield ""
        yield from _details(rows, name)


def _details(rows: list[Row], media: str) -> Iterator[str]:
    """Yield the tables of one video: frames a second, then what a frame costs."""
    mine = [row for row in rows if row["media"] == media]
    patterns = list(dict.fromkeys(row["pattern"] for row in mine))
    readers = list(dict.fromkeys(row["reader"] for row in mine))
    yield "Frames a second, median (range):"
    yield ""
    yield from _table(
        ["", *patterns],
        [
            [reader, *(_speed_cell(mine, media, pattern, reader) for pattern in patterns)]
            for reader in readers
        ],
    )
    yield ""
    yield (
        "A frame costs: milliseconds of processor time / KB read / MB of memory beyond the output "
        "(packets fed):"
    )
    yield ""
    yield from _table(
        ["", *patterns],
        [[reader, *(_cost_cell(mine, media, pattern, reader) for pattern in patterns)] for reader in readers],
    )


def _table(head: list[str], body: Iterable[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for line in body:
        yield f"| {' | '.join(line)} |"


def _speed(row: Row) -> float:
    return row["frames"] / row["seconds"]


def _values(
    rows: list[Row], media: str, pattern: str, reader: str, value: Callable[[Row], float] = _speed
) -> dict[int, float]:
    """Return a value of each repeat; of all media where none is named."""
    return {
        row["repeat"]: value(row)
        for row in rows
        if (not media or row["media"] == media)
        and (row["pattern"], row["reader"]) == (pattern, reader)
        and "error" not in row
    }


def _others(rows: list[Row], media: str, pattern: str, value: Callable[[Row], float] = _speed) -> Values:
    names = dict.fromkeys(
        row["reader"] for row in rows if row["media"] == media and row["pattern"] == pattern
    )
    found = {name: _values(rows, media, pattern, name, value) for name in names if name not in OURS}
    return {name: values for name, values in found.items() if values}


def best_ratio(rows: list[Row], media: str, pattern: str) -> tuple[list[float], str] | None:
    """Return, of each repeat, our frames a second over the best other's, and who is best in the median."""
    ours, others = _values(rows, media, pattern, "ours"), _others(rows, media, pattern)
    if not ours or not others:
        return None
    ratios = [
        mine / max(values[repeat] for values in others.values() if repeat in values)
        for repeat, mine in ours.items()
        if any(repeat in values for values in others.values())
    ]
    return ratios, max(others, key=lambda name: statistics.median(others[name].values()))


def _ratio_cell(rows: list[Row], media: str, pattern: str) -> str:
    found = best_ratio(rows, media, pattern)
    if found is None:
        return ""
    ratios, best = found
    wanted = WANTED.get(pattern, {}).get(media)
    median = statistics.median(ratios)
    shown = f"**{median:.2f}**" if wanted is not None and median >= wanted else f"{median:.2f}"
    goal = "" if wanted is None else f" of {wanted}"
    return f"{shown}{goal} ({min(ratios):.2f} to {max(ratios):.2f}), {best}"


def _cpu_cell(rows: list[Row], media: str, pattern: str) -> str:
    def cpu(row: Row) -> float:
        return float(row["cpu_seconds"] / row["frames"])

    ours = _values(rows, media, pattern, "ours, one thread", cpu)
    others = _others(rows, media, pattern, cpu)
    if not ours or not others:
        return ""
    ratios = [
        min(values[repeat] for values in others.values() if repeat in values) / mine
        for repeat, mine in ours.items()
        if any(repeat in values for values in others.values())
    ]
    best = min(others, key=lambda name: statistics.median(others[name].values()))
    return f"{statistics.median(ratios):.2f} ({best})"


def _limit_cell(rows: list[Row], media: str, pattern: str) -> str:
    limit = _values(rows, media, pattern, "limit")
    shares = []
    for reader in ("ours", "ours, out="):
        ours = _values(rows, media, pattern, reader)
        both = [ours[repeat] / limit[repeat] for repeat in ours if repeat in limit]
        shares.append(f"{100 * statistics.median(both):.0f} %" if both else "")
    return f"{shares[0]} ({shares[1]})" if shares[0] else ""


def _speed_cell(rows: list[Row], media: str, pattern: str, reader: str) -> str:
    values = _values(rows, media, pattern, reader).values()
    if not values:
        errors = [
            row["error"]
            for row in rows
            if row["reader"] == reader and row["pattern"] == pattern and "error" in row
        ]
        return errors[0].partition(":")[0] if errors else ""
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def _cost_cell(rows: list[Row], media: str, pattern: str, reader: str) -> str:
    def median(value: Callable[[Row], float]) -> float:
        return statistics.median(_values(rows, media, pattern, reader, value).values())

    if not _values(rows, media, pattern, reader):
        return ""
    cpu = median(lambda row: 1e3 * row["cpu_seconds"] / row["frames"])
    read = median(lambda row: row["bytes_read"] / row["frames"] / 1e3)
    memory = median(lambda row: max(0.0, row["peak_mb"] - row["output_mb"]))
    packets = median(lambda row: row["packets"] / row["frames"])
    return f"{cpu:.2f} / {read:.1f} / {memory:.0f}" + (f" ({packets:.1f})" if packets else "")


def draw(rows: list[Row], path: Path) -> None:
    """Draw frames a second: ours and the best reader of each family, a panel for each pattern.

    Heights are medians of what the tables compare: the ratios within each repeat.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    patterns = [
        pattern for pattern in ("one random", *WANTED) if any(row["pattern"] == pattern for row in rows)
    ]
    media = [name for name in dict.fromkeys(row["media"] for row in rows) if name in RECIPE_TITLES]
    if not patterns or not media:
        return
    figure, panels = plt.subplots(
        1, len(patterns), figsize=(4.4 * len(patterns), 4.2), squeeze=False, sharey=True
    )
    for panel, pattern in zip(panels[0], patterns, strict=True):
        _draw_panel(panel, rows, pattern, media)
    panels[0][0].set_ylabel("frames a second over those of mediaref-ursa")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, dpi=110)


RECIPE_TITLES = {
    "gop30": "H.264 360p\nGOP 30",
    "gop250": "H.264 360p\nGOP 250",
    "hd": "H.264\n1080p",
    "hevc": "HEVC\n720p",
    "av1": "AV1 480p\nGOP 2",
    "small": "H.264 128²\nGOP 2",
}


def _draw_panel(panel: Any, rows: list[Row], pattern: str, media: list[str]) -> None:
    there = [family for family in FAMILIES if any(row["reader"].startswith(family) for row in rows)]
    bars = ("mediaref-ursa", *there)
    width = 0.8 / len(bars)
    for number, bar in enumerate(bars):
        heights = [1.0 if number == 0 else _best_of(rows, name, pattern, bar) for name in media]
        places = [place + (number - (len(bars) - 1) / 2) * width for place in range(len(media))]
        label = bar if number == 0 else f"best of {bar}"
        panel.bar(places, heights, width, label=label, color=_COLOURS[number])
    panel.set_title(pattern)
    panel.set_xticks(range(len(media)), [RECIPE_TITLES[name] for name in media], fontsize=7)
    panel.axhline(1, color=_COLOURS[0], linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def _best_of(rows: list[Row], media: str, pattern: str, family: str) -> float:
    """Return the frames a second of a family's best reader over ours, the median of repeats; 0 for none."""
    ours = _values(rows, media, pattern, "ours")
    theirs = [values for label, values in _others(rows, media, pattern).items() if label.startswith(family)]
    ratios = [
        max(values[repeat] for values in theirs if repeat in values) / mine
        for repeat, mine in ours.items()
        if any(repeat in values for values in theirs)
    ]
    return statistics.median(ratios) if ratios else 0.0


_COLOURS = ("#1b6ca8", "#f2a65a", "#8fb996", "#c98bb9", "#b0b0b0")

if __name__ == "__main__":
    show_report(Path(sys.argv[1]))
