"""A data set of a few images as labeling tools export it, in ``data/my_data`` below a folder."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ['LAYOUTS', 'write_layout']

# Split of the data to its annotation file and its image folder, below data/my_data.
LAYOUTS = {
    'coco': {'train': ('train.json', 'images'), 'val': ('val.json', 'images')},
    'roboflow': {
        split: (f'{split}/_annotations.coco.json', split) for split in ('train', 'valid', 'test')
    },
    'cvat': {
        split: (f'{split}/annotations/instances_default.json', f'{split}/images/default')
        for split in ('train', 'val')
    },
    'voc': {split: (f'ImageSets/Main/{split}.txt', 'JPEGImages') for split in ('train', 'val')},
}
OBJECT = (
    '<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{x1}</xmin>'
    '<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>'
)
XML = (
    '<annotation><filename>{file}</filename><size><width>64</width><height>64</height>'
    '<depth>3</depth></size>{objects}</annotation>'
)


def write_layout(layout: str, folder: Path, images: int = 8) -> None:
    """Write images of two bright squares each, a cat, which is small, and a dog.

    Args:
        layout (str): A key of :data:`LAYOUTS`.
        folder (Path): Gets ``data/my_data``.
        images (int): Of each split. Defaults to 8.
    """
    root, random = folder / 'data/my_data', np.random.default_rng(0)
    for split, (listed, image_folder) in LAYOUTS[layout].items():
        entries = []
        (root / image_folder).mkdir(parents=True, exist_ok=True)
        for i in range(images):
            pixels = random.integers(0, 80, (64, 64, 3), dtype=np.uint8)
            boxes = {'cat': (2 + i, 4, 14, 14), 'dog': (20 + i, 22, 30, 30)}
            for x, y, width, height in boxes.values():
                pixels[y : y + height, x : x + width] = 220
            name = f'{split}_{i}.jpg'
            Image.fromarray(pixels).save(root / image_folder / name)
            entries.append((name, boxes))
        write = _write_voc if layout == 'voc' else _write_coco
        (root / listed).parent.mkdir(parents=True, exist_ok=True)
        write(root, root / listed, entries, roboflow=layout == 'roboflow')


def _write_coco(root: Path, file: Path, entries: list, roboflow: bool) -> None:
    first = 0 if roboflow else 1
    # Roboflow numbers from 0, and adds a root category that nothing is annotated with.
    names = ['animals', 'cat', 'dog'] if roboflow else ['cat', 'dog']
    ids = {name: first + i for i, name in enumerate(names)}
    annotations = [
        dict(
            image_id=first + i,
            category_id=ids[name],
            bbox=list(box),
            area=box[2] * box[3],
            iscrowd=0,
        )
        for i, (_, boxes) in enumerate(entries)
        for name, box in boxes.items()
    ]
    document = dict(
        images=[
            dict(id=first + i, file_name=name, width=64, height=64)
            for i, (name, _) in enumerate(entries)
        ],
        annotations=[dict(id=first + i, **a) for i, a in enumerate(annotations)],
        categories=[
            dict(
                id=ids[name],
                name=name,
                supercategory='animals' if roboflow and ids[name] else 'none',
            )
            for name in names
        ],
    )
    file.write_text(json.dumps(document))


def _write_voc(root: Path, file: Path, entries: list, roboflow: bool) -> None:
    (root / 'Annotations').mkdir(exist_ok=True)
    for name, boxes in entries:
        # Corners counted from 1, both inside.
        objects = ''.join(
            OBJECT.format(name=label, x1=x + 1, y1=y + 1, x2=x + width, y2=y + height)
            for label, (x, y, width, height) in boxes.items()
        )
        xml = root / 'Annotations' / f'{Path(name).stem}.xml'
        xml.write_text(XML.format(file=name, objects=objects))
    file.write_text(''.join(f'{Path(name).stem}\n' for name, _ in entries))
