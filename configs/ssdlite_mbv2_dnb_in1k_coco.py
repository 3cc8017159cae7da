# The detector of ssdlite_mbv2_dnb_coco.py, but from ImageNet-1k: 6.33M parameters, 0.81G
# multiply-adds. The paper's backbones (19.2 mAP) were pretrained on ImageNet-100, this one with
# DN-B; here it takes the BN weights that the other arm starts from.
_base_ = '_base_/ssdlite_mbv2_in1k_coco.py'

model = dict(backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=16, g='oup', eps=1e-5)))
