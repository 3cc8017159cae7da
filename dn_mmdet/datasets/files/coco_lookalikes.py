"""JSON files that labelling tools and evaluations write and that are no COCO annotation files."""

from __future__ import annotations

from typing import Any

__all__ = ['lookalike']

EXPORT = "export in the tool's COCO format instead"


def lookalike(content: Any) -> str | None:
    """Recognize a JSON file of another kind.

    Args:
        content (Any): What the file holds.

    Returns:
        str | None: What it is and what to do, as 'a LabelMe file: export ...'; None for a COCO
        file of object detection, and for what is not known.
    """
    if isinstance(content, dict):
        return _object(content)
    if isinstance(content, list) and content and isinstance(content[0], dict):
        first = set(content[0])
        return next((text for keys, text in LISTS if keys <= first), None)
    return None


# Keys that the first entry of a list has, and what the list is then. COCO's results come first,
# and then what has the more peculiar keys.
LISTS: tuple[tuple[set[str], str], ...] = (
    (
        {'image_id', 'score'},
        'a file of results, a list of predictions with scores: give the annotation file that holds '
        'the true boxes',
    ),
    (
        {'image_id', 'category_id'},
        'a list of annotations alone: write an object with the lists images, annotations and '
        'categories',
    ),
    ({'image_id', 'segments_info'}, 'a list of panoptic annotations: give the one of instances'),
    ({'annotations', 'data'}, f"Label Studio's own JSON: {EXPORT}"),
    ({'completions', 'data'}, f"Label Studio's own JSON: {EXPORT}"),
    ({'Labeled Data'}, f"Labelbox's own JSON: {EXPORT}"),
    ({'data_row'}, f"Labelbox's own JSON: {EXPORT}"),
    ({'image', 'annotations'}, f'a CreateML file: {EXPORT}'),
    ({'filename', 'ann'}, "a file in mmdet's old middle format: convert it to COCO"),
    ({'name', 'labels'}, 'a BDD100K file: convert it to COCO'),
)


def _object(content: dict[str, Any]) -> str | None:
    if 'images' not in content:
        for keys, text in OBJECTS:
            if keys <= set(content):
                return text
    values = [value for value in content.values() if isinstance(value, dict)]
    if values and len(values) == len(content) and all('regions' in value for value in values):
        return f"VIA's own JSON: {EXPORT}"
    annotation, image = _first(content.get('annotations')), _first(content.get('images'))
    if 'neg_category_ids' in image and 'file_name' not in image:
        return 'an LVIS file: set type=LVISV1Dataset, and type=LVISMetric for its evaluator'
    if 'bbox' not in annotation:
        return next((text for key, text in ANNOTATIONS.items() if key in annotation), None)
    return None


def _first(entries: Any) -> dict[str, Any]:
    first = entries[0] if isinstance(entries, list) and entries else None
    return first if isinstance(first, dict) else {}


# Keys that an object has, and what it is then.
OBJECTS: tuple[tuple[set[str], str], ...] = (
    ({'shapes', 'imagePath'}, 'a LabelMe file of one image: convert all of them to one COCO file'),
    ({'_via_img_metadata'}, f'a VIA project: {EXPORT}'),
    ({'_via_settings'}, f'a VIA project: {EXPORT}'),
    ({'type', 'features'}, 'a GeoJSON file: convert it to COCO, with boxes in pixels'),
    ({'objects', 'size'}, f"Supervisely's own JSON of one image: {EXPORT}"),
    ({'data_list', 'metainfo'}, "a file in mmengine's own format: convert it to COCO"),
    ({'dataset', 'items'}, f"Datumaro's own JSON: {EXPORT}"),
    ({'categories', 'items', 'info'}, f"Datumaro's own JSON: {EXPORT}"),
)

INSTANCES = 'give the file of instances (instances_....json)'
# The same of the first annotation of an object, where it has no box.
ANNOTATIONS: dict[str, str] = {
    'segments_info': (
        f'a panoptic file, whose annotations have segments_info instead of a bbox: {INSTANCES}'
    ),
    'caption': f'a file of captions: {INSTANCES}',
}
