# The detector of paper Table 5, row DN-B (r=16, g=oup), 6.33M parameters and 0.81G multiply-adds,
# with what DN-B's SC-Modules see normalized, which is the layer's default; the paper's form, to
# which its 19.2 mAP belong, is ssdlite_mbv2_dnb_paper_coco.py. DN-B stands in the backbone; the
# neck and the head keep BN.
_base_ = '_base_/ssdlite_mbv2_coco.py'

model = dict(
    backbone=dict(
        norm_cfg=dict(_delete_=True, type='DNB', r=16, g='oup', eps=1e-3),
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/mbv2_dnb_imagenet100.pth', prefix='backbone.'
        ),
    )
)
