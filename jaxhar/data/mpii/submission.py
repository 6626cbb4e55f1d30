"""Writes predictions on MPII's test split as a submission to the benchmark, pred_keypoints_mpii.mat.

The file has a struct array `pred` as long as the test part of annolist, with the predicted points of every separate
person in annorect(r).annopoints.point(j).{x, y, id}. The benchmark accepts at most four submissions per approach, 72
hours apart, by mail.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxhar.core.skeleton import MPII, Skeleton, mapping
from jaxhar.data.formats import matfile
from jaxhar.data.formats.matfile import mat_bytes, structs
from jaxhar.host import files
from jaxhar.host.errors import Problem

FILE = "pred_keypoints_mpii.mat"


def write(path: Path, official: Path, poses: Mapping[tuple[int, int], np.ndarray], skeleton: Skeleton) -> int:
    """Write the file.

    Args:
      path: file to write. official: path of mpii_human_pose_v1_u12_1.mat.
      poses: `Person.place` -> (J, 2) image pixels.
      skeleton: of the poses; it must have MPII's 16 joints.

    Returns:
      The number of persons.

    Raises:
      Problem: the skeleton lacks a joint, or a separate person of the test split has no pose (the first is named).
    """
    index = mapping(skeleton, MPII)
    if (index < 0).any():
        lacking = ", ".join(np.array(MPII.joints)[index < 0])
        raise Problem(f"MPII needs 16 joints, but a network of {skeleton.name} does not predict {lacking}")
    release = matfile.load(official, "mpii")["RELEASE"]
    photos, single = matfile.items(release.annolist), matfile.items(release.single_person)
    rows, written = [], 0
    for i, (photo, is_train) in enumerate(zip(photos, matfile.items(release.img_train), strict=True)):
        if int(is_train) == 1:
            continue
        annorect = matfile.attribute(photo, "annorect")
        rects: list[dict[str, object]] = [{} for _ in (matfile.items(annorect) if annorect is not None else [])]
        for r in (int(n) - 1 for n in matfile.items(single[i] if len(photos) > 1 else release.single_person)):
            pose = poses.get((i, r))
            if pose is None:
                raise Problem(
                    f"person {r + 1} of photo {i + 1} ({photo.image.name}) has no prediction; predict the whole split"
                )
            points = [{"x": float(x), "y": float(y), "id": j} for j, (x, y) in enumerate(np.asarray(pose)[index, :2])]
            rects[r] = {"annopoints": {"point": structs(points, ("x", "y", "id"))}}
            written += 1
        rows.append({"image": {"name": photo.image.name}, "annorect": structs(rects, ("annopoints",))})
    files.write(path, mat_bytes({"pred": structs(rows, ("image", "annorect"))}))
    return written
