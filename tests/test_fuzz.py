"""Readers of files from elsewhere, with input that nobody would write: only errors of our own.

A few hundred inputs each; ``DN_MMDET_FUZZ=100000`` in the environment makes that many.
"""

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dn_mmdet.datasets.files.coco import annotation_problems, load_annotations
from dn_mmdet.datasets.files.coco_lookalikes import lookalike
from dn_mmdet.datasets.files.image_list import read_image_list
from dn_mmdet.datasets.files.voc import read_image_ids, read_xml_files
from dn_mmdet.engine.checkpoint_file import damage, meta_of, read_checkpoint, state_dict_of
from dn_mmdet.engine.config_text import evaluation_data, portable_config
from dn_mmdet.runs.config import effective, literal_config, parse_config
from dn_mmdet.runs.log import died_of_nan, read_environment, read_revisions, read_run_log
from dn_mmdet.runs.publish import publish
from dn_mmdet.utils.errors import UserError

fuzz = settings(
    max_examples=int(os.environ.get('DN_MMDET_FUZZ', 200)),
    deadline=None,
    # A machine that is busy is no fault of the reader.
    suppress_health_check=list(HealthCheck),
    database=None,
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(['images', '../../x.jpg', '/etc/passwd', '\0', '-1', '1e999', '\ud800']),
)


def nested(*keys):
    """Lists and dicts of anything, whose keys are more often than not those that are looked for."""
    names = st.sampled_from(keys) | st.text(max_size=4)
    return st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6),
        max_leaves=8,  # what is drawn costs more than reading it
    )


@pytest.fixture(scope='module')
def folder():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


ENTRY = ('id', 'file_name', 'height', 'width', 'image_id', 'category_id', 'bbox', 'area', 'name')
VALUE = LEAVES | st.lists(LEAVES, max_size=5) | nested(*ENTRY)
ENTRIES = st.lists(st.dictionaries(st.sampled_from(ENTRY), VALUE, max_size=6), max_size=3)
COCO = st.fixed_dictionaries(dict.fromkeys(('images', 'annotations', 'categories'), ENTRIES))


@fuzz
@given(COCO | nested('images', 'annotations', 'categories', *ENTRY), st.booleans())
def test_coco(folder, content, flag):
    file = folder / 'coco.json'
    file.write_text(json.dumps(content), errors='surrogatepass')
    try:
        content = load_annotations(str(file), 'ann_file')
    except UserError:
        return
    assert all(text for _, text in annotation_problems(content, 'coco.json', flag, not flag))
    lookalike(content)


@fuzz
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode('utf-16')))
def test_files_of_bytes(folder, data):
    file = folder / 'bytes'
    file.write_bytes(data)
    for read in (
        lambda: list(annotation_problems(load_annotations(str(file), 'a'), 'a')),
        lambda: read_image_list(str(file), dict(classes=['cat'])),
        lambda: read_image_ids(str(file), 'a'),
        lambda: read_checkpoint(str(file), 'a'),
    ):
        with suppress(UserError):
            read()
    damage(str(file))


LINES = st.lists(
    st.text(max_size=20) | st.builds('{} {}'.format, st.text(max_size=8), st.integers()), max_size=5
)


@fuzz
@given(LINES, st.none() | st.lists(st.text(max_size=4), max_size=3))
def test_image_lists(folder, lines, classes):
    (folder / 'list.txt').write_text('\n'.join(lines), errors='replace')
    with suppress(UserError):
        read_image_list(str(folder / 'list.txt'), dict(classes=classes))


TAGS = ('annotation', 'size', 'width', 'height', 'object', 'name', 'bndbox', 'xmin', 'ymax', 'part')


def xml(tag, inner):
    return f'<{tag}>{"".join(inner) if isinstance(inner, list) else inner}</{tag}>'


TREE = st.recursive(
    st.text(alphabet='0123456789.-eNaIf &<;x', max_size=6),
    lambda inner: st.builds(xml, st.sampled_from(TAGS), st.lists(inner, max_size=4) | inner),
    max_leaves=20,
)


@fuzz
@given(st.builds(xml, st.just('annotation'), TREE) | TREE, st.text(max_size=6))
def test_voc(folder, tree, name):
    (folder / 'a.xml').write_text(tree, errors='replace')
    read_xml_files('list.txt', ['a', name], str(folder))


ROW = st.dictionaries(
    st.sampled_from(['iter', 'step', 'epoch', 'loss', 'coco/bbox_mAP']), nested('iter', 'step')
)
TEXT_LINES = st.sampled_from(
    ['System environment:', '-----', '    seed: 3', 'loss is nan', ' git revision: abc-dirty']
)


@fuzz
@given(st.lists(ROW.map(json.dumps) | st.text(max_size=30), max_size=6), st.lists(TEXT_LINES))
def test_logs(folder, rows, lines):
    start = folder / 'run/20260101_000000'
    (start / 'vis_data').mkdir(parents=True, exist_ok=True)
    (start / 'vis_data/scalars.json').write_text('\n'.join(rows), errors='replace')
    (start / 'a.log').write_text('\n'.join(lines))
    log = read_run_log(folder / 'run')
    log.curve('coco/bbox_mAP')
    read_environment(start)
    read_revisions([start])
    died_of_nan(folder / 'run', start)


PYTHON = st.recursive(
    LEAVES.map(repr) | st.sampled_from(['x', 'open("hacked", "w")', '[' * 300, '1' + '+1' * 3000]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: f'[{", ".join(parts)}]'),
        st.lists(inner, max_size=3).map(lambda parts: f'({", ".join(parts)},)'),
        st.builds('{{{}: {}}}'.format, inner, inner),
        st.builds('dict({}={})'.format, st.sampled_from(['type', 'dataset', 'ann_file']), inner),
        st.builds('dict({{{}: {}}})'.format, inner, inner),
        st.builds('{{{}}}'.format, inner),
        st.builds('-{}'.format, inner),
    ),
    max_leaves=10,
)
NAMES = ('model', 'val_dataloader', 'randomness', 'custom_imports', 'default_hooks', 'custom_hooks')
STATEMENT = st.builds('{} = {}'.format, st.sampled_from(NAMES), PYTHON) | st.text(max_size=20)


@fuzz
@given(st.lists(STATEMENT, max_size=4).map('\n'.join))
def test_config_texts(folder, text):
    portable_config(text)
    evaluation_data(text)
    with suppress(SyntaxError):
        effective(parse_config(text))
    with suppress(UserError):
        (folder / 'config.py').write_text(text, errors='replace')
        literal_config(text, folder / 'config.py')
    assert not Path('hacked').exists()


META = nested('epoch', 'iter', 'seed', 'cfg', 'dataset_meta', 'classes', 'mmengine_version')
HUB = nested('runtime_info', 'loop_stage', 'log_scalars', 'val/mAP')


@fuzz
@given(META, HUB, nested('state_dict', 'a'), st.booleans())
def test_metadata_of_checkpoints(folder, meta, hub, state, whole):
    file = folder / 'checkpoint.pth'
    state = {'a': torch.ones(1)} if whole else state
    torch.save(dict(state_dict=state, meta=meta, message_hub=hub), file)
    content = read_checkpoint(str(file), 'a')
    meta_of(content)
    with suppress(UserError):
        state_dict_of(content, 'a')
        publish(str(file), out=str(folder / 'published'))
