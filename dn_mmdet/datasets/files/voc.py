"""Pascal VOC's XML files and the list that names them: read, and told what is wrong with them."""

from __future__ import annotations

import codecs
import io
import math
import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...utils.errors import UserError
from ...utils.python39 import zip_strict
from ...utils.text import first_few
from .boxes import DIFFICULT, FEW, HUGE, UnusedBoxes, box_fault
from .coco_boxes import CocoBoxes, FilteredImages
from .file_kind import other_kind, shown
from .image_names import find_misnamed

__all__ = [
    'VocImage',
    'VocObject',
    'filter_voc_images',
    'judge_voc_boxes',
    'object_problems',
    'read_image_ids',
    'read_xml_files',
    'voc_box_fault',
]


class VocObject(NamedTuple):
    """An ``object`` of an XML file.

    Args:
        name (str): Its class.
        box (tuple[int, int, int, int], optional): Its corners as mmdet's XMLDataset has them:
            whole pixels, 1 less than in the file. Defaults to None, there is a problem.
        written (tuple[float, ...]): The corners as they are in the file.
        difficult (bool): Whether training and evaluation pass over it.
        problem (tuple[str, str, str], optional): What is wrong with it, the value, and what to do.
    """

    name: str
    box: tuple[int, int, int, int] | None = None
    written: tuple[float, ...] = ()
    difficult: bool = False
    problem: tuple[str, str, str] | None = None


class VocImage(NamedTuple):
    """An XML file.

    Args:
        id (str): Of the image, as the list has it.
        size (tuple[int, int], optional): Stated width and height in pixels; None if there is none.
        objects (list[VocObject]): Of all classes.
    """

    id: str
    size: tuple[int, int] | None
    objects: list[VocObject]


def read_image_ids(path: str, key: str) -> list[str]:
    """Read the list that names the images of a data set, one a line, without suffix.

    Args:
        path (str): The text file, as ``ImageSets/Main/train.txt``.
        key (str): The configuration key that names it, for messages.

    Returns:
        list[str]: The lines as mmengine reads them.

    Raises:
        UserError: The file is missing, is something else, or lists nothing.
    """
    if not os.path.isfile(path):
        what = 'is a folder' if os.path.isdir(path) else 'does not exist'
        raise UserError(
            f'the list of images {path} {what}: create or download it, or correct {key} in the '
            f'configuration (or with --cfg-options {key}=PATH).'
        )
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}.') from error
    if data.startswith(codecs.BOM_UTF8):
        raise UserError(f'{path} begins with a byte order mark: save it as UTF-8 without one.')
    kind, remedy = other_kind(data) or ('', '')
    if kind == 'empty':
        raise UserError(f'{path} lists no images: complete it, or correct {key}.')
    try:
        lines = [line.rstrip('\r\n') for line in io.StringIO(data.decode())]
    except UnicodeDecodeError:
        kind, remedy = kind or 'text in UTF-8', remedy or 'save it as UTF-8'
        is_not = 'is not' if kind == 'text in UTF-8' else 'is'
        raise UserError(f'{path} {is_not} {kind}: {remedy}.') from None
    if kind in ('an XML file', 'an HTML page', 'a Git LFS pointer') or data[:1] in b'{[':
        kind = kind or 'JSON'
        raise UserError(
            f'{path} is {kind}, not a list of images with one name a line: give '
            'ImageSets/Main/train.txt or the like, or for a COCO file set type=CocoDataset.'
        )
    blank = [number for number, line in enumerate(lines, 1) if not line.strip()]
    if blank:
        raise UserError(
            f'{path}: line {blank[0]} is blank, which mmdet takes for a name: remove it.'
        )
    return lines


def read_xml_files(path: str, ids: Sequence[str], folder: str) -> tuple[list[VocImage], list[str]]:
    """Read the XML files of a data set, each once.

    Args:
        path (str): The list of images, for messages.
        ids (Sequence[str]): What it names.
        folder (str): Where the XML files are.

    Returns:
        tuple[list[VocImage], list[str]]: The files that can be read, and a sentence for each kind
        of problem with others.
    """
    from tqdm import tqdm  # which the layers, imported with mmengine alone, do without

    images, missing = [], []
    problems: dict[tuple[str, str], list[str]] = {}
    for image_id in tqdm(
        ids,
        desc=f'reading XML files in {folder}',
        unit='file',
        disable=None,
        delay=2,
        mininterval=0.5 if sys.stderr.isatty() else 30,
    ):
        name = f'{image_id}.xml'
        if '\0' in name:  # no file has such a name, and Python does not look for it
            missing.append(image_id)
            continue
        try:
            images.append(_read(image_id, os.path.join(folder, name)))
        except (FileNotFoundError, NotADirectoryError):
            missing.append(image_id)
        except _Problem as problem:
            what, remedy, detail = problem.args
            problems.setdefault((what, remedy), []).append(f'{name} ({detail})' if detail else name)
    sentences = [
        f'{len(names)} of the {len(ids)} XML files in {folder} {what}: {first_few(names)}. '
        f'{remedy}.'
        for (what, remedy), names in problems.items()
    ]
    if missing:
        sentences.insert(0, _missing(path, folder, missing, len(ids)))
    return images, sentences


def object_problems(
    images: Sequence[VocImage], classes: Collection[str], folder: str
) -> Iterator[str]:
    """Tell what is wrong with the objects of some classes.

    Args:
        images (Sequence[VocImage]): The files.
        classes (Collection[str]): The class names; other objects are not looked at, except for
            their names.
        folder (str): Where the files are, for messages.

    Yields:
        str: A sentence for each kind of problem.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for image in images:
        for entry in image.objects:
            if entry.problem and (not entry.name or entry.name in classes):
                what, value, remedy = entry.problem
                found.setdefault((what, remedy), []).append(
                    f'{image.id}.xml ({value})' if value else f'{image.id}.xml'
                )
    for (what, remedy), places in found.items():
        yield (
            f'{len(places)} objects of XML files in {folder} {what}: {first_few(places)}. {remedy}.'
        )


def judge_voc_boxes(
    images: Sequence[VocImage],
    classes: Collection[str],
    path: str,
    purpose: str,
    smallest: float | None = None,
) -> CocoBoxes:
    """Find out which boxes count, as mmdet's XMLDataset decides it, here without useless ones.

    Args:
        images (Sequence[VocImage]): The files, whose objects of the classes have no problems.
        classes (Collection[str]): The class names; other objects are not looked at.
        path (str): What to call them in messages.
        purpose (str): 'training' or 'evaluation', for messages.
        smallest (float, optional): ``bbox_min_size`` of ``filter_cfg``, in pixels. Defaults to
            None.

    Returns:
        CocoBoxes: Numbers and notes.
    """
    boxes = CocoBoxes(path, len(images), purpose, coco_eval=False)
    outside: list[str] = []
    for image in images:
        for entry in _of_classes(image, classes):
            name, box = entry.name, entry.box
            boxes.given[name] += 1
            reason = voc_box_fault(box, image.size)
            harmless = reason is None and entry.difficult and purpose == 'evaluation'
            if reason is None and entry.difficult:
                reason = DIFFICULT
            if reason is None and smallest and min(box[2] - box[0], box[3] - box[1]) < smallest:
                reason = f'smaller than {smallest:g} pixels (bbox_min_size)'
            if reason is None:
                boxes.used[name] += 1
                if _reaches_out(box, image.size):
                    outside.append(image.id)
                continue
            counts = boxes.unused, boxes.unused_of.setdefault(name, UnusedBoxes())
            for lost in (boxes.left_out,) if harmless else counts:
                lost.add(reason, f'in {image.id}.xml', entry.written)
    total = sum(boxes.given.values())
    if len(outside) > FEW * total:
        boxes.notes.append(
            f'{len(outside)} of {total} boxes in {path} reach out of their image (the first in '
            f'{outside[0]}.xml): are they written as corners, xmin, ymin, xmax and ymax, in '
            'pixels, and is the size of the images right?'
        )
    return boxes


def filter_voc_images(
    images: Sequence[VocImage], classes: Collection[str], filter_cfg: Mapping[str, Any] | None
) -> FilteredImages:
    """Apply ``filter_cfg`` as mmdet's XMLDataset does where ``test_mode`` is off.

    Args:
        images (Sequence[VocImage]): The files, whose objects of the classes have no problems.
        classes (Collection[str]): The class names.
        filter_cfg (Mapping, optional): With ``filter_empty_gt`` and ``min_size`` in pixels.

    Returns:
        FilteredImages: Numbers.
    """
    options, kept = filter_cfg or {}, list(images)
    if options.get('filter_empty_gt', False):
        kept = [
            image
            for image in images
            if any(voc_box_fault(o.box, image.size) is None for o in _of_classes(image, classes))
        ]
    smallest = options.get('min_size', 0)
    large = sum(image.size is None or min(image.size) >= smallest for image in kept)
    return FilteredImages(large, len(images) - len(kept), len(kept) - large)


def voc_box_fault(
    box: tuple[float, float, float, float], size: tuple[float, float] | None
) -> str | None:
    """Why a box is not used, by the rule of COCO files, as far as its place and size tell.

    Args:
        box (tuple[float, float, float, float]): x1, y1, x2, y2 in pixels.
        size (tuple[float, float], optional): Width and height of its image; None is not known.

    Returns:
        str | None: The reason, or None if it is used.
    """
    x1, y1, x2, y2 = box
    return box_fault(x1, y1, x2 - x1, y2 - y1, *(size or (math.inf, math.inf)))


CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
# Elements that hold a box, in Pascal VOC's files and in those of other kinds.
BOXES = ('object', 'bndbox', 'robndbox', 'box', 'polygon')


class _Problem(Exception):
    """What is wrong with a file, what to do, and a detail of this one."""


def _of_classes(image: VocImage, classes: Collection[str]) -> Iterator[VocObject]:
    return (entry for entry in image.objects if entry.name in classes)


def _reaches_out(box: tuple[int, int, int, int], size: tuple[int, int] | None) -> bool:
    # A rounded box may reach a pixel out, and one that is counted from 0 another one.
    width, height = size or (math.inf, math.inf)
    return min(box[:2]) < -1 or box[2] > width + 1 or box[3] > height + 1


def _read(image_id: str, path: str) -> VocImage:
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        with open(path, 'rb') as file:
            kind, remedy = other_kind(file.read(1 << 16)) or ('', '')
        if kind and kind != 'an XML file':
            what = 'are empty' if kind == 'empty' else 'are not XML'
            raise _Problem(
                what, 'Export or copy them again', '' if kind == 'empty' else kind
            ) from None
        raise _Problem('are not valid XML', 'Export or copy them again', str(error)) from None
    except OSError as error:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise
        raise _Problem('cannot be read', 'Correct their permissions', error.strerror) from None
    objects = root.findall('object')
    if not objects:
        _demand_no_boxes(root)
    return VocImage(image_id, _size(root), [_object(entry) for entry in objects])


def _demand_no_boxes(root: ET.Element) -> None:
    """A file without objects is one of an empty image, unless it has boxes in another form."""
    for element in root.iter():
        # With the namespace that ElementTree puts before it.
        if str(element.tag).rpartition('}')[2].lower() in BOXES:
            raise _Problem(
                'have boxes, but no <object> directly below the first element, where mmdet looks',
                'Export them as Pascal VOC, without a namespace',
                f'<{element.tag}> in <{root.tag}>',
            )


def _size(root: ET.Element) -> tuple[int, int] | None:
    if root.find('size') is None:
        return None
    texts = [root.findtext(f'size/{side}') for side in ('width', 'height')]
    try:
        width, height = map(int, texts)
    except (TypeError, ValueError):
        width = height = 0
    if min(width, height) < 1:
        raise _Problem(
            'state no size in positive integers',
            'Write width and height of the image in pixels, or leave <size> out',
            'x'.join(map(shown, texts)),
        )
    return width, height


def _object(entry: ET.Element) -> VocObject:
    """What mmdet makes of it, as far as it can."""
    name = entry.findtext('name') or ''
    if not name:
        return VocObject(name, problem=('lack <name>', '', 'Write the name of their class'))
    text = entry.findtext('difficult', '0')
    try:
        difficult = bool(int(text))
    except ValueError:
        what = 'have something else than 0 or 1 as <difficult>'
        return VocObject(name, problem=(what, shown(text), 'Write 0, or 1 for a difficult object'))
    corners, *more = entry.findall('bndbox') or [None]
    if more:
        what = 'have more than one <bndbox>, of which mmdet reads the first'
        return VocObject(name, problem=(what, '', 'Write an object for each'))
    texts = [None if corners is None else corners.findtext(corner) for corner in CORNERS]
    lacking = [corner for corner, text in zip_strict(CORNERS, texts) if text is None]
    if lacking:
        what = 'lack <bndbox>' if corners is None else f'lack <{lacking[0]}> in <bndbox>'
        others = [child.tag for child in entry if child.tag in ('robndbox', 'polygon')]
        return VocObject(
            name, problem=(what, ''.join(others), 'Write xmin, ymin, xmax and ymax in pixels')
        )
    try:
        written = tuple(map(float, texts))
    except ValueError:
        written = (math.nan,)
    if not all(abs(value) < HUGE for value in written):
        bad = next(text for text in texts if not _is_number(text))
        what = 'have corners that are not finite numbers'
        return VocObject(
            name, problem=(what, shown(bad), 'Write xmin, ymin, xmax and ymax in pixels')
        )
    return VocObject(name, tuple(int(value) - 1 for value in written), written, difficult)


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < HUGE
    except ValueError:
        return False


def _missing(path: str, folder: str, missing: Sequence[str], total: int) -> str:
    start = (
        f'{len(missing)} of the {total} XML files that {path} names are not in {folder}: '
        f'{first_few(f"{name}.xml" for name in missing)}. '
    )
    first = missing[0].split()
    if len(first) == 2 and first[1] in ('1', '0', '-1'):
        return (
            f'{start}Its lines have a flag of a class behind the name, {missing[0]!r}, which mmdet '
            'takes for a part of it: give a list of names alone.'
        )
    if missing[0] != missing[0].strip():
        return f'{start}Its lines have blanks around the names, as {missing[0]!r}: remove them.'
    stem, suffix = os.path.splitext(missing[0])
    if suffix and os.path.isfile(os.path.join(folder, f'{os.path.basename(stem)}.xml')):
        return f'{start}The names have to be without folder and suffix: {os.path.basename(stem)!r}.'
    found = find_misnamed(folder, [f'{name}.xml' for name in missing], len(missing) == total)
    remedy = found or 'Complete the folder, or correct data_root, data_prefix and ann_subdir'
    return f'{start}{remedy.replace("rename the images", "rename the files")}.'
