"""Pages: their links lead somewhere, the site has them all, and what makes it is pinned."""

import ast
import configparser
import re

import pytest

from tests.helpers.pages import PAGES, ROOT, name_of

CONF = ast.parse((ROOT / 'docs/conf.py').read_text())


def anchors(page):
    """The names that a page's headings have on a code host."""
    headings = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', text.lower()).replace(' ', '-') for text in headings}


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for link in re.findall(r'\]\(([^)\s]+)\)', page.read_text()):
        if re.match(r'\w+:', link):
            continue
        path, _, anchor = link.partition('#')
        target = page.parent / path if path else page
        # The site has no page for a folder.
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_the_site_has_every_page_once():
    (contents,) = (
        ast.literal_eval(node.value)
        for node in CONF.body
        if isinstance(node, ast.Assign) and node.targets[0].id == 'CONTENTS'
    )
    listed = [page for below in contents.values() for pages in below.values() for page in pages]
    listed = [re.sub(r'.*<(.*)>', r'\1', page) for page in listed]
    pages = [*PAGES, *ROOT.glob('docs/**/*.rst')]
    there = {f'/{page.relative_to(ROOT).with_suffix("")}' for page in pages}
    assert sorted(listed) == sorted(there - {'/README'})
    assert set(contents) <= {page.lstrip('/') for page in there}


def test_what_makes_the_site_is_pinned():
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    wanted = config['options.extras_require']['docs'].split()
    pins = re.findall(r'^([\w-]+)==[\d.]+$', (ROOT / 'requirements/docs.txt').read_text(), re.M)
    assert pins == wanted
