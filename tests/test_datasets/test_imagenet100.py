"""The lists of ImageNet-100, made from tiny trees of each layout that users have."""

import json
import random
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from dn_mmdet.datasets import build_imagenet100
from dn_mmdet.datasets.imagenet100 import (
    NAMED,
    draw,
    draw_classes,
    ilsvrc2012_synsets,
    read_synsets,
)
from dn_mmdet.datasets.imagenet100 import build as builder
from dn_mmdet.utils.errors import UserError
from dn_mmdet.utils.python39 import zip_strict

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/imagenet100.py'
# Places 0, 2 and 389 of the sorted synsets; the devkit numbers them as it does in MAT.
CLASSES = ('n01440764', 'n01484850', 'n02514041')
OTHER = 'n15075141'
MAT = {'n01440764': 449, 'n01484850': 442, 'n02514041': 2, OTHER: 1}
# What the ten validation images show.
SHOWN = [CLASSES[i] for i in (2, 0, 1, 1, 0, 2, 0)] + [OTHER, CLASSES[1], OTHER]


def jpeg(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format='JPEG')


def val_name(i):
    return f'ILSVRC2012_val_{i:08d}.JPEG'


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """An ILSVRC-2012 tree with a flat val/ and no labels."""
    root = tmp_path_factory.mktemp('imagenet')
    for c, synset in enumerate((*CLASSES, OTHER)):
        for i in range(10):
            jpeg(root / 'train' / synset / f'{synset}_{7 * i}.JPEG', 10 * c + i)
    for i in range(1, 11):
        jpeg(root / 'val' / val_name(i), i)
    (root / 'classes').write_text('# two of the shark kind\n' + '\n'.join(reversed(CLASSES)))
    return root


@pytest.fixture
def place(source, tmp_path, monkeypatch):
    """A copy of the tree in imagenet/, with Caffe's labels, and the process beside it."""
    shutil.copytree(source, tmp_path / 'imagenet')
    caffe(tmp_path / 'imagenet')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def caffe(root, name='val.txt'):
    order = ilsvrc2012_synsets()
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(
        ''.join(f'{val_name(i)} {order.index(synset)}\n' for i, synset in enumerate(SHOWN, 1))
    )


def devkit(root, folder='ILSVRC2012_devkit_t12/data'):
    (root / 'val.txt').unlink()
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / 'ILSVRC2012_validation_ground_truth.txt').write_text(
        ''.join(f'{MAT[synset]}\n' for synset in SHOWN)
    )
    kind = [('ILSVRC2012_ID', 'O'), ('WNID', 'O'), ('num_children', 'O')]
    # Above 1000 come the inner nodes of the tree.
    rows = [(number, synset, 0) for synset, number in MAT.items()] + [(1001, 'n00001740', 2)]
    savemat(root / folder / 'meta.mat', {'synsets': np.array(rows, dtype=kind)[:, None]})


def kaggle(root):
    (root / 'ILSVRC/Data/CLS-LOC').mkdir(parents=True)
    for split in ('train', 'val'):
        (root / split).rename(root / 'ILSVRC/Data/CLS-LOC' / split)
    (root / 'LOC_val_solution.csv').write_text(
        'ImageId,PredictionString\n'
        + ''.join(
            f'{Path(val_name(i)).stem},{synset} 1 2 3 4 {synset} 5 6 7 8\n'
            for i, synset in enumerate(SHOWN, 1)
        )
    )


def folders(root):
    for i, synset in enumerate(SHOWN, 1):
        (root / 'val' / synset).mkdir(exist_ok=True)
        (root / 'val' / val_name(i)).rename(root / 'val' / synset / val_name(i))


def build(**options):
    options = {'root': 'imagenet', 'out': 'lists', 'classes': 'imagenet/classes', **options}
    return build_imagenet100(**options)


def read(split, out='lists'):
    lines = Path(out, f'{split}.txt').read_text().splitlines()
    return [(path, int(label)) for path, label in (line.rsplit(' ', 1) for line in lines)]


def snapshot(folder):
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes())
        for p in Path(folder).rglob('*')
        if p.is_file()
    }


# The classes


def test_the_1000_synsets():
    synsets = ilsvrc2012_synsets()
    assert len(set(synsets)) == 1000 and synsets == sorted(synsets)
    # Caffe's label 65 is a sea snake, 985 a daisy, 999 toilet tissue.
    assert [synsets[i] for i in (0, 65, 985, 999)] == [
        'n01440764',
        'n01751748',
        'n11939491',
        'n15075141',
    ]


def test_the_shipped_classes_are_the_draw():
    classes = read_synsets()
    assert len(set(classes)) == 100 and set(NAMED) < set(classes) < set(ilsvrc2012_synsets())
    assert classes == draw_classes(0)
    assert set(NAMED) < set(draw_classes(1)) and len(set(classes) & set(draw_classes(1))) < 40


def test_a_draw_depends_on_the_names_and_the_key_alone():
    names = [f'n0_{i}.JPEG' for i in range(50)]
    drawn = draw(names, 10, 'a')
    assert len(drawn) == 10 and drawn < set(names)
    shuffled = random.Random(0).sample(names, 50)
    assert draw(shuffled, 10, 'a') == drawn != draw(names, 10, 'b')
    resized = draw([name.replace('JPEG', 'png') for name in names], 10, 'a')
    assert resized == {name.replace('JPEG', 'png') for name in drawn}
    # 50 names in 5 equal parts: each drawn in one of them, as often as chance has it.
    assert sum(names.index(name) < 25 for name in draw(names, 25, 'a')) in range(6, 20)


# The lists


@pytest.mark.parametrize(
    'layout, prefix',
    [
        (lambda root: None, ''),
        (lambda root: [(root / 'val.txt').unlink(), caffe(root, 'caffe_ilsvrc12/val.txt')], ''),
        (devkit, ''),
        (folders, ''),
        (lambda root: [(root / 'val.txt').unlink(), kaggle(root)], 'ILSVRC/Data/CLS-LOC/'),
    ],
    ids=['caffe', 'caffe_ilsvrc12', 'devkit', 'folders', 'kaggle'],
)
def test_every_layout_gives_the_same_lists(place, layout, prefix):
    layout(place / 'imagenet')
    summary = build()
    assert Path('lists/classes.txt').read_text().split() == list(CLASSES)
    train, val, test = (read(split) for split in ('train', 'val', 'test'))
    assert [sum(label == c for _, label in train) for c in range(3)] == [8, 8, 8]
    assert [sum(label == c for _, label in val) for c in range(3)] == [2, 2, 2]
    assert not {path for path, _ in train} & {path for path, _ in val}
    # Written out, so that a change of the draw, which would change everyone's split, is seen.
    assert [path for path, label in val if label == 0] == [
        f'{prefix}train/n01440764/n01440764_{i}.JPEG' for i in (35, 49)
    ]
    assert all(Path(path).parent.name == CLASSES[label] for path, label in train + val)
    assert all((place / 'imagenet' / path).is_file() for path, _ in train + val + test)
    shown = {(int(Path(path).stem[-8:]), CLASSES[label]) for path, label in test}
    assert shown == {(i, s) for i, s in enumerate(SHOWN, 1) if s != OTHER}
    assert all(path.startswith(f'{prefix}val/') for path, _ in test)
    assert summary == json.loads(Path('lists/imagenet100.json').read_text())
    assert summary['counts'] == {
        'train': dict.fromkeys(CLASSES, 8),
        'val': dict.fromkeys(CLASSES, 2),
        'test': {CLASSES[0]: 3, CLASSES[1]: 3, CLASSES[2]: 2},
    }
    assert summary['bad_images'] == [] and summary['arguments']['seed'] == 0
    assert sorted(p.name for p in Path('lists').iterdir()) == [
        'classes.txt',
        'imagenet100.json',
        'test.txt',
        'train.txt',
        'val.txt',
    ]


def test_a_class_is_split_on_its_own(place):
    build()
    Path('two').write_text('\n'.join(CLASSES[1:]))
    build(out='fewer', classes='two')
    strip = [
        [path for path, _ in read('val', out) if CLASSES[0] not in path]
        for out in ('lists', 'fewer')
    ]
    assert strip[0] == strip[1]
    build(out='other', seed=1, val_share=0.4)
    assert len(read('val', 'other')) == 12
    assert not {p for p, _ in read('val')} <= {p for p, _ in read('val', 'other')}


def test_bad_images_are_named_counted_and_left_out(place, capsys, monkeypatch):
    build(out='whole')
    root = place / 'imagenet'
    names = [
        path
        for path, _ in (
            read('train', 'whole')[0],
            read('train', 'whole')[9],
            read('val', 'whole')[2],
            read('test', 'whole')[4],
        )
    ]
    (root / names[0]).write_bytes((root / names[0]).read_bytes()[:-40])
    (root / names[1]).write_bytes(b'')
    (root / names[2]).write_bytes(b'<html>not found</html>')
    (root / names[3]).unlink()
    capsys.readouterr()
    summary = build()
    told = capsys.readouterr()
    kinds = ['broken', 'broken', 'broken', 'missing']
    assert {b['image']: b['problem'] for b in summary['bad_images']} == dict(
        zip_strict(names, kinds)
    )
    assert '4 images are left out of the lists in lists (3 broken, 1 missing): ' in told.err
    assert 'and 1 more' in told.err and 'lists/imagenet100.json' in told.err
    for split in ('train', 'val', 'test'):
        assert read(split) == [line for line in read(split, 'whole') if line[0] not in names]
    assert summary['counts']['train'][CLASSES[0]] == 7

    run = ('imagenet', '--out', 'lists', '--classes', 'imagenet/classes')
    run_tool(monkeypatch, *run)
    assert 'warning: 4 images' in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        run_tool(monkeypatch, *run, '--strict')
    assert stop.value.code == 1
    assert 'error: 4 images are left out' in capsys.readouterr().err


def run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['imagenet100.py', *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


# Run again


@pytest.fixture
def looked_at(monkeypatch):
    """The images that were opened; sets `stop_at` to be interrupted at one."""

    class Watch(list):
        stop_at = None

    watch, check = Watch(), builder.image_problem

    def problem(path):
        if watch.stop_at and watch.stop_at in path:
            raise KeyboardInterrupt
        watch.append('/'.join(Path(path).parts[-2:]))
        return check(path)

    monkeypatch.setattr(builder, 'image_problem', problem)
    return watch


def test_an_interrupted_check_goes_on(place, looked_at, monkeypatch, capsys):
    build(out='whole')
    broken = place / 'imagenet/train' / CLASSES[0] / f'{CLASSES[0]}_0.JPEG'
    content = broken.read_bytes()
    broken.write_bytes(content[:50])
    looked_at.clear()
    looked_at.stop_at = f'{CLASSES[2]}_21'
    with pytest.raises(SystemExit) as stop:
        run_tool(monkeypatch, 'imagenet', '--out', 'lists', '--classes', 'imagenet/classes')
    assert stop.value.code == 130
    assert (
        'interrupted: the images of 2 of 6 class folders are checked; the same command '
        'continues from there'
    ) in capsys.readouterr().err
    assert [p.name for p in Path('lists').iterdir()] == ['.imagenet100_check.json']

    # Images that were whole are not opened again; one that was not may have been mended.
    broken.write_bytes(content)
    looked_at.stop_at = None
    looked_at.clear()
    assert build()['bad_images'] == []
    again = [name for name in looked_at if name.split('/')[0] in CLASSES[:2]]
    assert again == [f'{CLASSES[0]}/{CLASSES[0]}_0.JPEG']
    assert len(looked_at) == 1 + 10 + 8
    for name in ('train.txt', 'val.txt', 'test.txt', 'classes.txt'):
        assert Path('lists', name).read_bytes() == Path('whole', name).read_bytes()
    assert len(list(Path('lists').iterdir())) == 5


def test_a_changed_folder_or_another_root_is_checked_anew(place, looked_at):
    looked_at.stop_at = f'{CLASSES[2]}_21'
    with pytest.raises(KeyboardInterrupt):
        build()
    shutil.copytree('imagenet', 'copy')
    jpeg(place / 'imagenet/train' / CLASSES[1] / 'new.JPEG')
    looked_at.clear()
    with pytest.raises(KeyboardInterrupt):
        build()
    assert {name.split('/')[0] for name in looked_at} == {CLASSES[1], CLASSES[2]}
    looked_at.stop_at = None
    looked_at.clear()
    build(root='copy')
    assert len(looked_at) == 38


def test_complete_lists_are_left_alone(place, looked_at, capsys):
    made = build()
    before = snapshot('lists')
    looked_at.clear()
    assert build() == made and snapshot('lists') == before and not looked_at
    assert 'lists is complete: 3 classes, 24 images for train' in capsys.readouterr().out
    with pytest.raises(UserError, match=r'--seed 0 \(asked for: 3\); pass --force'):
        build(seed=3)
    assert snapshot('lists') == before
    build(seed=3, force=True)
    assert (
        len(looked_at) == 38
        and json.loads(Path('lists/imagenet100.json').read_text())['arguments']['seed'] == 3
    )
    Path('lists/val.txt').unlink()
    with pytest.raises(UserError, match=r'no longer complete \(val.txt is missing\); pass --force'):
        build(seed=3)


def test_lists_of_others_are_never_replaced(place):
    before = snapshot('imagenet')
    for force in (False, True):
        with pytest.raises(UserError, match='imagenet/val.txt was not made by this tool'):
            build(out='imagenet', force=force)
    assert snapshot('imagenet') == before


# What is refused


def remove(name):
    def spoil(root):
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def edit(name, function):
    def spoil(root):
        lines = (root / name).read_text().splitlines()
        (root / name).write_text('\n'.join(function(lines)) + '\n')

    return spoil


def devkit_in_root(root):
    devkit(root, '')


GROUND_TRUTH = 'ILSVRC2012_validation_ground_truth.txt'
MISTAKES = {
    'no root': (None, {'root': 'nowhere'}, 'There is no folder nowhere; give the folder'),
    'no train': (remove('train'), {}, 'imagenet has no folder train/ .*Kaggle'),
    'no val': (remove('val'), {}, 'imagenet has no folder val/'),
    'class missing': (
        remove(f'train/{CLASSES[1]}'),
        {},
        f'1 of the 3 classes have no folder in imagenet/train: {CLASSES[1]}; .*--classes',
    ),
    'class not unpacked': (
        lambda root: (
            (root / f'train/{CLASSES[1]}').rename(root / f'train/{CLASSES[1]}.tar')
            and [
                shutil.rmtree(root / f'train/{CLASSES[1]}.tar'),
                (root / f'train/{CLASSES[1]}.tar').touch(),
            ]
        ),
        {},
        r'unpack each into a folder of its name',
    ),
    'class empty': (
        lambda root: [p.unlink() for p in (root / 'train' / CLASSES[2]).iterdir()],
        {},
        f'1 of the 3 class folders of imagenet/train contain no images .*: {CLASSES[2]};',
    ),
    'val class missing': (
        lambda root: [folders(root), shutil.rmtree(root / 'val' / CLASSES[0])],
        {},
        f'1 of the 3 classes have no folder in imagenet/val: {CLASSES[0]};',
    ),
    'shipped classes': (
        None,
        {'classes': None},
        '100 of the 100 classes have no folder in imagenet/train: ',
    ),
    'no class file': (None, {'classes': 'none'}, 'class list none cannot be read: No such file'),
    'class twice': (
        edit('classes', lambda c: [*c, CLASSES[0]]),
        {},
        f'1 synset ids occur more than once in imagenet/classes: {CLASSES[0]};',
    ),
    'class no synset': (
        edit('classes', lambda c: [*c, 'tench']),
        {},
        "imagenet/classes, line 5: 'tench' is not a synset id",
    ),
    'one class': (edit('classes', lambda c: c[:2]), {}, 'imagenet/classes lists 1 classes'),
    'no labels': (remove('val.txt'), {}, 'has no class folders, and there is no list .*--val-list'),
    'no such list': (None, {'val_list': 'none'}, 'list none cannot be read: No such file'),
    'list for folders': (folders, {'val_list': 'imagenet/val.txt'}, 'is not needed; leave it'),
    'list empty': (edit('val.txt', lambda c: []), {}, 'val.txt is empty'),
    'list too short': (
        edit('val.txt', lambda c: c[:8]),
        {},
        'val.txt labels 8 images, but 2 of the 10 images in imagenet/val are not among them: '
        'ILSVRC2012_val_00000009, ILSVRC2012_val_00000010',
    ),
    'list of others': (
        edit('val.txt', lambda c: [line.replace('val', 'test') for line in c]),
        {},
        'None of the 10 images that imagenet/val.txt labels is in imagenet/val',
    ),
    'no label': (
        edit('val.txt', lambda c: [*c[:3], val_name(4), *c[4:]]),
        {},
        r"val.txt, line 4: 'ILSVRC2012_val_00000004.JPEG' has no label",
    ),
    'label too large': (
        edit('val.txt', lambda c: [*c[:2], f'{val_name(3)} 1000', *c[3:]]),
        {},
        "val.txt, line 3: '1000' is neither a place in the 1000 sorted synsets, 0 to 999, nor",
    ),
    'image twice': (
        edit('val.txt', lambda c: [*c, c[0]]),
        {},
        'line 11: ILSVRC2012_val_00000001 is listed a second time',
    ),
    'no image of a class': (
        edit('val.txt', lambda c: [f'{line.split()[0]} 0' for line in c]),
        {},
        'In the labels of imagenet/val, 2 of the 3 classes have no image: n01484850, n02514041',
    ),
    'no meta.mat': (
        lambda root: [devkit_in_root(root), (root / 'meta.mat').unlink()],
        {},
        'its table imagenet/meta.mat is missing',
    ),
    'meta.mat broken': (
        lambda root: [devkit_in_root(root), (root / 'meta.mat').write_bytes(b'no')],
        {},
        'imagenet/meta.mat is not the meta.mat of ILSVRC2012_devkit_t12, or is truncated',
    ),
    'unknown number': (
        lambda root: [devkit_in_root(root), edit(GROUND_TRUTH, lambda c: [*c[:9], '77'])(root)],
        {},
        f"{GROUND_TRUTH}, line 10: '77' is neither an ILSVRC2012_ID nor",
    ),
    'ground truth too short': (
        lambda root: [devkit_in_root(root), edit(GROUND_TRUTH, lambda c: c[:9])(root)],
        {},
        f'{GROUND_TRUTH} labels 9 images, but 1 of the 10',
    ),
    'ground truth too long': (
        lambda root: [devkit_in_root(root), edit(GROUND_TRUTH, lambda c: 5001 * c)(root)],
        {},
        'has 50010 lines, but the validation set has 50000 images',
    ),
    'share': (None, {'val_share': 1.0}, '--val-share is 1.0; it must lie between 0 and 1'),
    'share too small': (
        None,
        {'val_share': 0.01},
        '3 of the 3 classes would have no image in val: .*--val-share',
    ),
    'out a file': (None, {'out': 'imagenet/classes'}, 'is a file; choose another folder'),
    'out below a file': (None, {'out': 'imagenet/classes/x'}, 'Not a directory; fix that'),
    'all broken': (
        lambda root: [p.write_bytes(b'') for p in (root / 'train' / CLASSES[0]).iterdir()],
        {},
        r'1 of the 3 classes would have no image in train: n01440764 \(10 of their images are',
    ),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_a_mistake_ends_in_a_sentence(place, name):
    spoil, options, words = MISTAKES[name]
    if spoil:
        spoil(place / 'imagenet')
    with pytest.raises(UserError, match=words) as error:
        build(**options)
    assert '\n' not in str(error.value)
    assert not list(place.rglob('train.txt'))
