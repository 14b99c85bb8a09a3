"""Boxes and arrows as SVG, for the drawings in docs/."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

Point = tuple[float, float]

INK, FAINT, PAPER = "#1b2530", "#5c6b7a", "#ffffff"
FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Style:
    """The colours of a box. ``dashed`` marks a box that is not a state, or not a part of sfloop."""

    fill: str
    edge: str
    dashed: bool = False


def box(center: Point, size: Point, lines: tuple[str, ...], style: Style, font: int = 13) -> str:
    """A rounded box; its first line is bold."""
    (x, y), (width, height) = center, size
    dash = ' stroke-dasharray="5 4"' if style.dashed else ""
    parts = [
        f'<rect x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}" rx="7" '
        f'fill="{style.fill}" stroke="{style.edge}" stroke-width="1.5"{dash}/>'
    ]
    top = y - (len(lines) - 1) * (font + 2) / 2 + font * 0.36
    for i, line in enumerate(lines):
        weight = ' font-weight="bold"' if i == 0 else ""
        parts.append(text((x, top + i * (font + 2)), line, size=font if i == 0 else font - 2, extra=weight))
    return "\n".join(parts)


def text(at: Point, line: str, size: int = 11, anchor: str = "middle", fill: str = INK, extra: str = "") -> str:
    """One line of text, its baseline at ``at``."""
    return (
        f'<text x="{at[0]:g}" y="{at[1]:g}" font-size="{size}" text-anchor="{anchor}" fill="{fill}"{extra}>'
        f"{escape(line)}</text>"
    )


def label(at: Point, lines: tuple[str, ...], anchor: str = "middle", size: int = 11) -> str:
    """Lines beside an arrow, on paper so that the arrow does not run through them."""
    return "\n".join(text((at[0], at[1] + i * (size + 3)), line, size, anchor, FAINT) for i, line in enumerate(lines))


def arrow(points: tuple[Point, ...], colour: str = INK, width: float = 1.5, dashed: bool = False) -> str:
    """A line along the points, with a head at its end."""
    path = " ".join(f"{'L' if i else 'M'}{x:g} {y:g}" for i, (x, y) in enumerate(points))
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dash} marker-end="url(#head)"/>'


def picture(size: Point, title: str, parts: list[str]) -> str:
    """The whole file."""
    width, height = size
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
            f'viewBox="0 0 {width:g} {height:g}" font-family="{FONT}" role="img">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z" fill="{INK}"/></marker></defs>',
            f'<rect width="{width:g}" height="{height:g}" fill="{PAPER}"/>',
            *parts,
            "</svg>",
            "",
        ]
    )
