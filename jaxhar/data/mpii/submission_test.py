import numpy as np
import pytest
from scipy.io import loadmat

from jaxhar.core.skeleton import MPII, PA16, PENN, mapping
from jaxhar.data.generate.film import Synth
from jaxhar.data.mpii import folder as mpii_folder
from jaxhar.data.mpii import generate as synthetic_mpii
from jaxhar.data.mpii import submission as mpii_submission
from jaxhar.host.errors import Problem


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "mpii"
    synthetic_mpii.write(out, Synth(60, 0, 4, 1, size=(64, 48), seed=1, clutter=0.1), progress=False)
    return out


def test_read_back_as_the_benchmark_reads_it(folder, tmp_path):
    """By MPII's own steps: the test part of annolist, the separate persons, points by id."""
    form = mpii_folder.check_root(folder)
    persons = [p for p in mpii_folder.scan(form)[0] if p.split == "test" and p.separate]
    rng = np.random.default_rng(0)
    poses = {p.place: rng.uniform(0, 60, (16, 2)) for p in persons}
    path = tmp_path / mpii_submission.FILE
    assert mpii_submission.write(path, form.files["all"], poses, PA16) == len(persons) > 1
    release = loadmat(folder / synthetic_mpii.OFFICIAL)["RELEASE"][0, 0]
    pred = loadmat(path)["pred"][0]
    test = np.flatnonzero(release["img_train"][0] == 0)
    assert len(pred) == len(test)
    checked = 0
    for row, i in zip(pred, test, strict=True):
        assert row["image"][0, 0]["name"][0] == release["annolist"][0, i]["image"][0, 0]["name"][0]
        for r in release["single_person"][i, 0].ravel() - 1:
            points = row["annorect"][0, r]["annopoints"][0, 0]["point"][0]
            assert [int(p["id"][0, 0]) for p in points] == list(range(16))
            found = np.array([[p["x"][0, 0], p["y"][0, 0]] for p in points])
            np.testing.assert_array_equal(found, poses[i, r][mapping(PA16, MPII)])
            checked += 1
    assert checked == len(persons)


def test_what_cannot_be_submitted(folder, tmp_path):
    official = folder / synthetic_mpii.OFFICIAL
    with pytest.raises(Problem, match=r"person \d of photo \d+ .* has no prediction"):
        mpii_submission.write(tmp_path / "p.mat", official, {}, PA16)
    with pytest.raises(Problem, match="penn does not predict pelvis, thorax, neck"):
        mpii_submission.write(tmp_path / "p.mat", official, {}, PENN)
