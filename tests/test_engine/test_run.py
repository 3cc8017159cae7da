"""What a run sets for its process."""

import pytest
import torch
from mmengine.config import Config
from mmengine.visualization import Visualizer

from dn_mmdet.engine.run import build_runner, prepare_process


@pytest.mark.skipif(torch.cuda.is_available(), reason='denormals are a matter of CPU runs')
def test_denormals_count_as_zero_on_cpu():
    small = torch.tensor([1e-40])
    assert (small * 0.5).any()
    prepare_process()
    assert not (small * 0.5).any()


def test_each_run_of_a_process_logs_and_draws_for_itself(tmp_path):
    """mmengine hands out the first run's visualizer to a second one of its name."""
    for folder, visualizer in (
        ('first', dict(type='DetLocalVisualizer', name='visualizer')),
        ('other', dict(type='Visualizer')),
        ('second', dict(type='DetLocalVisualizer', name='visualizer')),
    ):
        model = dict(type='MobileNetV2DN', widen_factor=0.25)
        visualizer['vis_backends'] = [dict(type='LocalVisBackend')]
        cfg = Config(
            dict(
                model=model,
                work_dir=str(tmp_path / folder),
                visualizer=visualizer,
                default_scope='mmdet',
                experiment_name=folder,
            )
        )
        runner = build_runner(cfg, [])
        assert Visualizer.get_current_instance() is runner.visualizer
        runner.visualizer.add_scalar('loss', 1.0)
        assert len(list((tmp_path / folder).glob('*/vis_data/scalars.json'))) == 1
