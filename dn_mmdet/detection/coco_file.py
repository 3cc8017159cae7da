"""A COCO annotation file for mmdet, with ids that COCOeval takes and labels that follow names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.datasets.api_wrappers.coco_api import COCO

from ..datasets.files.coco import load_annotations, root_category
from ..utils.errors import UserError
from ..utils.text import first_few

__all__ = ['CocoFile']


class CocoFile(COCO):
    """mmdet's COCO API, for files as labelling tools write them.

    - ``get_cat_ids`` gives the ids of category names in the order of the names, where mmdet gives
      them in the order of the file: labels, which are places in this list, then mean the same in
      all files of a run.
    - Annotation ids are numbered anew, in memory, where one is not an integer of at least 1. To
      COCOeval the id 0 says "no match", and a text is an error.
    - Ids of images and categories may be texts, which pycocotools takes for lists of characters.
    - A file may begin with a byte order mark.

    Args:
        annotation_file (str, optional): The JSON file. Defaults to None, no annotations.

    Raises:
        UserError: The file is missing or not JSON.
    """

    def __init__(self, annotation_file: str | None = None) -> None:
        super().__init__()
        if annotation_file is not None:
            self.dataset = load_annotations(annotation_file, 'ann_file')
            self.createIndex()
            self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def createIndex(self) -> None:  # noqa: N802 - pycocotools' name
        """Index ``dataset``, whose annotation ids are mended first."""
        _mend_ids(self.dataset.get('annotations') or [])
        super().createIndex()

    def getAnnIds(  # noqa: N802
        self,
        imgIds: Any = (),  # noqa: N803
        catIds: Any = (),  # noqa: N803
        areaRng: Sequence[float] = (),  # noqa: N803
        iscrowd: bool | None = None,
    ) -> list[int]:
        """Ids of the annotations of one or several images and categories, as in pycocotools."""
        return super().getAnnIds(_listed(imgIds), _listed(catIds), areaRng, iscrowd)

    def loadCats(self, ids: Any = ()) -> list[dict[str, Any]]:  # noqa: N802
        """The categories of one or several ids, as in pycocotools."""
        return super().loadCats(_listed(ids))

    def loadImgs(self, ids: Any = ()) -> list[dict[str, Any]]:  # noqa: N802
        """The images of one or several ids, as in pycocotools."""
        return super().loadImgs(_listed(ids))

    def get_cat_ids(
        self,
        cat_names: str | Sequence[str] = (),
        sup_names: Sequence[str] = (),
        cat_ids: Sequence[int | str] = (),
    ) -> list[int | str]:
        """Ids of categories.

        Args:
            cat_names (str | Sequence[str]): Names. Defaults to (), all.
            sup_names (Sequence[str]): Names of supercategories. Defaults to (), all.
            cat_ids (Sequence[int | str]): Ids to choose from. Defaults to (), all.

        Returns:
            list[int | str]: As many ids as names, in their order. A name that the file lacks has
            an id that no annotation has, and an entry in ``cats``. Without names, all that are
            chosen, in the order of the file.

        Raises:
            UserError: The file has none of the names, or one of them twice.
        """
        names = [cat_names] if isinstance(cat_names, str) else list(cat_names)
        if not names or sup_names or cat_ids:
            return super().get_cat_ids(names, sup_names, cat_ids)
        found: dict[str, list[Any]] = {name: [] for name in names}
        for category in self.cats.values():
            found.get(category['name'], []).append(category['id'])
        root = root_category(self.dataset)
        if root and len(found.get(root['name'], ())) > 1:
            # A project of Roboflow may have the name of its class.
            found[root['name']].remove(root['id'])
        self._demand_one_of_each(found)
        for name in names:
            if not found[name]:
                found[name].append(self._placeholder(name))
        return [found[name][0] for name in names]

    def _demand_one_of_each(self, found: dict[str, list[Any]]) -> None:
        own = [category['name'] for category in self.cats.values()]
        twice = [name for name, ids in found.items() if len(ids) > 1]
        if twice:
            raise UserError(
                f'the annotation file has {len(twice)} of its {len(own)} category names more than '
                f'once ({first_few(twice)}), so that boxes of one class would have two labels: '
                'give each category its own name, or its annotations one category_id.'
            )
        if own and not any(found.values()):
            raise UserError(
                f'the annotation file has none of the {len(found)} names of the class list '
                f'({first_few(found)}): its categories are {first_few(own)}. Set metainfo.classes '
                'of the data set to those.'
            )

    def _placeholder(self, name: str) -> int | str:
        # COCOeval sorts the ids, so all are of one type.
        texts = any(isinstance(i, str) for i in self.cats)
        new = f'{name} (not in the file)' if texts else 1 + max(self.cats, default=0)
        # Tables of classes look their names up here.
        self.cats[new] = dict(id=new, name=name)
        return new


def _listed(ids: Any) -> Any:
    return [ids] if isinstance(ids, str) else ids


def _mend_ids(annotations: list[dict[str, Any]]) -> None:
    """Number annotations from 1 where COCOeval could not take an id; ids given twice stay."""
    ids = [entry.get('id') for entry in annotations]
    if all(type(i) is int and i >= 1 for i in ids):
        return
    if len(set(map(repr, ids))) == len(ids):
        for number, entry in enumerate(annotations, 1):
            entry['id'] = number
