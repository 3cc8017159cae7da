# The COCO recipe from a backbone that OpenMMLab trained on all of ImageNet-1k with BN, fetched by
# its address: it needs no training of its own. Both arms start from the same weights.
_base_ = 'ssdlite_mbv2_coco.py'

model = dict(
    backbone=dict(
        # MobileNetV2 1.0 (top-1 71.86). Its pixels are those of the data preprocessor, RGB, and its
        # BN has eps=1e-5, which the arms therefore have.
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/mobilenet_v2/'
            'mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth',
            prefix='backbone.',
        ),
    ),
)
# DN-B takes the BN weights: gamma and beta become the offsets of alpha and lambda.
allow_bn_checkpoint = True
