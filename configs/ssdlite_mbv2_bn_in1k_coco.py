# Paper Table 5, row BN, but from ImageNet-1k: 4.32M parameters, 0.81G multiply-adds. The paper's
# backbones (15.3 mAP) were pretrained on ImageNet-100.
_base_ = '_base_/ssdlite_mbv2_in1k_coco.py'

model = dict(backbone=dict(norm_cfg=dict(_delete_=True, type='BN', eps=1e-5)))
