# The detector of the paper's Table 5 with DN over GroupNorm in the backbone, whose statistics do
# not depend on the batch. It is not in the paper, which names it as future work (section 5).
# 8 groups divide every width of the network. The backbone starts at random: nobody has trained
# weights for it.
_base_ = '_base_/ssdlite_mbv2_coco.py'

model = dict(
    backbone=dict(
        norm_cfg=dict(
            _delete_=True,
            type='DNGN',
            num_groups=8,
            r=16,
            g='oup',
            eps=1e-3,
        ),
        init_cfg=None,
    )
)
