"""The check of image files: what it finds, and when it shows how far it is."""

import io
from itertools import count

import cv2
import numpy as np
import pytest
from PIL import Image

from dn_mmdet.datasets.files.image_file import ImageReader, look_at_image
from dn_mmdet.datasets.files.images import image_problem, look_at_images
from tests.helpers.opened import opened  # noqa: F401

PIXELS = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
IMAGE = Image.fromarray(PIXELS)


def encoded(kind, image=IMAGE, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned(kind, orientation=6):
    exif = Image.Exif()
    exif[0x112] = orientation
    return encoded(kind, exif=exif)


def load(path, flags=cv2.IMREAD_COLOR):
    return cv2.imdecode(np.fromfile(path, np.uint8), flags)


def spoiled(content, place, length=40):
    return content[:place] + bytes(length) + content[place + length :]


FLOAT = Image.fromarray(PIXELS[..., 0].astype(np.float32))
# Of the pixels: Pillow does not look at it.
WRONG_CHECKSUM = encoded('PNG')[:-16] + bytes(4) + encoded('PNG')[-12:]
# Content of a file to what is found of it, beside the size.
FILES = {
    'JPEG': (encoded('JPEG'), None),
    'JPEG, CMYK': (encoded('JPEG', IMAGE.convert('CMYK')), None),
    'JPEG, padded': (encoded('JPEG') + bytes(9), None),
    'JPEG, more behind it': (encoded('JPEG') + b'more', None),
    'JPEG, cut off': (encoded('JPEG')[:-9], 'broken'),
    'JPEG, spoiled header': (spoiled(encoded('JPEG'), 10, 290), 'broken'),
    'PNG': (encoded('PNG'), None),
    'PNG, 16 bits': (cv2.imencode('.png', PIXELS.astype(np.uint16))[1].tobytes(), None),
    'PNG, palette': (encoded('PNG', IMAGE.convert('P')), None),
    'PNG, spoiled header': (spoiled(encoded('PNG'), 16), 'broken'),
    'PNG, wrong checksum': (WRONG_CHECKSUM + b'more', 'broken'),
    'BMP': (encoded('BMP'), None),
    'BMP, cut off': (encoded('BMP')[:-9], 'broken'),
    'WebP': (encoded('WEBP'), None),
    'TIFF': (encoded('TIFF'), None),
    'TIFF, float': (encoded('TIFF', FLOAT), 'format: TIFF'),
    'PCX': (encoded('PCX'), 'format: PCX'),
    'HEIC': (b'\0\0\0\x18ftypheic' + bytes(40), 'format: HEIC'),
    'empty': (b'', 'broken'),
    'text': (b'any text', 'broken'),
    'LFS': (b'version https://git-lfs.github.com/spec/v1\nsize 9\n', 'Git LFS pointers'),
    'HTML': (b'\n<!DOCTYPE html><html></html>', 'HTML pages'),
}


@pytest.mark.parametrize('case', FILES)
def test_files_are_judged_by_what_loads_them(case, tmp_path):
    content, problem = FILES[case]
    path = tmp_path / 'image'
    path.write_bytes(content)
    found = look_at_image(str(path), ImageReader(), measure=True)
    assert found.problem == problem
    assert found.size == (None if problem else IMAGE.size)
    loaded = load(path) if content else None
    assert (loaded is None) == (problem is not None)


def test_what_no_image_can_be(tmp_path):
    (tmp_path / 'a.jpg').mkdir()
    for name, problem in (
        ('a.jpg', 'folders'),
        ('', 'folders'),
        ('d.jpg', 'missing'),
        ('a\0.jpg', 'missing'),
        ('\ud800.jpg', 'missing'),
        ('a' * 300, 'unreadable: File name too long'),
    ):
        assert look_at_image(str(tmp_path / name), ImageReader()).problem == problem


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF', 'AVIF'])
@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_the_size_is_that_of_the_image_as_opencv_loads_it(kind, orientation, tmp_path):
    path = tmp_path / 'image'
    try:
        path.write_bytes(turned(kind, orientation))
    except (KeyError, OSError):
        pytest.skip(f'this Pillow does not write {kind}')
    if load(path) is None:
        pytest.skip(f'this OpenCV does not read {kind}')
    height, width = load(path).shape[:2]
    found = look_at_image(str(path), ImageReader(), measure=True)
    assert found.size == (width, height)
    if kind != 'TIFF':  # which OpenCV turns whatever it is asked for
        unturned = load(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        assert found.turned == (None if width == 30 else unturned.shape[1::-1])


def test_an_orientation_in_xmp_is_none_for_opencv(tmp_path):
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    IMAGE.save(tmp_path / 'a.jpg', xmp=xmp)
    assert look_at_image(str(tmp_path / 'a.jpg'), ImageReader(), measure=True).size == (30, 20)


def test_a_reader_that_fills_up_what_is_missing_is_not_asked(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(encoded('JPEG')[:-9])
    reader = ImageReader('an old OpenCV', lambda path: (30, 20))
    assert look_at_image(str(tmp_path / 'a.jpg'), reader).problem == 'broken'


@pytest.fixture
def folder(tmp_path):
    for name in ('a.jpg', 'b.png', 'c.bmp'):
        Image.new('RGB', (4, 4)).save(tmp_path / name)
    return tmp_path


def test_what_is_wrong_with_a_file(folder):
    for name in ('a.jpg', 'b.png', 'c.bmp'):
        assert image_problem(str(folder / name)) is None
        (folder / name).write_bytes((folder / name).read_bytes()[:20])
        assert image_problem(str(folder / name)) == 'broken'
    assert image_problem(str(folder / 'd.jpg')) == 'missing'
    assert image_problem(str(folder / 'a.jpg' / 'd.jpg')) == 'missing'
    (folder / 'e.pcx').write_bytes(encoded('PCX'))
    assert image_problem(str(folder / 'e.pcx')) is None  # Pillow loads it


def test_bad_images_are_counted_and_named(folder):
    (folder / 'e.pcx').write_bytes(encoded('PCX'))
    (folder / 'f.jpg').write_bytes(b'')
    places = ['line 3', 'line 7', 'line 8', 'line 9']
    errors, notes = look_at_images(
        str(folder), ['a.jpg', 'd.jpg', 'e.pcx', 'f.jpg'], 'list', places
    )
    skip = 'preflight.images=False under --cfg-options skips this check'
    assert errors == [
        f'1 of the 4 images of list are not in {folder}: d.jpg (line 7). Complete the folder, or '
        f'correct data_root and data_prefix ({skip}).',
        f'1 of the 4 images in {folder} are in a format that OpenCV does not load (PCX): e.pcx '
        f'(line 8). Convert them to JPEG or PNG ({skip}).',
        f'1 of the 4 images in {folder} are truncated or not images: f.jpg (line 9). Copy or '
        f'download them again ({skip}).',
    ]
    assert notes == []


def test_only_a_folder_without_any_of_the_images_is_taken_for_a_wrong_one(folder):
    (folder / 'other').mkdir()
    for present, words in ((False, f"'a.jpg' is in {folder}: correct"), (True, 'Complete the')):
        if present:
            (folder / 'a.jpg').rename(folder / 'other/a.jpg')
        (error,) = look_at_images(str(folder / 'other'), ['a.jpg', 'b.png'], 'list').errors
        assert words in error


def test_the_libraries_are_silent(folder, capfd, recwarn):
    (folder / 'e.tif').write_bytes(encoded('TIFF', FLOAT))
    (folder / 'f.jpg').write_bytes(spoiled(turned('JPEG'), turned('JPEG').index(b'Exif') + 6, 4))
    found = look_at_images(str(folder), ['e.tif', 'f.jpg'], 'list', sizes=[(30, 20)] * 2)
    assert len(found.errors) == 1 and found.notes == []
    assert capfd.readouterr() == ('', '') and not recwarn.list


def test_whole_files_are_opened_once_and_not_decoded(folder, opened, monkeypatch):  # noqa: F811
    def refuse(path):
        raise AssertionError(path)

    reader = ImageReader('any', refuse)
    sizes = [(4, 4), (8, 8)]
    assert look_at_images(str(folder), ['a.jpg', 'b.png'], 'list', None, sizes, reader).errors
    assert opened['a.jpg'] == opened['b.png'] == 1


def test_a_quick_check_shows_nothing(folder, capsys):
    assert look_at_images(str(folder), ['a.jpg', 'b.png', 'c.bmp'], 'list') == ([], [])
    told = capsys.readouterr()
    assert told.out == told.err == ''


def test_a_slow_check_shows_how_far_it_is_on_stderr(folder, capsys, monkeypatch):
    seconds = count(0, 40)
    monkeypatch.setattr('tqdm.std.time', lambda: float(next(seconds)))
    look_at_images(str(folder), ['a.jpg', 'b.png', 'c.bmp'], 'list')
    told = capsys.readouterr()
    assert told.out == ''
    assert f'checking images in {folder}' in told.err and '3/3' in told.err
