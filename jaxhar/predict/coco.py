"""Poses in the format of COCO's keypoint files (Lin et al., ECCV 2014)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from jaxhar.core.skeleton import Skeleton
from jaxhar.predict.frame_result import FrameResult

FILE = "coco.json"

#: COCO's 17 keypoints, and COCO's names for joints that have other names here.
KEYPOINTS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear") + tuple(
    f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")
)
_LIMBS = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
    (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip


@dataclass(frozen=True)
class Detection:
    """One person in one picture.

    Attributes:
      file: name of the picture, the same for all persons in it. size: (width, height) of the picture, if known.
      joints: (J, 2 or 3) image pixels. confidence: (J,) in [0, 1], NaN if unknown.
      box: (4,) x1, y1, x2, y2; None takes the box of the joints.
    """

    file: str
    size: tuple[int, int] | None
    joints: np.ndarray
    confidence: np.ndarray
    box: np.ndarray | None = None


def detection(name: str, size: tuple[int, int], result: FrameResult) -> Detection:
    """A person of `jaxhar predict`, rounded as in its files."""
    points, scores = np.round(result.pose[:, :2], 2), np.round(result.confidence, 4)
    return Detection(name, size, points, scores, np.round(result.box, 2))


def document(persons: Iterable[Detection], skeleton: Skeleton) -> dict[str, object]:
    """COCO's dict of images, annotations and categories. COCO's evaluation reads its "annotations" as results.

    Keypoints are x, y and 2, or three zeros where the skeleton has no such joint (nose, eyes, ears) or it is not
    finite. `score` is the mean confidence of the keypoints, and absent if unknown. Depths are left out.
    """
    ours = [name.replace("left_", "l_").replace("right_", "r_") for name in KEYPOINTS]
    index = [skeleton.joints.index(name) if name in skeleton.joints else -1 for name in ours]
    images: dict[str, dict[str, object]] = {}
    annotations: list[dict[str, object]] = []
    for person in persons:
        image = images.setdefault(person.file, {"id": len(images) + 1, "file_name": person.file})
        if person.size is not None:
            image |= {"width": int(person.size[0]), "height": int(person.size[1])}
        given = [j if j >= 0 and np.isfinite(person.joints[j, :2]).all() else -1 for j in index]
        keypoints = [[round(float(v), 2) for v in person.joints[j, :2]] + [2] if j >= 0 else [0, 0, 0] for j in given]
        some = [j for j in given if j >= 0]
        box = person.box
        if box is None:
            points = person.joints[some, :2] if some else np.zeros((1, 2))
            box = np.concatenate([points.min(0), points.max(0)])
        x, y, width, height = (round(float(v), 2) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1]))
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image["id"],
                "category_id": 1,
                "keypoints": [v for keypoint in keypoints for v in keypoint],
                "num_keypoints": len(some),
                "bbox": [x, y, width, height],
                "area": round(width * height, 2),
                "iscrowd": 0,
            }
        )
        score = round(float(np.mean(person.confidence[some])), 4) if some else 0.0
        if np.isfinite(score):
            annotations[-1]["score"] = score
    category = {"id": 1, "name": "person", "keypoints": KEYPOINTS, "skeleton": _LIMBS}
    return {"images": list(images.values()), "annotations": annotations, "categories": [category]}
