"""Two small charts as SVG that follows the page's colours, light or dark: scores with intervals, and curves."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 720
LONGEST_NAME = 27


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A score with its interval, all in 0..1."""

    label: str
    css: str
    mean: float
    low: float
    high: float


def dots(groups: Sequence[tuple[str, Sequence[Dot]]], *, title: str) -> Markup:
    """Dots with intervals, a block of rows for each group, on an axis from 0 to 100 %."""
    left, right, row, gap = 190, 40, 15, 10
    height = sum(row * len(items) + gap for _, items in groups) + 30

    def x(share: float) -> float:
        return left + share * (WIDTH - left - right)

    parts = [_open(WIDTH, height, title)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(
            Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="4" y2="{1}"/>').format(x(share), height - 24)
        )
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{:.0f} %</text>').format(
                x(share), height - 8, 100 * share
            )
        )
    y = 12.0
    for name, items in groups:
        middle = y + row * (len(items) - 1) / 2 + 4
        parts.append(
            Markup('<text class="name" x="{}" y="{:.1f}" text-anchor="end"><title>{}</title>{}</text>').format(
                left - 12, middle, name, _shortened(name)
            )
        )
        for dot in items:
            parts.append(
                Markup(
                    '<g class="{}"><title>{}</title><line x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/><circle cx="{:.1f}" cy="{:.1f}" r="4"/></g>'
                ).format(
                    dot.css,
                    f"{name}, {dot.label}: {100 * dot.mean:.1f} % ({100 * dot.low:.1f} to {100 * dot.high:.1f})",
                    x(dot.low),
                    x(dot.high),
                    y,
                    y,
                    x(dot.mean),
                    y,
                )
            )
            y += row
        y += gap
    parts.append(Markup("</svg>"))
    return Markup("\n").join(parts)


def _shortened(name: str) -> str:
    """A name that fits beside the axis: its start and its end tell tasks apart."""
    return name if len(name) <= LONGEST_NAME else f"{name[:10]}…{name[11 - LONGEST_NAME :]}"


def lines(
    series: Sequence[tuple[str, str, Sequence[tuple[float, float]]]], *, title: str, across: str, up: str
) -> Markup:
    """Curves of (css class, label, points) from zero upwards."""
    left, right, top, bottom, height = 56, 150, 12, 40, 260
    points = [point for _, _, values in series for point in values]
    if not points:
        return Markup("")
    x_most = max(x for x, _ in points)
    y_most = max(y for _, y in points) or 1.0

    def place(x: float, y: float) -> str:
        return f"{left + x / x_most * (WIDTH - left - right):.1f},{height - bottom - y / y_most * (height - top - bottom):.1f}"

    parts = [_open(WIDTH, height, title)]
    for i in range(5):
        value = y_most * i / 4
        y = height - bottom - i / 4 * (height - top - bottom)
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(left, WIDTH - right, y, y)
        )
        parts.append(
            Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{:.2f}</text>').format(
                left - 8, y + 4, value
            )
        )
    parts.append(
        Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{:,.0f} {}</text>').format(
            WIDTH - right, height - 18, x_most, across
        )
    )
    parts.append(Markup('<text class="tick" x="{}" y="{}">{}</text>').format(left, height - 18, up))
    for css, label, values in series:
        path = " ".join(place(x, y) for x, y in values)
        parts.append(Markup('<polyline class="{}" points="{}"><title>{}</title></polyline>').format(css, path, label))
        last_x, last_y = place(*values[-1]).split(",")
        parts.append(
            Markup('<text class="{} name" x="{:.1f}" y="{:.1f}">{}</text>').format(
                css, float(last_x) + 8, float(last_y) + 4, label
            )
        )
    parts.append(Markup("</svg>"))
    return Markup("\n").join(parts)


def _open(width: int, height: float, title: str) -> Markup:
    return Markup('<svg viewBox="0 0 {0} {1:.0f}" role="img" aria-label="{2}"><title>{2}</title>').format(
        width, height, escape(title)
    )
