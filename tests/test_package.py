"""What is in the source distribution and in the wheel, and what they say of themselves.

Both are built as `python -m build` builds them, the wheel from the source distribution: that one
where torch is missing, and the wheel where a compiler is.
"""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from dn_mmdet import __version__
from dn_mmdet.utils.python_version import SUPPORTED_PYTHON

ROOT = Path(__file__).resolve().parents[1]
NAME = f'dn_mmdet-{__version__}'
# Read by a git host, by git and by CI alone.
NOT_SHIPPED = {'.ci/run', '.gitignore', '.pre-commit-config.yaml'}
DATA = ('.j2', '.css', '.txt')
BUILD = """
import sys
if sys.argv[1] == 'sdist':
    sys.modules['torch'] = None
from setuptools import build_meta
print(getattr(build_meta, f'build_{sys.argv[1]}')(sys.argv[2]))
"""


def tracked() -> set[str]:
    """Files of the repository; those that are deleted and not committed are left out."""
    listed = subprocess.run(
        ['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip('this is no git repository')
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


def build(what: str, tree: Path, out: Path) -> tuple[Path, str]:
    """The archive, and what was printed on the way."""
    done = subprocess.run(
        [sys.executable, '-c', BUILD, what, str(out)],
        cwd=tree,
        env={**os.environ, 'CC': '/nowhere/cc', 'CXX': '/nowhere/c++'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out / done.stdout.splitlines()[-1], done.stderr


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """The source distribution, and what its build printed."""
    # Before, archives and the metadata had other names.
    pytest.importorskip('setuptools', minversion='77')
    tree = tmp_path_factory.mktemp('tree')
    for name in tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    # What a used tree holds besides.
    (tree / 'checkpoints' / 'mine.pth').write_bytes(b'large')
    for place in ('dn_mmdet', 'configs', 'tools', 'tests'):
        (tree / place / '__pycache__').mkdir(exist_ok=True)
        (tree / place / '__pycache__' / 'x.cpython-311.pyc').touch()
    (tree / 'dn_mmdet/ops/backends/_cpp_2_13_0.so').touch()
    return build('sdist', tree, tmp_path_factory.mktemp('sdist'))


@pytest.fixture(scope='module')
def built(source, tmp_path_factory):
    """The wheel, and what its build printed."""
    folder = tmp_path_factory.mktemp('unpacked')
    with tarfile.open(source[0]) as archive:
        archive.extractall(folder)
    return build('wheel', folder / NAME, tmp_path_factory.mktemp('wheel'))


@pytest.fixture(scope='module')
def wheel(built):
    with ZipFile(built[0]) as archive:
        yield archive


def test_the_source_distribution_is_the_repository(source):
    path, told = source
    assert path.name == f'{NAME}.tar.gz'
    assert 'the C++ operators are not built: ' in told and 'torch' in told
    with tarfile.open(path) as archive:
        files = {file.name.removeprefix(f'{NAME}/') for file in archive if file.isfile()}
    made = {name for name in files if name == 'PKG-INFO' or 'egg-info' in name}
    assert files - made == tracked() - NOT_SHIPPED


def test_the_wheel_has_the_package_its_data_configurations_and_tools(wheel):
    names = set(wheel.namelist())
    files = tracked()
    package = {
        name for name in files if name.startswith('dn_mmdet/') and name.endswith(('.py', *DATA))
    }
    mim = {
        f'dn_mmdet/.mim/{name}'
        for name in files
        if name.startswith(('configs/', 'tools/'))
        or name in ('model-index.yml', 'checkpoints/README.md')
    }
    assert len(package) > 200 and len(mim) > 80
    about = {name for name in names if '.dist-info/' in name}
    assert names - about == package | mim
    assert f'{NAME}.dist-info/licenses/LICENSE' in about


def test_a_wheel_without_operators_is_for_every_machine_and_says_what_it_lacks(built, wheel):
    path, told = built
    assert path.name == f'{NAME}-py3-none-any.whl'
    assert 'Root-Is-Purelib: true' in wheel.read(f'{NAME}.dist-info/WHEEL').decode()
    assert re.search(r'dn_mmdet.ops.backends._cpp_.*failed: .*/nowhere/c\+\+', told)


def test_the_metadata(wheel):
    text = wheel.read(f'{NAME}.dist-info/METADATA').decode()
    found = email.message_from_string(text)
    assert (found['Name'], found['Version']) == ('dn-mmdet', __version__)
    assert set(found['Requires-Python'].split(',')) == set(SUPPORTED_PYTHON.split(','))
    assert found['License-Expression'] == 'Apache-2.0' and not found['License']
    assert found['Description-Content-Type'] == 'text/markdown'
    assert found.get_payload() == (ROOT / 'README.md').read_text()
    assert {'mmdet', 'fork', 'demo', 'onnx'} <= set(found.get_all('Provides-Extra'))
    # For torch alone, nothing else that is large.
    needed = {
        re.match(r'[\w-]+', text)[0]
        for text in found.get_all('Requires-Dist')
        if 'extra ==' not in text
    }
    assert needed == {'packaging', 'setuptools', 'torch'}


def test_configurations_and_tools_are_found_in_an_installed_package(wheel, tmp_path):
    wheel.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, tmp_path / 'dn_mmdet/paths.py', 'tools'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    folder = tmp_path / 'dn_mmdet/.mim'
    assert Path(done.stdout.strip()) == folder / 'tools'
    index = yaml.safe_load((folder / 'model-index.yml').read_text())
    assert all((folder / file).is_file() for file in index['Import'])
    # A shell script is called by its name.
    with zipfile.ZipFile(wheel.filename) as archive:
        mode = archive.getinfo('dn_mmdet/.mim/tools/dist_train.sh').external_attr >> 16
    assert mode & 0o100


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['cff-version'] == '1.2.0' and citation['version'] == __version__
    assert {'message', 'title', 'authors'} <= set(citation)
    authors = [author['family-names'] for author in citation['preferred-citation']['authors']]
    assert authors == ['Liu', 'Gao', 'Lv']
