"""Draw charts as SVG in the colours of the page: scores with intervals, curves, differences.

    dots([("sums", [Dot(colour="after", mean=0.7, low=0.6, high=0.8)])], title="…") ──► <svg>…</svg>

Matplotlib draws with placeholder colours. On a page they are replaced by the page's CSS variables,
so that a chart follows light and dark; in a file of its own they stay, as the light colours.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 7.6
"""Inches. Width of a chart on a wide page."""
NARROW_IN = 4.2
"""Inches. Width of a chart on a phone, where the wide one would halve the size of its letters."""
LONGEST_NAME = 30
"""Characters of a task's name beside a wide chart."""
LONGEST_NARROW = 16
"""Characters of a task's name beside a narrow chart."""
NARROW_KEYS = 2
"""Curves named on one line of the key of a narrow chart."""
COLOURS: Mapping[str, str] = {
    "ink": "#1d2433",
    "soft": "#5b6475",
    "line": "#dfe3ea",
    "mark": "#0e7491",
    "before": "#7c8698",
    "prompted": "#b7791f",
    "answer_only": "#b83280",
    "after": "#0e7490",
    "after_prompted": "#5b7a1f",
    "teacher": "#4a5568",
}
"""The page's variables with their light values. Each value must occur once, to be replaced."""
_NOT_FOR_PAGES = re.compile(
    r'<defs>\s*<style.*?</style>\s*</defs>|<metadata>.*?</metadata>| xmlns(?::\w+)?="[^"]*"',
    re.DOTALL,
)
"""Style rules for the whole page, metadata and namespaces: HTML needs none, and a report may
contain no address."""
_OWN_IDS = re.compile(r' id="[A-Za-z][\w.]*_\d+"')
"""Ids that nothing refers to; two charts on a page would repeat them."""
_INLINE = re.compile(r'style="([^"]*)"')
_FONT_SIZE = re.compile(r"[\d.]+px")
_SETTINGS: dict[Any, Any] = {
    "font.size": 9.5,
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a task may be named $x$
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["soft"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": COLOURS["soft"],
    "ytick.color": COLOURS["ink"],
    "ytick.major.size": 0,
    "grid.color": COLOURS["line"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A score with its interval, all in 0..1."""

    colour: str
    """A key of ``COLOURS``."""
    mean: float
    low: float
    high: float


def dots(groups: Sequence[tuple[str, Sequence[Dot]]], *, title: str) -> Markup:
    """Draw dots with intervals on an axis from 0 to 100 %, a block of rows for each group."""
    rows = sum(len(items) for _, items in groups)

    def draw(axes: "Axes", longest: int) -> None:
        y, ticks = 0.0, []
        for _, items in groups:
            ticks.append(y + (len(items) - 1) / 2)
            for dot in items:
                _dot(axes, y, 100 * dot.mean, 100 * dot.low, 100 * dot.high, COLOURS[dot.colour])
                y += 1
            y += 0.7
        axes.set_yticks(ticks, [_shortened(name, longest) for name, _ in groups])
        axes.set_ylim(y - 0.4, -0.8)
        axes.set_xlim(-1, 101)
        axes.set_xticks(range(0, 101, 25), [f"{share} %" for share in range(0, 101, 25)])

    return _draw_for_both(draw, height_in=0.5 + 0.17 * rows + 0.12 * len(groups), title=title)


def lines(
    series: Sequence[tuple[str, str, Sequence[tuple[float, float]]]],
    *,
    title: str,
    across: str,
    up: str,
    steps: bool = False,
) -> Markup:
    """Draw curves of (colour, label, points), on axes that start at zero.

    Args:
        series: The curves.
        title: For readers who do not see the chart.
        across: Name of the horizontal axis.
        up: Name of the vertical axis.
        steps: Values hold until the next point. The horizontal axis is then logarithmic.
    """
    if not any(points for _, _, points in series):
        return Markup("")
    drawn = [points for _, _, points in series if points]
    least, most = min(points[0][0] for points in drawn), max(points[-1][0] for points in drawn)

    def draw(axes: "Axes", longest: int) -> None:
        for colour, label, points in series:
            held = [(most, points[-1][1])] if steps else []
            xs, ys = zip(*points, *held, strict=True)
            style = "steps-post" if steps else "default"
            axes.plot(xs, ys, color=COLOURS[colour], linewidth=1.5, label=label, drawstyle=style)
        columns = NARROW_KEYS if longest == LONGEST_NARROW else len(series)
        axes.legend(
            frameon=False,
            ncols=columns,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            borderpad=0,
            columnspacing=1.2,
            handlelength=1.2,
        )
        axes.set_ylim(bottom=0)
        if steps:
            _set_log_scale(axes, least, most)
        else:
            axes.set_xlim(left=0)
        axes.grid(axis="y")
        axes.set_xlabel(across)
        axes.set_ylabel(up)

    return _draw_for_both(draw, height_in=2.7, title=title)


def _set_log_scale(axes: "Axes", least: float, most: float) -> None:
    """Give the horizontal axis a logarithmic scale with some of the ticks 1, 2, 5, 10, 20 …"""
    ticks = [m * 10**e for e in range(7) for m in (1, 2, 5) if 0.4 * least <= m * 10**e <= most]
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()


def _draw_for_both(draw: Callable[["Axes", int], None], *, height_in: float, title: str) -> Markup:
    """Return the chart for wide pages and the one for phones; the page's style shows one."""
    found = Markup()
    for kind, width_in, longest in (
        ("broad", WIDTH_IN, LONGEST_NAME),
        ("slim", NARROW_IN, LONGEST_NARROW),
    ):
        with _axes(height_in=height_in, width_in=width_in, salt=title) as (figure, axes):
            draw(axes, longest)
            found += Markup('<div class="{}">{}</div>').format(kind, _for_page(figure, title))
    return found


def differences(rows: Sequence[tuple[str, float, float, float]], *, title: str) -> str:
    """Draw (name, difference, low, high), given in 0..1, in points around zero, as an SVG file."""
    with _axes(height_in=0.9 + 0.26 * len(rows), salt=title) as (figure, axes):
        for y, (_, mean, low, high) in enumerate(rows):
            _dot(axes, y, 100 * mean, 100 * low, 100 * high, COLOURS["mark"])
        axes.axvline(0, color=COLOURS["soft"], linewidth=1)
        axes.set_yticks(range(len(rows)), [_shortened(name, LONGEST_NAME) for name, *_ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("points")
        axes.set_title(title, fontsize=9.5, loc="left", color=COLOURS["soft"])
        figure.patch.set_facecolor("white")
        return _svg(figure, transparent=False)


def _dot(axes: "Axes", y: float, mean: float, low: float, high: float, colour: str) -> None:
    axes.plot([low, high], [y, y], color=colour, linewidth=1.6, solid_capstyle="round")
    axes.plot([mean], [y], "o", color=colour, markersize=5, clip_on=False)


@contextmanager
def _axes(
    *, height_in: float, salt: str, width_in: float = WIDTH_IN
) -> "Iterator[tuple[Figure, Axes]]":
    """Return a figure with one pair of axes in our settings, without a window or global state."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Repeated parts are referred to by id, and an id may occur only once on a page: salt them.
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": f"{salt} {width_in}"}):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        yield figure, axes


def _svg(figure: "Figure", *, transparent: bool) -> str:
    buffer = StringIO()
    figure.savefig(buffer, format="svg", transparent=transparent, metadata={"Date": None})
    return buffer.getvalue()


def _for_page(figure: "Figure", title: str) -> Markup:
    """Return the figure as part of a page, with a title for screen readers and page colours."""
    text = _svg(figure, transparent=True)
    text = _NOT_FOR_PAGES.sub("", text[text.index("<svg") :]).replace("xlink:href", "href")
    text = _OWN_IDS.sub("", _INLINE.sub(_as_attributes, text))
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    opening, _, rest = text.partition(">")
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening)
    return Markup(
        f'{opening} role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>{rest}'
    )


def _as_attributes(style: re.Match[str]) -> str:
    """Return an inline style as attributes, which the viewer's content security policy allows.

    The typeface is left to the page.
    """
    found = dict(part.strip().split(": ", 1) for part in style[1].split(";") if ": " in part)
    font = _FONT_SIZE.search(found.pop("font", ""))
    if font is not None:
        found["font-size"] = font[0]
    return " ".join(f'{name}="{value}"' for name, value in found.items())


def _shortened(name: str, longest: int) -> str:
    """Return a name that fits beside the axis. Its beginning and end tell tasks apart."""
    if len(name) <= longest:
        return name
    return f"{name[: longest // 3]}…{name[longest // 3 + 1 - longest :]}"
