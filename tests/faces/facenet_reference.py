"""facenet-pytorch's own MTCNN, runnable where torchvision's compiled operators are missing."""

import warnings

import cv2
import numpy as np
import torch

NMS_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def make_reference(*, threads=1, **options):
    """A facenet-pytorch MTCNN that returns every face."""
    torch.set_num_threads(threads)
    _stand_in_for_torchvision()
    from facenet_pytorch import MTCNN

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MTCNN(keep_all=True, device="cpu", **options)


def reference_faces(reference, image):
    """Boxes `(n, 4)`, probabilities `(n,)` and landmarks `(n, 5, 2)`."""
    boxes, probabilities, landmarks = reference.detect(image, landmarks=True)
    if boxes is None:
        return np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2))
    return boxes.astype(float), probabilities.astype(float), landmarks.astype(float)


def _stand_in_for_torchvision():
    if hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(name + NMS_SCHEMA)
        library.impl(name, _nms, "CPU")
    _stand_in_for_torchvision.library = library  # its operators live as long as it does
    import torchvision.extension
    from torchvision.ops import boxes

    torchvision.extension._has_ops = lambda: True
    boxes._assert_has_ops = lambda: None


def _nms(dets, scores, iou_threshold):
    """Compiled code, as torchvision's is, so that the reference's speed is a fair one."""
    xywh = dets.numpy().astype(np.float64)
    xywh[:, 2:] -= xywh[:, :2]
    kept = cv2.dnn.NMSBoxes(xywh, scores.numpy(), 0.0, iou_threshold)
    return torch.as_tensor(np.asarray(kept, np.int64))
