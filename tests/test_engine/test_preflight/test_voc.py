"""Data sets in Pascal VOC's XML: what is wrong is told as it is of COCO files."""

import json

import pytest
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import DATASETS

import dn_mmdet  # noqa: F401
from dn_mmdet.detection import use_sound_boxes
from dn_mmdet.engine.preflight import PlannedRun
from dn_mmdet.engine.preflight.data import check_dataset
from dn_mmdet.engine.preflight.registries import config_scope
from dn_mmdet.utils.errors import UserError
from tests.helpers.bccd import BCCD, NEEDS_BCCD
from tests.helpers.layouts import write_layout

register_all_modules()

LIST = 'ImageSets/Main/train.txt'
BOX = '<xmin>3</xmin><ymin>5</ymin><xmax>16</xmax><ymax>18</ymax>'  # of the cat in train_0
CAT = f'<object><name>cat</name><bndbox>{BOX.replace(">16<", ">19<")}</bndbox></object>'
TEST_PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64)),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape', 'scale_factor', 'instances')),
]


@pytest.fixture
def root(tmp_path):
    write_layout('voc', tmp_path, images=4)
    return tmp_path / 'data/my_data'


def planned(root, part='train', survey=False, evaluator=None, **options):
    split = 'train' if part == 'train' else 'val'
    dataset = (
        dict(
            type='XMLDataset',
            data_root=f'{root}/',
            ann_file=f'ImageSets/Main/{split}.txt',
            data_prefix=dict(sub_data_root=''),
            metainfo=dict(classes=('cat', 'dog')),
            test_mode=part != 'train',
            pipeline=TEST_PIPELINE,
        )
        | options
    )
    cfg = Config(
        {
            'default_scope': 'mmdet',
            'preflight': dataset.pop('preflight', {}),
            f'{part}_dataloader': dict(dataset=dataset),
            f'{part}_evaluator': evaluator or dict(type='CocoMetric', ann_file=None),
        }
    )
    return PlannedRun(cfg, 'train', survey=survey, parts=(part,))


def check(root, part='train', **options):
    """The run behind the check, and what the check found."""
    run = planned(root, part, **options)
    with config_scope(run.cfg):
        (data,) = run.datasets()
        with run.going_on():
            return run, check_dataset(data)
    return run, None


def mmdets(root, part='train', **options):
    """The same data set as mmdet reads it in a run."""
    use_sound_boxes()
    run = planned(root, part, **options)
    with config_scope(run.cfg):
        (data,) = run.datasets()
        return DATASETS.build(data.cfg)


def change(root, old, new, number=0, split='train'):
    path = root / f'Annotations/{split}_{number}.xml'
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize('part', ['train', 'val'])
def test_a_sound_data_set_passes(root, part):
    run, content = check(root, part, filter_cfg=dict(filter_empty_gt=True, min_size=32))
    assert run.notes == []
    assert (content.images, content.boxes) == (4, 8)
    assert content.used == {'cat': 4, 'dog': 4}


@pytest.mark.parametrize('part', ['train', 'val'])
def test_boxes_that_are_given_twice(root, part):
    change(root, '</annotation>', CAT * 2 + '</annotation>', split=part)
    run, _ = check(root, part)
    assert '1 of 10 boxes in the XML set' in ''.join(run.notes)
    assert f'(first in {part}_0.xml)' in ''.join(run.notes)


def corners(a, b, c, d):
    return f'<xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>'


def rename(suffix):
    def spoil(root):
        for path in sorted((root / 'JPEGImages').glob('train_*.jpg')):
            path.rename(path.with_suffix(suffix))

    return spoil


def listed(text):
    return lambda root: (root / LIST).write_bytes(
        text if isinstance(text, bytes) else text.encode()
    )


def every(old, new):
    def spoil(root):
        for path in (root / 'Annotations').glob('train_*.xml'):
            path.write_text(path.read_text().replace(old, new))

    return spoil


def boxes(box):
    """All boxes of training written in one way."""

    def spoil(root):
        for path in (root / 'Annotations').glob('train_*.xml'):
            head, *parts = path.read_text().split('<bndbox>')
            parts = [box + part[part.index('</bndbox>') :] for part in parts]
            path.write_text('<bndbox>'.join([head, *parts]))

    return spoil


ONE = {
    'list missing': (lambda r: (r / LIST).unlink(), r'train\.txt does not exist'),
    'list empty': (listed(' \n'), r'train\.txt lists no images'),
    'list with a mark': (listed(b'\xef\xbb\xbftrain_0\n'), 'begins with a byte order mark'),
    'list in UTF-16': (listed('train_0\n'.encode('utf-16')), 'is not text in UTF-8: save it'),
    'list is JSON': (listed('{"images": []}'), 'is JSON, not a list of images.*CocoDataset'),
    'list is XML': (listed('<annotation/>'), 'is an XML file, not a list of images'),
    'blank line': (listed('train_0\n\ntrain_1\n'), 'line 2 is blank'),
    'flags': (listed('train_0  1\ntrain_1 -1\n'), "flag of a class behind the name, 'train_0  1'"),
    'suffixes': (listed('train_0.jpg\n'), "without folder and suffix: 'train_0'"),
    'blanks': (listed('train_0 \n'), "blanks around the names, as 'train_0 '"),
    'other case': (listed('Train_0\ntrain_1\n'), '1 of the 2 XML files .* upper and lower case'),
    'XML missing': (
        lambda r: (r / 'Annotations/train_1.xml').unlink(),
        r'1 of the 4 XML files that .*train\.txt names are not in .*: train_1\.xml',
    ),
    'XML cut off': (
        lambda r: change(r, '</annotation>', ''),
        r'1 of the 4 XML files in .*Annotations are not valid XML: train_0\.xml \(no element',
    ),
    'XML empty': (
        lambda r: (r / 'Annotations/train_0.xml').write_text(''),
        r'1 of the 4 XML files .* are empty: train_0\.xml\.',
    ),
    'XML is HTML': (
        lambda r: (r / 'Annotations/train_0.xml').write_text('<html><br></html>'),
        r'are not XML: train_0\.xml \(an HTML page\)',
    ),
    'size zero': (every('<width>64', '<width>0'), r"4 of the 4 .*state no size .*\('0'x'64'\)"),
    'size broken': (every('<width>64', '<width>64.5'), 'state no size in positive integers'),
    'size in part': (every('<width>64</width>', ''), r'positive integers.*\(Nonex'),
    'size of another': (every('<width>64', '<width>128'), r'is 64x64, stated 128x64'),
    'name missing': (lambda r: change(r, '<name>cat</name>', ''), r'1 objects .* lack <name>'),
    'no box': (every('bndbox>', 'robndbox>'), r'8 objects .*lack <bndbox>: .*\(robndbox\)'),
    'namespace in one': (
        lambda r: change(r, '<annotation>', '<annotation xmlns="http://a.org/b">'),
        r'1 of the 4 XML files .*no <object> directly below the first element.*\(<\{http://a.org/b\}',
    ),
    'objects inside': (
        lambda r: (r / 'Annotations/train_0.xml').write_text(
            f'<annotation><objects><object><bndbox>{BOX}</bndbox></object></objects></annotation>'
        ),
        r'train_0\.xml \(<object> in <annotation>\)',
    ),
    "CVAT's own XML": (
        lambda r: (r / 'Annotations/train_0.xml').write_text(
            '<annotations><image><box label="cat" xtl="1"/></image></annotations>'
        ),
        r'train_0\.xml \(<box> in <annotations>\)\. Export them as Pascal VOC',
    ),
    'two boxes in an object': (
        lambda r: change(r, '</bndbox>', f'</bndbox><bndbox>{BOX}</bndbox>'),
        r'objects .*have more than one <bndbox>, of which mmdet reads the first: train_0\.xml',
    ),
    'no corner': (every('<xmax>', '<xmax2>'), 'are not valid XML'),
    'corner missing': (lambda r: change(r, '<xmax>16</xmax>', ''), 'lack <xmax> in <bndbox>'),
    'corner NaN': (lambda r: change(r, '<xmax>16', '<xmax>nan'), r"finite numbers: .*\('nan'\)"),
    'corner infinite': (lambda r: change(r, '<xmax>16', '<xmax>inf'), r"finite .*\('inf'\)"),
    'corner text': (lambda r: change(r, '<xmax>16', '<xmax>wide'), r"finite .*\('wide'\)"),
    'difficult text': (
        lambda r: change(r, '<difficult>0', '<difficult>no'),
        r"something else than 0 or 1 as <difficult>: train_0\.xml \('no'\)",
    ),
    'class unknown': (
        every('<name>dog', '<name>elk'),
        r"class list .* does not match the categories of the XML set .*elk",
    ),
    'class in another case': (every('<name>dog', '<name>Dog'), r"Is 'dog' meant to be 'Dog'\?"),
    'no class fits': (every('<name>', '<name>x'), 'are missing in the file'),
    'image missing': (
        lambda r: (r / 'JPEGImages/train_2.jpg').unlink(),
        r'1 of the 4 images of .*train\.txt are not in .*JPEGImages: train_2\.jpg',
    ),
    'image broken': (
        lambda r: (r / 'JPEGImages/train_2.jpg').write_bytes(b'\xff\xd8\xff'),
        r'1 of the 4 images .* truncated',
    ),
    'images PNG': (rename('.png'), r'4 of the 4 images .* another suffix than \.jpg.*rename them'),
    'nothing annotated': (
        lambda r: [
            p.write_text(p.read_text().split('<object>')[0] + '</annotation>')
            for p in (r / 'Annotations').glob('train_*.xml')
        ],
        'lists 4 images and no annotation of the classes',
    ),
    'all difficult': (
        every('<difficult>0', '<difficult>1'),
        r'none of the 8 boxes .* can be used for training: 8 marked difficult .*write 0',
    ),
    'all zero': (boxes(corners(0, 0, 0, 0)), 'of zero size .*all numbers are 0'),
    'normalized': (boxes(corners(0.1, 0.2, 0.5, 0.6)), 'none of the 8 .*as normalized boxes do'),
    'corners swapped': (boxes(corners(40, 40, 9, 9)), '8 of negative width or height'),
    'all outside': (boxes(corners(90, 90, 99, 99)), '8 outside the image'),
    'a class of no size': (
        lambda r: [change(r, BOX.replace('3<', f'{3 + i}<', 1).replace('16<', f'{16 + i}<', 1),
                          corners(5, 5, 5, 5), i) for i in range(4)],
        "none of the 4 boxes of class 'cat' .*: 4 of zero size",
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', ONE)
def test_what_is_wrong_is_told_in_a_sentence(root, name):
    spoil, words = ONE[name]
    spoil(root)
    with pytest.raises(UserError, match=words) as error:
        check(root)
    assert '\n' not in str(error.value)
    # A survey lists it too, and goes on.
    run, _ = check(root, survey=True)
    assert str(error.value) in run.errors


CONFIGURED = {
    'no sub_data_root': (dict(data_prefix=dict(img='')), r"dict\(sub_data_root=''\)"),
    'prefix is a text': (dict(data_prefix='JPEGImages'), r"dict\(sub_data_root=''\)"),
    'folder missing': (dict(ann_subdir='labels'), 'folder of XML files .*labels does not exist'),
    'images missing': (dict(img_subdir='images'), 'the folder of images .*images does not exist'),
    'root missing': (dict(data_root='nowhere/'), 'the data folder nowhere/ does not exist'),
    'classes missing': (dict(metainfo=None), 'metainfo.classes is None'),
    'list of lists': (dict(ann_file=['a.txt']), r"ann_file is \['a\.txt'\]: write one path"),
    'filter': (dict(filter_cfg=dict(min_size='32')), 'filter_cfg is .*a number of pixels'),
    'too small': (dict(filter_cfg=dict(min_size=65)), 'none of the 4 images .* smaller than 65'),
    'size in a test': (
        dict(part='val', filter_cfg=dict(bbox_min_size=1)),
        'bbox_min_size is for training alone',
    ),
    'VOCMetric without boxes': (
        dict(part='val', evaluator=dict(type='VOCMetric'),
             pipeline=[TEST_PIPELINE[i] for i in (0, 1, 3)]),
        'val_evaluator needs the true boxes with each image',
    ),
    'VOCMetric with boxes resized': (
        dict(part='val', evaluator=[dict(type='VOCMetric')],
             pipeline=[TEST_PIPELINE[i] for i in (0, 2, 1, 3)]),
        r'val_evaluator\.0 compares .* put LoadAnnotations behind Resize',
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', CONFIGURED)
def test_a_wrong_configuration(root, name):
    options, words = CONFIGURED[name]
    with pytest.raises(UserError, match=words):
        check(root, **options)


def test_a_coco_file_for_the_metric_must_have_the_ids_of_the_list(root):
    file = root / 'val.json'
    content = dict(images=[], annotations=[], categories=[dict(id=1, name='cat')])
    for i in range(4):
        content['images'].append(dict(id=i, file_name=f'val_{i}.jpg', width=64, height=64))
    file.write_text(json.dumps(content))
    evaluator = dict(type='CocoMetric', ann_file=str(file))
    with pytest.raises(UserError, match="other ids .*'val_0': set ann_file=None.*'instances'"):
        check(root, 'val', evaluator=evaluator)
    for image in content['images']:
        image['id'] = image['file_name'][:-4]
    file.write_text(json.dumps(content))
    check(root, 'val', evaluator=evaluator)


def test_other_classes_in_a_folder_of_pascal_voc(root, tmp_path):
    """VOCMetric would print the results of cats as those of aeroplanes."""
    root.rename(tmp_path / 'VOC2007')
    options = dict(part='val', evaluator=dict(type='VOCMetric'), data_root=f'{tmp_path}/')
    options |= dict(
        data_prefix=dict(sub_data_root='VOC2007/'), ann_file='VOC2007/ImageSets/Main/val.txt'
    )
    with pytest.raises(UserError, match="names of Pascal VOC's 20 classes.*type=XMLDataset"):
        check(tmp_path, type='VOCDataset', **options)
    _, content = check(tmp_path, **options)
    assert content.images == 4


def test_a_part_lost_is_a_note(root):
    change(root, BOX, corners(9, 9, 9, 20))
    change(root, '<difficult>0', '<difficult>1', 1)
    run, content = check(root)
    assert run.notes == [
        f'2 of 8 boxes in the XML set {root}/ImageSets/Main/train.txt are not used: 1 marked '
        'difficult (first in train_1.xml), 1 of zero size (first in train_0.xml).'
    ]
    assert content.used == {'cat': 2, 'dog': 4}


def test_notes_on_names_and_lists(root):
    listed('train_0\ntrain_0\ntrain_1\n')(root)
    run, content = check(root, metainfo=dict(classes=('cat', 'dog', 'elk')))
    assert content.images == 3
    assert [note.split(': ')[0] for note in run.notes] == [
        f'{root}/ImageSets/Main/train.txt names 1 image more than once',
        f'the XML set {root}/ImageSets/Main/train.txt lacks 1 of the 3 classes of '
        'train_dataloader.dataset (elk).',
    ]
    (root / 'ImageSets/Main/val.txt').write_text('val_0\nval_0\n')
    with pytest.raises(UserError, match='names 1 image more than once.*count as often'):
        check(root, 'val')


def test_the_switches(root):
    every('<name>dog', '<name>elk')(root)
    # Of a class that is left out nothing is looked at.
    text = (root / 'Annotations/train_2.xml').read_text()
    (root / 'Annotations/train_2.xml').write_text(text.replace('<xmax>52', '<xmax>nan'))
    change(root, '<name>cat', '<name>elk', 1)
    (root / 'JPEGImages/train_3.jpg').unlink()
    run, content = check(root, preflight=dict(class_subset=True, images=False))
    assert content.used == {'cat': 3}


def test_a_class_that_reads_in_its_own_way_is_left_alone(root, tmp_path):
    from mmdet.datasets import XMLDataset

    class OwnWay(XMLDataset):
        def load_data_list(self):
            return []

    run, content = check(tmp_path, type=OwnWay, ann_file='nothing.csv')
    assert (content.classes, content.images, run.notes) == (('cat', 'dog'), None, [])


def test_a_file_without_size_passes(root):
    every('<size><width>64</width><height>64</height><depth>3</depth></size>', '')(root)
    run, content = check(root, filter_cfg=dict(min_size=32))
    assert (run.notes, content.images) == ([], 4)


@pytest.mark.parametrize('part', ['train', 'val'])
@pytest.mark.parametrize('filter_cfg', [None, dict(filter_empty_gt=True, bbox_min_size=14)])
def test_numbers_are_mmdets(root, part, filter_cfg):
    split = 'train' if part == 'train' else 'val'
    for i, box in enumerate([corners(9, 9, 9, 20), corners(60, 60, 99, 99), corners(-9, 5, 1, 20)]):
        old = BOX.replace('>3<', f'>{3 + i}<').replace('>16<', f'>{16 + i}<')
        change(root, old, box, i, split)
    change(root, '<difficult>0', '<difficult>1', 3, split)
    # Nothing is left of this image.
    path = root / f'Annotations/{split}_0.xml'
    path.write_text(path.read_text().replace('<name>dog', '<name>elk'))
    options = dict(preflight=dict(class_subset=True))
    if part == 'train' and filter_cfg:
        options |= dict(filter_cfg=filter_cfg)
    _, content = check(root, part, **options)
    dataset = mmdets(root, part, **options)
    assert content.images == len(dataset) == (3 if 'filter_cfg' in options else 4)
    entries = [
        entry for i in range(len(dataset)) for entry in dataset.get_data_info(i)['instances']
    ]
    used = [entry['bbox_label'] for entry in entries if not entry['ignore_flag']]
    assert content.used == {
        name: used.count(label) for label, name in enumerate(('cat', 'dog')) if label in used
    }
    assert all(x2 > x1 and y2 > y1 for x1, y1, x2, y2 in (entry['bbox'] for entry in entries))


@NEEDS_BCCD
def test_blood_cells():
    classes = dict(classes=('RBC', 'WBC', 'Platelets'))
    listed = dict(metainfo=classes, ann_file='ImageSets/Main/trainval.txt')
    run, content = check(BCCD, **listed, filter_cfg=dict(filter_empty_gt=True, min_size=32))
    assert (content.images, content.boxes) == (292, 3943)
    assert sum(content.used.values()) == 3941
    assert run.notes == [
        f'2 of 3943 boxes in the XML set {BCCD}/ImageSets/Main/trainval.txt are not used: 2 of '
        'zero size (first in BloodImage_00338.xml).'
    ]
    run, content = check(BCCD, 'val', metainfo=classes, ann_file='ImageSets/Main/test.txt')
    assert (content.images, content.boxes, sum(content.used.values()), run.notes) == (
        72,
        945,
        945,
        [],
    )


@NEEDS_BCCD
def test_a_part_of_the_blood_cells(tmp_path):
    for name in ('Annotations', 'ImageSets'):
        (tmp_path / name).symlink_to(BCCD / name)
    (tmp_path / 'JPEGImages').mkdir()
    for path in sorted((BCCD / 'JPEGImages').iterdir())[:100]:
        (tmp_path / 'JPEGImages' / path.name).symlink_to(path)
    with pytest.raises(UserError, match=r'of the 292 images of .*trainval\.txt are not in'):
        check(
            tmp_path,
            metainfo=dict(classes=('RBC', 'WBC', 'Platelets')),
            ann_file='ImageSets/Main/trainval.txt',
        )
