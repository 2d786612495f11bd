"""The anchor boxes that the families were published with: width and height in pixels, one row a head, finest first."""

from lookonce.vision.heads import Anchors

V3: Anchors = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
V3_TINY: Anchors = (((10, 14), (23, 27), (37, 58)), ((81, 82), (135, 169), (344, 319)))
V4: Anchors = (
    ((12, 16), (19, 36), (40, 28)),
    ((36, 75), (76, 55), (72, 146)),
    ((142, 110), (192, 243), (459, 401)),
)
V4_TINY: Anchors = (((23, 27), (37, 58), (81, 82)), ((81, 82), (135, 169), (344, 319)))
V4_SCALE_XY = (1.2, 1.1, 1.05)
PLAIN_SCALE_XY = (1.0, 1.0, 1.0)
