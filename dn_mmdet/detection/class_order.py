"""COCOeval, with its tables by class in the order in which the classes were asked for."""

from typing import Any

from mmdet.datasets.api_wrappers import COCOevalMP
from pycocotools.cocoeval import COCOeval

__all__ = ['ClassOrderEval', 'ClassOrderEvalMP']


class _ClassOrder:
    """Mixed into a COCOeval; see :class:`ClassOrderEval`."""

    def evaluate(self) -> None:
        """Evaluate each image; ``params.catIds`` is sorted by that."""
        self._asked = list(self.params.catIds)
        super().evaluate()

    def accumulate(self, p: Any = None) -> None:
        """Accumulate over the images.

        Args:
            p (Params, optional): For other parameters than those evaluated with, which leave the
                order of the classes as it is. Defaults to None.
        """
        super().accumulate(p)
        if p is None and self.params.useCats:
            place = {category: i for i, category in enumerate(self.params.catIds)}
            order = [place[category] for category in self._asked]
            # Classes are the third axis of these, but the second of recall.
            for name in ('precision', 'scores'):
                self.eval[name] = self.eval[name][:, :, order]
            self.eval['recall'] = self.eval['recall'][:, order]


class ClassOrderEval(_ClassOrder, COCOeval):
    """COCOeval whose arrays have the classes in the given order of ``params.catIds``.

    COCOeval sorts that list, and mmdet, which does not, takes the rows for classes in its own
    order: its table by class names the wrong ones where ids do not ascend.
    """


class ClassOrderEvalMP(_ClassOrder, COCOevalMP):
    """The same of mmdet's evaluation in several processes."""
