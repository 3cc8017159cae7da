"""The style of a report's page: read on a phone and on a desktop, in light and dark, on paper."""

__all__ = ['STYLE']

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
