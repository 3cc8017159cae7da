"""A report as one HTML file."""

import base64
import re
import struct
from collections.abc import Mapping, Sequence

from jinja2 import Environment, StrictUndefined  # torch brings it along
from markupsafe import Markup, escape

from .blocks import Block

__all__ = ['PAGE', 'STYLE', 'render_html']


VERDICTS = {'gain': 'Gain', 'loss': 'Loss', 'not shown': 'Not shown', 'nothing': 'No claim'}


# A cell of figures, with unit, spread or interval, and what stands where there is none.
NUMBER = re.compile(r'[-+]?\d[^A-Za-z]{0,24}([MGKx]|to [-+\d.]+)?( \(.*\))?|NaN.*|-|not logged|')


STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --faint: #f3f4f6;
  --line: #d5d8dd; --quiet: #5b6068; --gain: #00694b; --loss: #a33a00; --warn: #fff4d6;
  --edge: #b98900; --link: #0b57a4; --shade: rgb(0 0 0 / .22); }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e7e9; --paper: #17191c;
  --faint: #23262b; --line: #3a3f46; --quiet: #a3a9b3; --gain: #4fd1a5; --loss: #ff9d66;
  --warn: #3b3114; --edge: #d9a520; --link: #8ab8f0; --shade: rgb(255 255 255 / .22); } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
  -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
h1 { margin: .25rem 0 .5rem; font-size: 1.4rem; line-height: 1.25; }
h1.long { font-size: 1.15rem; }
h2 { margin: 2rem 0 .5rem; font-size: 1.15rem; border-bottom: 1px solid var(--line); }
a { color: var(--link); }
p, figcaption { max-width: 44rem; color: var(--quiet); font-size: .9rem; }
ul { max-width: 62rem; padding-left: 1.2rem; }
li { margin: .3rem 0; }
.whole { white-space: nowrap; }
summary { padding: .35rem 0; cursor: pointer; }
.contents { font-size: .95rem; }
.contents ul { margin: 0; columns: 17rem; list-style: none; padding: 0; }
.contents li { margin: 0; break-inside: avoid; }
.contents a { display: block; padding: .3rem 0; }

.claims { padding: 0; list-style: none; }
.claims li { margin: .5rem 0; padding: .5rem .75rem; background: var(--faint);
  border-left: 4px solid var(--quiet); border-radius: .3rem; }
.claims .gain { border-color: var(--gain); }
.claims .loss { border-color: var(--loss); }
.claims .gain strong { color: var(--gain); }
.claims .loss strong { color: var(--loss); }
.warning { padding: .4rem .9rem; background: var(--warn); border-left: 4px solid var(--edge);
  border-radius: .3rem; }

/* A table scrolls in a container of its own; a shade at its edge says that there is more. */
.scroll { margin: .75rem 0; overflow-x: auto; background:
  linear-gradient(to right, var(--paper) 30%, transparent) left / 2rem 100% local,
  linear-gradient(to left, var(--paper) 30%, transparent) right / 2rem 100% local,
  linear-gradient(to right, var(--shade), transparent) left / .6rem 100% scroll,
  linear-gradient(to left, var(--shade), transparent) right / .6rem 100% scroll;
  background-repeat: no-repeat; }
table { border-collapse: separate; border-spacing: 0; overflow-wrap: normal; font-size: .9rem;
  font-variant-numeric: tabular-nums lining-nums; }
th, td { padding: .35rem .9rem .35rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
thead th, thead td { vertical-align: bottom; border-bottom-color: var(--quiet); }
tbody th { font-weight: 400; }
th:last-child, td:last-child { padding-right: .25rem; }
.short { white-space: nowrap; }
.long { min-width: 14rem; overflow-wrap: anywhere; }
.head { min-width: 7.5rem; }
.number { text-align: right; white-space: nowrap; }
.number small { display: block; font-size: .8em; color: var(--quiet); }
/* Names of rows stay in sight while their figures are scrolled, and leave these room. */
th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper); }
tbody th div { width: max-content; max-width: 20rem; }
@media (max-width: 40rem) { tbody th div { max-width: 8.5rem; } .long { min-width: 11rem; } }

figure { margin: .75rem 0; }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: .4rem; }
img.curve { max-width: min(100%, 34rem); }
figcaption { margin-top: .35rem; }
pre { padding: .75rem; overflow-x: auto; overflow-wrap: normal; font-size: .8rem;
  background: var(--faint); border-radius: .4rem; }
/* A command is wrapped, its further lines set in, and is still one line when it is copied. */
pre.commands { white-space: pre-wrap; overflow-wrap: anywhere; }
.commands code > span { display: block; padding-left: 1.5em; text-indent: -1.5em; }
.commands code > span + span { margin-top: .5em; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }

@media print {
  body { max-width: none; padding: 0; }
  h2 { break-after: avoid; }
  tr, li, figure { break-inside: avoid; }
  .contents { display: none; }
  .scroll, pre { overflow: visible; background: none; }
  table { font-size: .7rem; }
  th, td, .short, .number { min-width: 0; padding-right: .5rem; white-space: normal;
    overflow-wrap: anywhere; }
  th:first-child, td:first-child { position: static; }
  tbody th div { width: auto; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  details.rows::details-content { content-visibility: visible; }
}
"""


# The policy makes a browser refuse whatever would be fetched, also what a later change brings in.
PAGE = (
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{{ title }}</title>
<style>"""
    + STYLE
    + """</style>
</head>
<body>
<h1{% if title | length > 100 %} class="long"{% endif %}>{{ title | breakable }}</h1>
<main>
{%- macro items(texts) %}<ul>{% for text in texts %}<li>{{ text | breakable }}</li>{% endfor %}</ul>
{%- endmacro %}
{%- macro table(rows, name) %}{% set columns = rows | columns %}
<div class="scroll" tabindex="0" role="region" aria-label="{{ name }}"><table>
<thead>
<tr>{% for cell in rows[0] %}{% set kind = columns[loop.index0] %}
{%- if cell %}<th scope="col" class="
{{- kind }} {{ 'head' if cell | length > 16 else 'short' }}">{{ cell }}</th>
{%- else %}<td></td>{% endif %}{% endfor %}</tr>
</thead>
<tbody>
{%- for row in rows[1:] %}
<tr>{% for cell in row %}
{%- if loop.first %}<th scope="row"><div>{{ cell | breakable }}</div></th>
{%- elif columns[loop.index0] %}<td class="number">{{ cell | figures }}</td>
{%- elif cell | length > 24 %}<td class="long">{{ cell | breakable }}</td>
{%- else %}<td class="short">{{ cell }}</td>{% endif %}{% endfor %}</tr>
{%- endfor %}
</tbody>
</table></div>
{%- endmacro %}
<nav class="contents" aria-label="Contents"><details><summary>Contents</summary><ul>
{%- for anchor, heading in anchors.values() %}<li><a href="#{{ anchor }}">{{ heading }}</a></li>
{%- endfor %}</ul></details></nav>
{%- set last = namespace(heading='') %}
{% for block in blocks %}
{%- if block.kind == 'heading' %}
{%- set last.heading = block.content %}
<h2 id="{{ anchors[loop.index0][0] }}">{{ block.content | breakable }}</h2>
{%- elif block.kind == 'text' %}
<p>{{ block.content | breakable }}</p>
{%- elif block.kind == 'list' %}
{{ items(block.content[:8]) }}
{%- if block.content | length > 8 %}
<details><summary>{{ block.content | length - 8 }} more</summary>
{{- items(block.content[8:]) }}</details>
{%- endif %}
{%- elif block.kind == 'warning' %}
<div class="warning" role="note"><strong>{{ block.title }}</strong>{{ items(block.content) }}</div>
{%- elif block.kind == 'claims' %}
<ul class="claims">
{%- for claim in block.content %}
<li class="{{ claim.verdict if claim.verdict in ('gain', 'loss') else 'open' }}"><strong>
{{- verdicts.get(claim.verdict, claim.verdict) }}.</strong> {{ claim.sentence | breakable }}</li>
{%- endfor %}
</ul>
{%- elif block.kind == 'table' and block.content | length > 26 %}
<details class="rows"><summary>{{ block.content | length - 1 }} rows</summary>
{{- table(block.content, last.heading) }}</details>
{%- elif block.kind == 'table' %}
{{ table(block.content, last.heading) }}
{%- elif block.kind == 'picture' %}
{%- set picture = pictures[block.content] %}
<figure><img src="{{ picture.url }}" alt="{{ block.title }}" width="{{ picture.width }}" height="
{{- picture.height }}"{% if picture.height < picture.width <= 1000 %} class="curve"{% endif %}>
<figcaption>{{ block.title | breakable }}.</figcaption></figure>
{%- elif block.kind == 'code' %}
<pre class="commands" tabindex="0"><code>{% for line in block.content.splitlines() %}<span>
{{- line | options }}
</span>{% endfor %}</code></pre>
{%- elif block.kind == 'details' %}
<details><summary>{{ block.title | breakable }}</summary><pre tabindex="0"><code>
{{- block.content }}</code></pre></details>
{%- endif %}
{%- endfor %}
</main>
</body>
</html>
"""
)


def render_html(title: str, blocks: Sequence[Block], pictures: Mapping[str, bytes]) -> str:
    """Every text is escaped, pictures are part of the file.

    Args:
        title (str): of the page.
        blocks (Sequence[Block]): its pieces.
        pictures (Mapping[str, bytes]): file name to a PNG.

    Returns:
        str: the page.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters.update(
        breakable=_breakable, columns=_columns, figures=_figures, options=_options
    )
    page = environment.from_string(PAGE)
    return (
        page.render(
            title=title,
            blocks=blocks,
            verdicts=VERDICTS,
            anchors=_anchors(blocks),
            pictures={name: _picture(data) for name, data in pictures.items()},
        )
        + '\n'
    )


def _picture(data):
    # The size stands at a fixed place in a PNG; known beforehand, no text moves while it loads.
    width, height = struct.unpack('>II', data[16:24])
    return dict(
        url=f'data:image/png;base64,{base64.b64encode(data).decode()}', width=width, height=height
    )


def _anchors(blocks):
    """Place of a heading to its anchor and text; equal headings get anchors of their own."""
    anchors = {}
    for place, block in enumerate(blocks):
        if block.kind == 'heading':
            name = re.sub(r'\W+', '-', block.content.lower()).strip('-') or 'part'
            taken = {anchor for anchor, _ in anchors.values()}
            anchors[place] = (f'{name}-{place}' if name in taken else name), block.content
    return anchors


def _breakable(text):
    """The text, escaped, which may be broken within a path or a dotted key but not in DN-B."""
    parts = re.split(r'(?<=\w[/._])(?=[A-Za-z]\w)|(?<=/)(?=\d)', text)
    return Markup('<wbr>').join(_whole(part, r'\bDN-\w') for part in parts)


def _options(text):
    """A command, escaped, none of whose options is broken at a hyphen."""
    return _whole(text, r'(?<!\S)--[\w-]+')


def _figures(text):
    """Figures, escaped, and what is said of them in brackets on a line of its own."""
    number, bracket, rest = text.partition(' (')
    return (
        escape(number) + Markup('<small>{}</small>').format(bracket[1:] + rest)
        if (bracket and number)
        else escape(text)
    )


def _whole(text, pattern):
    """The text, escaped, which is not broken where it matches."""
    parts = re.split(f'({pattern})', text)
    return Markup('').join(
        Markup('<span class="whole">{}</span>').format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )


def _columns(rows):
    """A class for each column: those of figures are aligned by their last digit."""
    return [
        'number'
        if place
        and any(cell[-1:].isdigit() or cell[:1].isdigit() for cell in cells)
        and all(NUMBER.fullmatch(cell) for cell in cells)
        else ''
        for place, (_, *cells) in enumerate(zip(*rows, strict=True))
    ]
