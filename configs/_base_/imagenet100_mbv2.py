# The one base of every MobileNetV2 on ImageNet-100: the paper's classifier and recipe.
_base_ = [
    'models/mbv2_classifier.py',
    'datasets/imagenet100_224.py',
    'schedules/schedule_240e.py',
    'imagenet100_runtime.py',
]

model = dict(label_smoothing=0.1, topk=(1, 5))
