"""The HTML page around a report: one file that asks the network for nothing."""

__all__ = ['PAGE']

# The policy makes a browser refuse whatever would be fetched, also what a later change brings in.
PAGE = '''<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --faint: #f3f4f6;
  --line: #d5d8dd; --quiet: #5b6068; --gain: #00694b; --loss: #a33a00; --warn: #fff4d6;
  --edge: #b98900; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e7e9; --paper: #17191c;
  --faint: #23262b; --line: #3a3f46; --quiet: #a3a9b3; --gain: #4fd1a5; --loss: #ff9d66;
  --warn: #3b3114; --edge: #d9a520; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; line-height: 1.25; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); }
p, figcaption { color: var(--quiet); font-size: .9rem; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal;
  font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { white-space: nowrap; }
td.short { white-space: nowrap; }
td.long { min-width: 14rem; overflow-wrap: anywhere; }
figure { margin: .75rem 0; }
img { width: 100%; max-width: 42rem; height: auto; background: #fff; border-radius: .4rem; }
pre { padding: .75rem; font-size: .8rem; background: var(--faint); border-radius: .4rem;
  overflow-x: auto; overflow-wrap: normal; }
summary { cursor: pointer; padding: .3rem 0; }
ul { padding-left: 1.2rem; }
li { margin: .3rem 0; }
.claims { list-style: none; padding: 0; }
.claims li { padding: .5rem .75rem; background: var(--faint); border-left: 4px solid var(--quiet);
  border-radius: .3rem; }
.claims .gain { border-color: var(--gain); }
.claims .loss { border-color: var(--loss); }
.warning { padding: .1rem .9rem; background: var(--warn); border-left: 4px solid var(--edge);
  border-radius: .3rem; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<main>
{%- macro items(texts) %}<ul>{% for text in texts %}<li>{{ text }}</li>{% endfor %}</ul>
{%- endmacro %}
{% for block in blocks %}
{%- if block.kind == 'heading' %}
<h2>{{ block.content }}</h2>
{%- elif block.kind == 'text' %}
<p>{{ block.content }}</p>
{%- elif block.kind == 'list' %}
{{ items(block.content) }}
{%- elif block.kind == 'warning' %}
<div class="warning" role="note"><strong>{{ block.title }}</strong>{{ items(block.content) }}</div>
{%- elif block.kind == 'claims' %}
<ul class="claims">
{%- for claim in block.content %}
<li class="{{ claim.verdict if claim.verdict in ('gain', 'loss') else 'open' }}">
{{- claim.sentence }}</li>
{%- endfor %}
</ul>
{%- elif block.kind == 'table' %}
<div class="scroll" tabindex="0"><table>
<thead>
<tr>{% for cell in block.content[0] %}<th scope="col">{{ cell }}</th>{% endfor %}</tr>
</thead>
<tbody>
{%- for row in block.content[1:] %}
<tr>{% for cell in row %}<td class="{{ 'long' if cell | length > 40 else 'short' }}">
{{- cell }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody>
</table></div>
{%- elif block.kind == 'picture' %}
<figure><img src="{{ pictures[block.content] }}" alt="{{ block.title }}">
<figcaption>{{ block.title }}.</figcaption></figure>
{%- elif block.kind == 'code' %}
<pre tabindex="0"><code>{{ block.content }}</code></pre>
{%- elif block.kind == 'details' %}
<details><summary>{{ block.title }}</summary><pre tabindex="0"><code>
{{- block.content }}</code></pre></details>
{%- endif %}
{%- endfor %}
</main>
</body>
</html>
'''
