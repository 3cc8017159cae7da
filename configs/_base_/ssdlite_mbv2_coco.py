# The one base of every SSDLite configuration: the paper's detector and recipe (Table 5), without
# the norm of the backbone and the checkpoint that it starts from.
_base_ = [
    'models/ssdlite_mbv2.py',
    'datasets/coco_320.py',
    'schedules/schedule_30e.py',
    'default_runtime.py',
]

default_hooks = dict(
    checkpoint=dict(save_best='coco/bbox_mAP', rule='greater'),
    visualization=dict(type='DetVisualizationHook'),
)
visualizer = dict(
    type='DetLocalVisualizer', vis_backends={{_base_.vis_backends}}, name='visualizer'
)
