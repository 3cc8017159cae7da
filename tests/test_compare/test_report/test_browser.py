"""The report in a browser: complete without a network, readable on a phone and at a desk."""

import io
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from dn_mmdet.compare import compare_runs
from dn_mmdet.compare.report.blocks import Block
from dn_mmdet.compare.report.html import render_html
from tests.helpers.work_folders import BN, DNB, start_of

FLAGS = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-sync',
    '--disable-background-networking',
    '--disable-component-update',
]
AUDIT = Path(__file__).with_name('audit.js').read_text()
FOLD = "open => document.querySelectorAll('details').forEach(part => part.open = open)"
PHONE, DESKTOP, SHEET, HEIGHT = 390, 1440, 700, 850
CONFIG = 'main details > pre'
NORMS = {
    'bn': BN,
    'dnb': DNB,
    'g1': "dict(eps=0.001, g=1, r=16, type='DNB')",
    'gn': "dict(eps=0.001, num_groups=8, type='GN')",
}


@pytest.fixture(scope='module')
def browser():
    sync_api = pytest.importorskip(
        'playwright.sync_api', reason='playwright is not installed: pip install playwright'
    )
    program = next(
        filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None
    )
    if program is None:
        pytest.skip('no Chromium was found: apt-get install chromium')
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def report(tmp_path_factory):
    """Eight groups of three seeds, one of them dead, runs that are left out, thirty classes."""
    root = tmp_path_factory.mktemp('report')
    folders = []
    for i, (name, norm) in enumerate(NORMS.items()):
        for rate in (0.05, 0.2):
            for seed in range(3):
                last = 0.4 + 0.02 * i - rate / 2 + 0.003 * seed
                dead = (name, rate, seed) == ('gn', 0.2, 2)
                folders.append(
                    start_of(
                        root / f'{name}_lr{rate}_seed{seed}',
                        [0.1] if dead else [0.1, 0.2, last],
                        seed=seed,
                        norm=norm,
                        lr=rate,
                        log_tail='the loss is nan\n' if dead else '',
                        checkpoint=f'work_dirs/{name}_seed{seed}/epoch_3.pth',
                        extra={f'coco/class{j}_precision': last + j / 100 for j in range(30)},
                    )
                )
    folders += [
        start_of(
            root / f'unfinished_run_of_some_length_{i}',
            [0.1],
            seed=10 + i,
            checkpoint=f'work_dirs/bn_seed{10 + i}/epoch_3.pth',
        )
        for i in range(12)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys.modules['dn_mmdet.compare.run'],
            'count_sizes',
            lambda groups: ({}, ['nothing was counted']),
        )
        compare_runs(folders, root / 'out')
    return root / 'out/compare.html'


@pytest.fixture(scope='module')
def extreme(tmp_path_factory):
    """Every kind of block, with texts and pictures that are longer and wider than any page."""
    long = 'a/very_long/path.of/' * 20
    pictures = {}
    for name, size in (('wide', (1300, 300)), ('tall', (300, 900)), ('curve', (960, 600))):
        data = io.BytesIO()
        Image.new('RGB', size, 'teal').save(data, 'PNG')
        pictures[name] = data.getvalue()
    rows = [
        ['setting', 'first', '', 'value'],
        *([f'{long}{i}', 'x' * 200, 'x ' * 100, f'{i}.5 ± 0.1 (NaN in 1 of 2)'] for i in range(30)),
    ]
    blocks = [
        Block('heading', 'Part'),
        Block('warning', [long, 'x' * 300], 'Warning'),
        Block('text', long),
        Block('heading', 'Part'),
        Block('list', [long] * 20),
        Block('table', rows[:4]),
        Block('heading', '?'),
        Block('table', rows),
        *(Block('picture', name, f'a picture that is {name}') for name in pictures),
        Block('code', f'python {long} --cfg-options {long}\n' * 3),
        Block('details', f'{"x = 1  # " * 200}\n' * 30, f'BN: {long}'),
    ]
    path = tmp_path_factory.mktemp('extreme') / 'page.html'
    path.write_text(render_html(f'{long}, {"y" * 200}', blocks, pictures))
    return path


@pytest.fixture(scope='module')
def context(browser):
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture(scope='module')
def pages():
    return {}


@pytest.fixture
def show(context, pages):
    """Load a page once, and fold it; what it asked for and complained of is in ``heard``."""

    def open_page(path, width=PHONE, scheme='light', media='screen'):
        if path not in pages:
            pages[path] = _load(context.new_page(), path)
        page = pages[path]
        page.set_viewport_size(dict(width=width, height=HEIGHT))
        page.emulate_media(color_scheme=scheme, media=media)
        page.evaluate(FOLD, False)
        page.evaluate('() => scrollTo(0, 0)')
        return page

    return open_page


def _load(page, path):
    page.heard = []

    def answer(route):
        if route.request.url == path.as_uri():
            route.continue_()
        else:
            page.heard.append(f'asked for {route.request.url}')
            route.abort()

    page.route('**/*', answer)
    page.on('console', lambda message: page.heard.append(f'{message.type}: {message.text}'))
    page.on('pageerror', lambda error: page.heard.append(f'error: {error}'))
    page.goto(path.as_uri())
    page.opened = page.locator('details[open]').count()
    return page


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [PHONE, DESKTOP])
@pytest.mark.parametrize('name', ['report', 'extreme'])
def test_it_is_readable_and_asks_for_nothing(name, width, scheme, show, request):
    page = show(request.getfixturevalue(name), width, scheme)
    page.evaluate(FOLD, True)
    assert page.evaluate(AUDIT) == []
    dark = page.evaluate('getComputedStyle(document.body).backgroundColor') != 'rgb(255, 255, 255)'
    assert dark == (scheme == 'dark')
    assert page.heard == []


def test_a_page_that_asks_for_something_is_caught(extreme, show, tmp_path):
    path = tmp_path / 'page.html'
    text = extreme.read_text().replace('</main>', '<img src="https://example.org/x.png"></main>')
    path.write_text(text)
    (refused,) = show(path).heard
    assert 'Content Security Policy' in refused
    other = tmp_path / 'other.html'
    other.write_text(text.replace('Content-Security-Policy', 'x'))
    assert 'asked for https://example.org/x.png' in show(other).heard


def test_what_may_be_said_comes_first_and_the_rest_is_folded(report, show):
    page = show(report)

    def top(selector):
        return page.locator(selector).first.bounding_box()['y']

    assert top('.claims li') < HEIGHT / 2
    assert top('.claims') < top('table') < top('img')
    assert page.opened == 0 and not page.locator(CONFIG).first.is_visible()
    classes = page.locator('details.rows')
    assert classes.locator('summary').inner_text() == '30 rows'
    page.locator('nav summary').press('Enter')
    page.locator('nav a[href="#training-loss"]').press('Enter')
    assert page.url.endswith('#training-loss')
    assert 0 <= page.locator('#training-loss').bounding_box()['y'] < HEIGHT


def test_figures_stand_below_each_other(report, show):
    page = show(report, DESKTOP)
    table = page.locator('h2:text-is("mAP of every seed") + .scroll tbody')
    style = 'node => [getComputedStyle(node).textAlign, getComputedStyle(node).fontVariantNumeric]'
    for row in range(1, 3):
        align, figures = table.locator(f'tr:nth-child({row}) td').first.evaluate(style)
        assert align == 'right' and 'tabular-nums' in figures
    ends = {
        table.locator(f'tr:nth-child({row}) td:nth-child(2)').evaluate(
            'node => { const r = document.createRange(); r.selectNodeContents(node);'
            ' return r.getBoundingClientRect().right }'
        )
        for row in range(1, 4)
    }
    assert len(ends) == 1
    assert table.locator('th[scope=row]').count() == table.locator('tr').count()


def test_nothing_is_cut_off_on_paper(report, show):
    page = show(report, SHEET, media='print')
    cut = page.evaluate("""() => [...document.querySelectorAll('.scroll, pre')].filter(
        part => part.scrollWidth > part.clientWidth + 1).map(part => part.textContent)""")
    assert cut == []
    # Folded rows are printed, folded configurations are not.
    assert page.locator('details.rows tr').last.evaluate('row => row.checkVisibility()')
    assert not page.locator(CONFIG).first.is_visible()
