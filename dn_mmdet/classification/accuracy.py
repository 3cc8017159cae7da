"""Top-k accuracy that counts every image exactly once."""

from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

__all__ = ['TopKAccuracy']


@METRICS.register_module()
class TopKAccuracy(BaseMetric):
    """Share of images, in percent, whose class is among the k highest scores.

    In a distributed run the sampler repeats images until the ranks' shares are even;
    :class:`mmengine.evaluator.BaseMetric` gathers the results in order and cuts these off.

    Args:
        topk (Sequence[int]): the values of k; each is reported as ``accuracy/top{k}``.
            Default: (1, 5).
        **kwargs: ``collect_device`` and ``prefix`` of ``BaseMetric``.

    Raises:
        ValueError: a k below 1, or above the number of classes.
    """

    default_prefix = 'accuracy'

    def __init__(self, topk=(1, 5), **kwargs):
        super().__init__(**kwargs)
        if min(topk) < 1:
            raise ValueError(f'topk must be 1 or more, but got {tuple(topk)}')
        self.topk = tuple(topk)

    def process(self, data_batch, data_samples):
        """Keep, for each image, whether its class is among the top k, for every k."""
        for sample in data_samples:
            score, label = sample['pred_score'], int(sample['gt_label'])
            if max(self.topk) > len(score):
                raise ValueError(
                    f'topk={self.topk} asks for more classes than the {len(score)} of the model')
            rank = int((score > score[label]).sum())
            self.results.append([rank < k for k in self.topk])

    def compute_metrics(self, results):
        """Mean over the images, in percent."""
        return {
            f'top{k}': 100 * sum(hits[i] for hits in results) / len(results)
            for i, k in enumerate(self.topk)
        }
