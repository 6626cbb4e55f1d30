"""Photos of MPII give boxes of all their persons; who has too few joints is ignored, and neither learned nor lost."""

from dataclasses import replace

import numpy as np
import pytest

from jaxhar.core.boxes import overlap
from jaxhar.data.generate.film import Synth
from jaxhar.data.mpii import generate as mpii_generate
from jaxhar.data.people import mpii as people_mpii
from jaxhar.data.people.mpii import PeopleOfMPII
from jaxhar.host.errors import Problem

SYNTH = Synth(8, 4, 4, 3, size=(160, 120), clutter=0.0, seed=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("mpii")
    mpii_generate.write(out, SYNTH, progress=False)
    return out


def photos():
    return [mpii_generate.take(SYNTH, number, split) for number, split in mpii_generate.plan(SYNTH)]


def labelled(photo):
    return [one for one in photo.people if one.labelled.sum() >= 6]


def test_all_persons_of_a_photo_have_a_box(root):
    folder = people_mpii.folder(root)
    found, skipped = folder.scan(False)
    assert not skipped and {one.split for one in found} == {"train", "valid"}, "of the test split nothing is known"
    by_name = {one.image.name: one for one in found}
    known = [photo for photo in photos() if photo.split != "test"]
    assert folder.counts["persons"] == sum(len(labelled(photo)) for photo in known)
    assert max(len(photo.people) for photo in known) > 1
    for photo in known:
        one = by_name[photo.name]
        assert len(one.boxes) == len(photo.people)
        for person, box, ignored in zip(photo.people, one.boxes, one.ignored, strict=True):
            joints = person.joints[person.labelled]
            assert ignored == (len(joints) < 6)
            if not ignored:
                side = np.ptp(joints, axis=0).max()
                expected = np.concatenate([joints.min(0) - 0.05 * side, joints.max(0) + 0.05 * side])
                np.testing.assert_allclose(box, expected, atol=0.01)


def test_who_has_no_joints_is_ignored(root, tmp_path):
    """In the official file such persons have a position and a scale."""
    chosen = photos()[:2]
    nobody = [replace(photo.people[0], labelled=np.zeros(16, bool), visible=np.zeros(16, bool)) for photo in chosen]
    changed = [replace(photo, people=(person, *photo.people)) for photo, person in zip(chosen, nobody, strict=True)]
    (tmp_path / "images").symlink_to(root / "images")
    (tmp_path / mpii_generate.OFFICIAL).write_bytes(mpii_generate.official(changed))
    found, _ = people_mpii.folder(tmp_path).scan(False)
    for photo, one in zip(chosen, found, strict=True):
        assert one.ignored.tolist() == [True, *(person.labelled.sum() < 6 for person in photo.people)]
        person, (x1, y1, x2, y2) = photo.people[0], one.boxes[0]
        assert x2 - x1 == pytest.approx(200 * person.scale) == pytest.approx(y2 - y1)
        np.testing.assert_allclose([(x1 + x2) / 2, (y1 + y2) / 2], person.objpos, atol=0.01)


def test_the_common_json_is_read_and_deephars_form_is_refused(root):
    official = {one.image.name: one for one in people_mpii.folder(root).scan(False)[0]}
    common = people_mpii.folder(root / "annot" / "train.json").scan(False)[0]
    assert common
    for one in common:
        assert (overlap(one.boxes[~one.ignored], official[one.image.name].boxes).max(1) > 0.99).all()
    with pytest.raises(Problem, match="authors/annotations.mat does not list all persons of a photo"):
        people_mpii.folder(root / "authors")


def test_batches_have_the_boxes(root, tmp_path):
    prepared = PeopleOfMPII(root=str(root), cache=str(tmp_path), image_size=64, stills_per_batch=4).prepare(tmp_path)
    batch = next(iter(prepared.eval_stream(batch=4)))
    boxes = batch["boxes"][batch["boxed"]]
    assert batch["frames"].shape == (4, 1, 64, 64, 3) and len(boxes) and (boxes[:, 2:] > boxes[:, :2]).all()
    stream = prepared.train_stream(0)
    assert next(stream)["stills"]["boxed"].any()
    stream.close()
