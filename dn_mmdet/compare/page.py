"""The HTML page around a report: one file that asks the network for nothing."""

from .page_style import STYLE

__all__ = ['PAGE']

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
