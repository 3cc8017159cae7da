"""The packages are ordered: imports run downward only, and no files import each other in a cycle.

docs/design.md says what each package is for. A new package gets its place in ``FLOORS``.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'dn_mmdet'
# From the ground up. A room is a folder or a file; the longest name that fits decides.
FLOORS = [
    'version',
    'paths',
    'utils',
    'ops',
    'layers',
    'weights',
    'datasets',
    'backbones',
    'heads',
    'classification',
    'detection',
    'engine',
    'runs',
    'figures',
    'analysis',
    'benchmark',
    'deployment',
    'compare/statistics',
    'compare/groups',
    'compare/metrics',
    'compare/images',
    'compare/claims',
    'compare/comparison',
    'compare/report',
    'compare',
    'experiments',
    'registration',
    '',
]


def module_files() -> dict[str, Path]:
    """'layers.dnb' to its file; a package is its __init__.py."""
    files = {}
    for file in sorted(PACKAGE.rglob('*.py')):
        parts = file.relative_to(PACKAGE).with_suffix('').parts
        files['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = file
    return files


def imports_of(name: str, file: Path, known: set[str]) -> set[str]:
    """Modules of this package that a file imports anywhere in it, inside functions too."""
    package = ['dn_mmdet', *name.split('.')] if name else ['dn_mmdet']
    if file.name != '__init__.py':
        package.pop()
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = '.'.join([*above, *([node.module] if node.module else [])])
            targets = [f'{base}.{alias.name}' for alias in node.names]
        else:
            continue
        for target in targets:
            if target.split('.')[0] != 'dn_mmdet':
                continue
            inner = target.removeprefix('dn_mmdet').removeprefix('.')
            # A name that is no module is defined in the module before it.
            found.add(inner if inner in known else inner.rpartition('.')[0])
    return found - {name}


def floor_of(name: str) -> int:
    """Place in FLOORS of the room that a module is in."""
    path = name.replace('.', '/')
    fitting = [room for room in FLOORS if room and (path == room or path.startswith(f'{room}/'))]
    return FLOORS.index(max(fitting, key=len, default=''))


@pytest.fixture(scope='module')
def graph() -> dict[str, set[str]]:
    files = module_files()
    return {name: imports_of(name, file, set(files)) for name, file in files.items()}


def test_imports_run_downward_only(graph):
    upward = [
        f'{name} imports {other}'
        for name, others in graph.items()
        for other in sorted(others)
        if floor_of(other) > floor_of(name)
    ]
    assert not upward


def test_no_files_import_in_a_ring(graph):
    # A package's face hands on what its rooms define; within the package nobody goes through it.
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(' -> '.join(reversed(error.args[1])))


def test_every_room_has_a_floor(graph):
    rooms = {name.split('.')[0] for name in graph if name}
    lost = sorted(room for room in rooms if floor_of(room) == FLOORS.index(''))
    assert lost == [], 'give these rooms a place in FLOORS'


def test_the_graph_is_read_as_it_is(graph):
    assert 'ops.functional' in graph['layers.dnb']
    assert 'registration' in graph['']
    assert floor_of('compare.images.read') == FLOORS.index('compare/images')
    assert len(graph) > 100
