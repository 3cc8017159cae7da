"""Images of a run are judged by the step of its pipeline that loads them."""

import io
import json
import os

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS
from PIL import Image

from dn_mmdet.engine import load_config
from dn_mmdet.engine.preflight import survey_data

TRAIN = 'data/annotations/instances_train2017.json'
LOADER = 'train_dataloader.dataset.pipeline.0'


def encoded(kind, size=(64, 64), mode='RGB', **options):
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, kind, **options)
    return stream.getvalue()


def sideways():
    exif = Image.Exif()
    exif[0x112] = 6
    return encoded('JPEG', (64, 48), exif=exif)


@pytest.fixture
def check(place):
    """Check the training of the tiny configuration, whose image 003 is another."""

    def run(content, options, size=None):
        (place / 'data/train2017/003.jpg').write_bytes(content)
        if size:
            annotations = json.loads((place / TRAIN).read_text())
            annotations['images'][3].update(width=size[0], height=size[1])
            (place / TRAIN).write_text(json.dumps(annotations))
        return survey_data(load_config('tiny.py', options), ['train'])

    return run


@TRANSFORMS.register_module()
class LoadAnyImage(LoadImageFromFile):
    def transform(self, results):
        image = np.asarray(Image.open(results['img_path']).convert('RGB'))
        return results | {'img': image, 'img_shape': image.shape[:2], 'ori_shape': image.shape[:2]}


# The loading step, the image, its stated size, and what is said of it.
CASES = {
    'PCX for OpenCV': ({}, encoded('PCX'), None, 'a format that OpenCV does not load (PCX): 003'),
    'PCX for Pillow': ({'imdecode_backend': 'pillow'}, encoded('PCX'), None, None),
    'PCX for a class': ({'type': 'LoadAnyImage'}, encoded('PCX'), None, None),
    'text for a class': ({'type': 'LoadAnyImage'}, b'text', None, 'truncated or not images: 003'),
    'float TIFF as color': ({}, encoded('TIFF', mode='F'), None, 'OpenCV does not load (TIFF)'),
    'float TIFF as it is': ({'color_type': 'unchanged'}, encoded('TIFF', mode='F'), None, None),
    'float TIFF for tifffile': (
        {'imdecode_backend': 'tifffile'},
        encoded('TIFF', mode='F'),
        None,
        'are in a format that tifffile does not load (JPEG): 000.jpg',
    ),
    'no backend': ({'imdecode_backend': 'gd'}, b'', None, 'imdecode_backend of LoadImageFromFile'),
    'as displayed': ({}, sideways(), (48, 64), None),
    'as stored': ({}, sideways(), (64, 48), 'are turned by their EXIF orientation'),
    'as stored, unturned': (
        {'color_type': 'color_ignore_orientation'},
        sideways(),
        (64, 48),
        None,
    ),
    'as displayed, unturned': (
        {'color_type': 'color_ignore_orientation'},
        sideways(),
        (48, 64),
        'but are loaded unturned',
    ),
    'as stored, by Pillow': ({'imdecode_backend': 'pillow'}, sideways(), (64, 48), 'are turned'),
    'as stored, by a class': ({'type': 'LoadAnyImage'}, sideways(), (64, 48), None),
    'halved': ({}, encoded('JPEG', (32, 32)), None, 'are 0.5 times the size that'),
    'loaded from elsewhere': ({'backend_args.backend': 'lmdb'}, b'', None, None),
}


@pytest.mark.parametrize('case', CASES)
def test_the_step_that_loads_images_judges_them(case, check):
    step, content, size, words = CASES[case]
    options = {f'{LOADER}.{key}': value for key, value in step.items()}
    errors = check(content, options, size).errors
    if words is None:
        assert errors == []
    else:
        assert len(errors) == 1 and words in errors[0]


def test_the_remedy_for_turned_pictures_works(check):
    """Loaded as the sentence says, the image has the size that the file states."""
    loaded = LoadImageFromFile(color_type='color_ignore_orientation')
    check(sideways(), {f'{LOADER}.color_type': 'color_ignore_orientation'}, (64, 48))
    assert loaded({'img_path': 'data/train2017/003.jpg'})['img_shape'] == (48, 64)
    assert cv2.imread('data/train2017/003.jpg').shape[:2] == (64, 48)


def test_a_size_that_was_rounded_is_a_note(check):
    run = check(encoded('JPEG', (640, 427)), {}, (640, 428))
    assert run.errors == []
    assert any('by a pixel or two: 003.jpg is 640x427, stated' in note for note in run.notes)


def test_sizes_are_not_asked_for_where_there_need_be_no_annotations(place):
    (place / 'data/val2017/001.jpg').write_bytes(encoded('JPEG', (32, 32)))
    (error,) = survey_data(load_config('tiny.py'), ['test']).errors
    assert 'are 0.5 times' in error
    options = {'test_evaluator.format_only': True, 'test_evaluator.outfile_prefix': 'out'}
    assert survey_data(load_config('tiny.py', options), ['test']).errors == []


def test_several_things_are_told_at_once_in_a_survey(check, place):
    (place / 'data/train2017/001.jpg').unlink()
    assert len(check(encoded('PCX'), {}, None).errors) == 2


def test_no_image_is_opened_where_the_switch_says_so(check):
    assert check(b'', {'preflight.images': False}).errors == []


@pytest.mark.parametrize(
    'name, options, refused',
    [
        ('../val2017/000.jpg', {}, False),
        ('../../secret.jpg', {}, True),
        ('{place}/secret.jpg', {}, True),
        ('{place}/secret.jpg', {'data_root': '{place}'}, False),
    ],
)
def test_names_do_not_leave_the_data(name, options, refused, place):
    """What a stranger's annotations name lies in the folder of the data, or is not opened."""
    (place / 'secret.jpg').write_bytes(encoded('JPEG'))
    annotations = json.loads((place / TRAIN).read_text())
    annotations['images'][3]['file_name'] = name.format(place=place)
    (place / TRAIN).write_text(json.dumps(annotations))
    options = {
        f'train_dataloader.dataset.{key}': value.format(place=place)
        for key, value in options.items()
    }
    if options:
        options['train_dataloader.dataset.ann_file'] = str(place / TRAIN)
        options['train_dataloader.dataset.data_prefix.img'] = str(place / 'data/train2017')
    errors = survey_data(load_config('tiny.py', options), ['train']).errors
    told = [error for error in errors if 'names 1 of 8 images outside' in error]
    assert len(told) == refused and len(errors) == refused


def test_a_pipe_is_not_waited_for(place):
    (place / 'data/train2017/003.jpg').unlink()
    os.mkfifo(place / 'data/train2017/003.jpg')
    (error,) = survey_data(load_config('tiny.py'), ['train']).errors
    assert 'pipes or devices, not images: 003.jpg' in error
