# Paper Table 5, row DN-B (r=16, g=oup): 6.33M parameters, 0.81G multiply-adds, 19.2 mAP (the
# paper's figure). The SC-Modules see the raw means, as in the paper.
_base_ = 'ssdlite_mbv2_dnb_coco.py'

model = dict(
    backbone=dict(
        norm_cfg=dict(sc_input='raw'),
        init_cfg=dict(checkpoint='checkpoints/mbv2_dnb_paper_imagenet100.pth'),
    )
)
