"""A contact sheet: what is on disk, with its boxes, to look at."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ...utils.errors import UserError
from ...utils.files import atomic_write

__all__ = ['check_picture_name', 'draw_contact_sheet']

_TILE, _GAP, _HEADING = 224, 6, 26  # pixels
_COLUMNS, _ROWS = 6, {'train': 3, 'val': 2}
_COLORS = (
    '#e6194b',
    '#3cb44b',
    '#ffe119',
    '#4f7bff',
    '#f58231',
    '#c653e6',
    '#42d4f4',
    '#f032e6',
    '#bfef45',
    '#fa8072',
)


def check_picture_name(file: Path) -> None:
    """Raise a UserError unless Pillow can write a picture of this name."""
    if file.suffix.lower() not in Image.registered_extensions():
        raise UserError(
            f"--preview {file} does not end in a picture's extension; "
            'give a name such as preview.png.'
        )


def draw_contact_sheet(folder: str | Path, file: str | Path) -> None:
    """Draw scenes with boxes and labels, and a row of crops, for train and for val.

    Args:
        folder (str | Path): Data set, as the tool writes it. The images are spread evenly over it.
        file (str | Path): Picture to write.

    Raises:
        UserError: The picture's extension is unknown.
    """
    folder, file = Path(folder), Path(file)
    check_picture_name(file)
    width = _COLUMNS * (_TILE + _GAP) + _GAP
    crop = (width - 11 * _GAP) // 10
    height = sum(rows * (_TILE + _GAP) + crop + _GAP + _HEADING for rows in _ROWS.values())
    sheet = Image.new('RGB', (width, height), '#202020')
    top = 0
    for split, rows in _ROWS.items():
        document = json.loads((folder / 'annotations' / f'instances_{split}2017.json').read_text())
        _write(
            sheet,
            (_GAP, top + 4),
            f'{split}2017: {len(document["images"])} images, '
            f'{len(document["annotations"])} digits; below, crops/{split}',
        )
        top += _HEADING
        for place, image in enumerate(_spread(document['images'], rows * _COLUMNS)):
            tile = _draw_scene(folder / f'{split}2017', image, document)
            row, column = divmod(place, _COLUMNS)
            sheet.paste(tile, (_GAP + column * (_TILE + _GAP), top + row * (_TILE + _GAP)))
        top += rows * (_TILE + _GAP)
        for place, path in enumerate(_crops(folder / 'crops' / split)):
            with Image.open(path) as image:
                sheet.paste(image.resize((crop, crop)), (_GAP + place * (crop + _GAP), top))
        top += crop + _GAP
    content = BytesIO()  # some formats are read again while they are written
    sheet.save(content, Image.registered_extensions()[file.suffix.lower()])
    with atomic_write(file) as picture:
        picture.write(content.getvalue())


def _draw_scene(folder: Path, image: dict, document: dict) -> Image.Image:
    with Image.open(folder / image['file_name']) as stored:
        tile = stored.resize((_TILE, _TILE), Image.Resampling.LANCZOS)
    scale = _TILE / image['width']
    pen = ImageDraw.Draw(tile)
    for annotation in document['annotations']:
        if annotation['image_id'] == image['id']:
            x, y, width, height = (scale * value for value in annotation['bbox'])
            category = annotation['category_id'] - 1
            # The line runs just outside the box, so that the ink's edge stays to be seen.
            pen.rectangle((x - 1, y - 1, x + width, y + height), outline=_COLORS[category])
            _write(
                tile,
                (x + 1, max(y - 14, 0)),
                document['categories'][category]['name'],
                _COLORS[category],
            )
    return tile


def _write(
    picture: Image.Image, place: tuple[float, float], text: str, color: str = 'white'
) -> None:
    ImageDraw.Draw(picture).text(
        place, text, fill=color, font=ImageFont.load_default(), stroke_width=1, stroke_fill='black'
    )


def _spread(items: list, count: int) -> list:
    """At most ``count`` items, evenly spread."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _crops(folder: Path) -> list[Path]:
    """The first crop of every class that has one."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    return [path for path in (min(c.glob('*.jpg'), default=None) for c in classes) if path]
