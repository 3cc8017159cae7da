# Paper Tables 1, 2, 7 and 9, row DN-B (16, oup): MobileNetV2 with DN-B (r=16, g=oup), 4.36M
# parameters, 301.66M multiply-adds. lr 0.2, batch 64, 240 epochs.
# Accuracy in the paper (%): Train 90.86, Val 85.57, Test 84.74. Test accuracy of four classes in
# Table 9: n11939491 96.00, n01770081 90.00, n03179701 74.00, n02088466 68.00.
# COCO pretraining: the source of checkpoints/mbv2_dnb_paper_imagenet100.pth and, trained with
# model.backbone.norm_cfg.sc_input=normalized, of checkpoints/mbv2_dnb_imagenet100.pth.
_base_ = '../_base_/imagenet100_mbv2.py'

model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=16, g='oup', eps=1e-3, sc_input='raw'))
)
