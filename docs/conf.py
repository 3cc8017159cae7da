"""How Sphinx makes the documentation site: `make docs`.

Its source is the repository itself, so a relative link leads to the same place on the site as on a
code host, and Sphinx says which ones lead nowhere.
"""

from __future__ import annotations

import sys
from operator import attrgetter
from typing import TYPE_CHECKING

from dn_mmdet.version import __version__

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.application import Sphinx

# Page to what the site lists below it, in the order in which a newcomer reads. The pages themselves
# are read on code hosts too, and stay free of Sphinx's words.
CONTENTS = {
    'README': {
        'Start': ['/docs/install', '/docs/stacks', '/docs/first-run'],
        'Train': [
            '/docs/usage',
            '/docs/own-data',
            '/docs/checks',
            '/docs/reliability',
            '/docs/detectors',
            '/docs/weights',
        ],
        'Look and deploy': ['/docs/analysis', '/docs/deployment'],
        'Understand': [
            '/docs/layers',
            '/docs/method',
            '/docs/operator',
            '/docs/performance',
            '/docs/results/README',
        ],
        'API': ['/docs/api/layers', '/docs/api/ops', '/docs/api/training', '/docs/api/deployment'],
        'Project': ['/docs/design', '/CONTRIBUTING', '/CHANGELOG'],
    },
    'docs/usage': {
        'Configurations': ['/checkpoints/README', '/configs/imagenet100/README'],
    },
    'docs/own-data': {'Examples': ['/configs/bccd/README']},
    'docs/results/README': {
        'Results': [
            '/docs/results/detection',
            '/docs/results/ablations',
            'The report as generated </docs/results/compare/compare>',
            '/docs/results/compare/detectors',
            '/docs/results/benchmark/benchmark',
            '/docs/results/benchmark/growth',
            '/docs/results/bccd',
        ]
    },
}

project = 'dn_mmdet'
release = version = __version__
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
root_doc = 'README'
include_patterns = ['*.md', 'checkpoints/*.md', 'configs/**/*.md', 'docs/**']
exclude_patterns = ['.*', 'build', 'data', 'dn_mmdet', 'site', 'tests', 'tools', 'work_dirs']
# Names of other packages cannot be looked up offline; see `keep_name` for those of this one.
nitpicky = True
nitpick_ignore_regex = [('py:.*', r'(mmcv|mmdet|mmengine)\..*|Path|Tensor')]

myst_heading_anchors = 3
highlight_language = 'none'
# Quotation marks are those of code.
smartquotes = False
# Types are in the docstrings, with shapes.
autodoc_typehints = 'none'
autodoc_member_order = 'bysource'
napoleon_use_param = False
napoleon_use_rtype = False

html_theme = 'furo'
html_title = f'dn_mmdet {release}'
html_extra_path = ['site']
html_copy_source = False
html_show_copyright = False


def add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Append to a page what the site lists below it."""
    for caption, pages in CONTENTS.get(page, {}).items():
        lines = ['```{toctree}', ':hidden:', f':caption: {caption}', '', *pages, '```']
        source[0] += '\n' + '\n'.join(lines) + '\n'


def skip_fields(app: Sphinx, kind: str, name: str, item: object, *rest: object) -> bool | None:
    """Leave out fields of named tuples, which the docstring of the class tells."""
    return True if type(item).__name__ == '_tuplegetter' else None


def keep_name(app: Sphinx, env: object, node: Element, text: Element) -> Element | None:
    """Leave a name as text where the package has it and the site has not."""
    if node.get('refdomain') != 'py':
        return None
    name = attrgetter(node['reftarget'].lstrip('.').removeprefix('dn_mmdet.'))
    for module in [m for key, m in sys.modules.items() if key.partition('.')[0] == 'dn_mmdet']:
        try:
            name(module)
        except AttributeError:
            continue
        return text
    return None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect('missing-reference', keep_name)
    app.connect('autodoc-skip-member', skip_fields)
    app.connect('source-read', add_contents)
