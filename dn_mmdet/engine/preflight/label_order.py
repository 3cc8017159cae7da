"""Whether the labels of a checkpoint may follow a file, as mmdet alone gives them."""

from ...utils.text import first_few
from .coco import annotation_path
from .planned import PlannedRun

__all__ = ['check_label_order']


def check_label_order(run: PlannedRun) -> None:
    """Note where the class list of a checkpoint need not be the order of its labels.

    mmdet numbers the classes of a CocoDataset in the order of the annotation file, whatever the
    order of the list, and writes the list into the checkpoint. Here labels follow the list, and a
    checkpoint does not tell which of the two trained it.
    """
    path = run.checkpoint_gone_on_with
    for data in run.datasets() if path else ():
        file, content = annotation_path(data), run.contents.get(data.key)
        if file is None or content is None or not content.classes:
            continue
        categories = run.files.annotations(file, f'{data.key}.ann_file', data.labels)['categories']
        names = [c['name'] for c in categories if c['name'] in content.classes]
        if names != [name for name in content.classes if name in names]:
            run.note(
                f'the categories of {file} are not in the order of the class list. Labels follow '
                f'the list here, but the file where mmdet alone trains: if it trained {path}, set '
                f'{data.key}.metainfo.classes to [{first_few(names, 10)}], the order of the file, '
                'and preflight.class_names=False.'
            )
