"""One self-contained HTML page: its own small style, pictures inside, no address, no script."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

from sacd_jax.report.tables import Table

NOT_A_DEVICE = (
    "Research software, not a medical device: not for diagnosis or treatment. "
    "This page holds no frames of any recording."
)

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --soft: #5a636d; --paper: #ffffff;
  --card: #f5f7f9; --line: #d8dee4; --accent: #0072b2; --warn: #8a4b00; --warn-bg: #fff4e0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #a3adb7; --paper: #15181b;
  --card: #1f2428; --line: #3a424a; --accent: #62b4e8; --warn: #ffd08a; --warn-bg: #3a2a10; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .6rem 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .4rem; }
p { margin: .5rem 0; max-width: 48rem; }
.soft { color: var(--soft); font-size: .9rem; }
.warn { background: var(--warn-bg); color: var(--warn); border-left: 4px solid currentColor;
  padding: .6rem .9rem; margin: .6rem 0; font-weight: 600; border-radius: 0 .3rem .3rem 0; }
.answer { background: var(--card); border: 1px solid var(--line); border-left: 4px solid
  var(--accent); border-radius: .4rem; padding: .7rem 1.1rem; margin: 1rem 0; font-size: 1.08rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .8rem;
  margin: 1rem 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: .4rem;
  padding: .7rem 1rem; border-top: 4px solid var(--tile, var(--line)); }
.tiles b { display: block; font-size: 1.9rem; line-height: 1.2; }
.tiles span, .tiles small { display: block; }
.tiles small { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .8rem 0 .4rem; font-variant-numeric: tabular-nums;
  font-size: .92rem; }
th, td { padding: .32rem .6rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 9rem; }
th.prose, td.prose { text-align: left; white-space: normal; min-width: 12rem; }
thead th { border-bottom: 2px solid var(--soft); font-weight: 600; }
td small { display: block; color: var(--soft); font-size: .76rem; line-height: 1.2; }
tr.strong td { font-weight: 650; }
tr.weak td { color: var(--soft); }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: .4rem; padding: .5rem; }
figcaption { color: var(--soft); font-size: .88rem; max-width: 48rem; }
details { border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .9rem;
  margin: .8rem 0; }
summary { cursor: pointer; font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .6rem 0;
  font-size: .92rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .8rem; }
@media (max-width: 40rem) { figure { overflow-x: auto; }
  figure img { width: 44rem; max-width: none; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; } th, td { padding: .32rem .35rem; }
  th:first-child, td:first-child { min-width: 5rem; } th.prose, td.prose { min-width: 8rem; } }
@media print { main { padding: 0; max-width: none; } body { font-size: 12px; }
  h1, h2, summary { break-after: avoid; } figure, tr, .answer, .tiles div { break-inside: avoid; }
  .wide { overflow: visible; } th, td { padding: .2rem .35rem; }
  details { border: 0; } details::details-content { content-visibility: visible; height: auto; } }
"""


def page(title: str, parts: Iterable[str], banners: Sequence[str] = ()) -> str:
    """A whole HTML document. `parts` are HTML; title and banners are text."""
    warnings = "".join(f'<p class="warn">{escape(text)}</p>\n' for text in banners)
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{warnings}<h1>{escape(title)}</h1>\n{body}\n"
        f'<footer><p class="soft">{escape(NOT_A_DEVICE)}</p></footer>\n'
        "</main>\n</body>\n</html>\n"
    )


def heading(text: str) -> str:
    """A section's heading."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of text; `kind` is "" or a style of the page ("soft", "answer", "warn")."""
    attribute = f' class="{escape(kind)}"' if kind else ""
    return f"<p{attribute}>{escape(text)}</p>"


def picture(png: bytes, description: str, caption: str = "") -> str:
    """A picture inside the page; `description` is what a reader who cannot see it is told."""
    width = int.from_bytes(png[16:20], "big") * 5 // 8  # drawn finer than shown, for dense screens
    data = base64.b64encode(png).decode("ascii")
    said = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure><img width="{width}" alt="{escape(description)}" '
        f'src="data:image/png;base64,{data}">'
        f"{said}</figure>"
    )


def table(content: Table, kinds: Sequence[str] = (), notes: bool = True) -> str:
    """A table; `kinds` gives rows a style ("strong", "weak", "")."""
    columns = range(len(content.header))
    style = [' class="prose"' if column in content.prose else "" for column in columns]
    head = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>'
        for name, kind in zip(content.header, style, strict=True)
    )
    body = []
    for at, row in enumerate(content.rows):
        kind = f' class="{escape(kinds[at])}"' if at < len(kinds) and kinds[at] else ""
        cells = "".join(
            f"<td{column}>{escape(cell.text)}"
            + (f"<small>{escape(cell.detail)}</small>" if cell.detail else "")
            + "</td>"
            for cell, column in zip(row, style, strict=True)
        )
        body.append(f"<tr{kind}>{cells}</tr>")
    below = "".join(paragraph(note, "soft") for note in content.notes) if notes else ""
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>{below}"
    )


def tiles(items: Iterable[tuple[str, str, Sequence[str], str]]) -> str:
    """Large figures side by side: (name, value, lines below, CSS colour) of each."""
    inner = "".join(
        f'<div style="--tile: {escape(colour)}"><span>{escape(name)}</span>'
        f"<b>{escape(value)}</b>"
        + "".join(f"<small>{escape(line)}</small>" for line in lines if line)
        + "</div>"
        for name, value, lines, colour in items
    )
    return f'<div class="tiles">{inner}</div>'


def definitions(items: Iterable[tuple[str, str]]) -> str:
    """A list of terms and what they are."""
    pairs = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in items)
    return f"<dl>{pairs}</dl>"


def details(summary: str, parts: Iterable[str]) -> str:
    """A part that opens on a click, without a script."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>"
