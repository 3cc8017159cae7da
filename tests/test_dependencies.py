"""What the package imports is declared in setup.cfg, and the lower rooms import little."""

import ast
import configparser
import re
import sys

import pytest

from tests.test_walls import PACKAGE

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 10), reason='Python 3.9 has no list of the standard library'
)
CONFIG = configparser.ConfigParser()
CONFIG.read(PACKAGE.parent / 'setup.cfg')
# Import name to the distribution that brings it, where the names differ.
DISTRIBUTIONS = {
    'PIL': 'pillow',
    'imagecorruptions': 'imagecorruptions-imaug',
    'skimage': 'scikit-image',
    'sklearn': 'scikit-learn',
}
# mmcv brings OpenCV, in the build that suits the machine; jinja2 brings markupsafe.
BROUGHT = {'cv2': 'mmcv', 'markupsafe': 'jinja2'}
# Room to what it may import beside the standard library; the fewer, the lighter to use.
LIGHT = {
    'layers': {'torch'},
    'ops': {'torch', 'triton'},
    'paths.py': set(),
    'utils': {'numpy', 'packaging', 'tqdm'},
    'version.py': set(),
    'weights': {'h5py', 'numpy', 'torch'},
}


def foreign_imports(place):
    """Third-party packages that the files of a room import, inside functions too."""
    files = [place] if place.is_file() else sorted(place.rglob('*.py'))
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split('.')[0])
    return found - sys.stdlib_module_names


def declared(text):
    """Names of the distributions in a list of requirements."""
    return {
        re.match(r'[\w-]+', line)[0].lower()
        for line in text.splitlines()
        if line.strip() and not line.startswith('#')
    }


def test_what_is_imported_is_declared():
    extras = CONFIG['options.extras_require']
    known = declared(CONFIG['options']['install_requires']).union(*map(declared, extras.values()))
    imported = {
        DISTRIBUTIONS.get(name, BROUGHT.get(name, name)) for name in foreign_imports(PACKAGE)
    }
    assert 'torch' in imported and imported <= known


def test_both_stacks_bring_the_same_beside_openmmlabs_packages():
    extras = CONFIG['options.extras_require']
    official, fork = declared(extras['mmdet']), declared(extras['fork'])
    assert official - {'mmengine', 'mmcv', 'mmdet'} == {
        name for name in fork if not name.startswith('onedl-')
    }


@pytest.mark.parametrize('room', LIGHT)
def test_lower_rooms_import_little(room):
    assert foreign_imports(PACKAGE / room) <= LIGHT[room]
