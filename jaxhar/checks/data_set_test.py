import sys

import cv2
import pytest

from jaxhar.checks import data_set
from jaxhar.cli import main as cli
from jaxhar.data import sets
from jaxhar.data.generate.film import Synth
from jaxhar.data.mpii import generate as synthetic_mpii
from jaxhar.data.mpii.settings import MPII
from jaxhar.data.ntu import folder as ntu_folder
from jaxhar.data.ntu import generate as synthetic_ntu
from jaxhar.data.own import generate as synthetic_own
from jaxhar.data.penn import generate as penn_generate
from jaxhar.host.errors import Usage

SYNTH = Synth(14, 6, 4, 2, size=(96, 72), seed=5, clutter=0.3, frames=(3, 4))


def run(*words):
    return cli.main([str(word) for word in words])


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    base = tmp_path_factory.mktemp("sets")
    synthetic_mpii.write(base / "mpii", SYNTH, progress=False)
    penn_generate.write(base / "penn", Synth(2, 1, 1, 1, frames=(3, 4), size=(64, 48)), progress=False)
    synthetic_own.write(base / "folder", Synth(4, 2, 2, 1, frames=(3, 4), size=(64, 48)), progress=False)
    return base


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_names_are_those_of_the_registry():
    assert "penn" in sets.SETS
    with pytest.raises(Usage, match="no data set 'coca'; there are penn, mpii"):
        sets.get("coca")


@pytest.mark.parametrize("name", ["mpii", "penn"])
def test_a_whole_set_passes(roots, here, capsys, name):
    assert run("data", "check", name, "--root", roots / name, "--pictures", 5) == 0
    out = capsys.readouterr().out
    assert "nothing is wrong" in out
    sheet = cv2.imread(str(here / f"{name}_check.png"))
    assert sheet.shape[1] > 700 and sheet.std() > 20
    if name == "mpii":
        assert "24,987 !" in out and "photos of the benchmark" in out
    if name == "penn":
        assert "2,326 !" in out and "1,258 !" in out and "1,068 !" in out


def test_counts_and_joints_outside(roots):
    folder = MPII(parts=("train", "valid", "test"), separate=False)
    found = data_set.read_all(folder, roots / "mpii", progress=False)
    photos = [synthetic_mpii.take(SYNTH, *row) for row in synthetic_mpii.plan(SYNTH)]
    people = [(photo, person) for photo in photos for person in photo.people if person.labelled.any()]
    assert found.counts["sequences"] == found.counts["frames"] == len(people)
    assert found.counts["photos"] == len(photos)
    for split in ("train", "valid", "test"):
        assert found.counts[split] == sum(photo.split == split for photo, _ in people)
    assert found.labelled == sum(p.labelled.sum() for photo, p in people if photo.split != "test")
    assert found.outside == 0 and not found.bad and len(found.pictures) == 24


class Shifted(MPII):
    """MPII whose joints are moved out of the picture in one person."""

    def open(self, root):
        folder = super().open(root)
        load = folder.load

        def moved(person, skip_broken):
            record, skipped = load(person, skip_broken)
            if person.index == 3:
                record.fields["points"][..., 0] += 500
            return record, skipped

        object.__setattr__(folder, "load", moved)
        return folder


def test_joints_outside_are_counted(roots):
    found = data_set.read_all(Shifted(separate=False), roots / "mpii", progress=False)
    ((name, count),) = found.far
    assert name.endswith(".3") and count == found.outside > 5


def test_bad_files_are_listed_and_the_code_is_one(roots, here, capsys):
    root = here / "penn"
    penn_generate.write(root, Synth(3, 1, 1, 1, frames=(3, 4), size=(64, 48)), progress=False)
    photo = root / "frames" / "0002" / "000002.jpg"
    photo.write_bytes(photo.read_bytes()[:300])
    (root / "labels" / "0003.mat").write_bytes(b"words")
    assert run("data", "check", "penn", "--root", root) == 1
    out = capsys.readouterr().out
    assert "000002.jpg" in out and "0003.mat" in out and "2 files or labels are unusable" in out
    assert "nothing is wrong" not in out


@pytest.mark.parametrize("name", list(sets.SETS))
def test_an_empty_folder_and_a_wrong_root(here, capsys, name):
    (here / "empty").mkdir()
    for root in ("empty", "nowhere"):
        assert run("data", "check", name, "--root", here / root) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and str(here / root) in error, error


def test_preparing_once(roots, here, capsys):
    words = ("data", "prepare", "mpii", "--root", roots / "mpii", "--cache", here / "cache")
    assert run(*words) == 0
    first = capsys.readouterr().out
    made = sorted(here.glob("cache/mpii-*/index.json"))
    assert len(made) == 1 and "sequences (train" in first
    before = made[0].stat().st_mtime_ns
    assert run(*words) == 0 and made[0].stat().st_mtime_ns == before
    assert capsys.readouterr().out == first
    # training with the same folder and cache finds them too
    prepared = MPII(root=str(roots / "mpii"), cache=str(here / "cache")).prepare(here)
    assert prepared.folder == made[0].parent
    assert run(*words, "--set", "separate=false") == 0
    assert len(list(here.glob("cache/mpii-*/index.json"))) == 2
    assert run(*words, "--set", "separated=false") == 2
    assert "has no 'separated'" in capsys.readouterr().err


def test_preparing_in_processes_or_on_beam(roots, here, capsys, monkeypatch):
    words = ("data", "prepare", "folder", "--root", roots / "folder", "--cache")
    assert run(*words, here / "one") == run(*words, here / "two", "--workers", 1) == 0
    one, two = (sorted(p for p in (here / name).rglob("*") if p.is_file()) for name in ("one", "two"))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
    assert run(*words, here / "one", "--workers", -1) == 2
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    capsys.readouterr()
    assert run(*words, here / "three", "--beam", "--runner=DirectRunner") == 1
    assert "pip install 'jaxhar[beam]'" in capsys.readouterr().err


def test_skip_broken_leaves_files_out(roots, here, capsys):
    root = here / "own"
    synthetic_own.write(root, Synth(4, 2, 2, 1, frames=(3, 4), size=(64, 48)), progress=False)
    sorted(root.glob("*/*.mp4"))[0].write_bytes(b"words")
    words = ("data", "prepare", "folder", "--root", root, "--cache", here / "cache")
    assert run(*words) == 1
    assert "holds no video" in capsys.readouterr().err
    assert run(*words, "--skip-broken") == 0
    captured = capsys.readouterr()
    assert "5 sequences" in captured.out and "left out 1 unusable files" in captured.err


def test_the_sheet_needs_a_place(roots, here, capsys):
    (here / "file").write_text("")
    assert run("data", "check", "folder", "--root", roots / "folder", "--sheet", here / "file" / "s.png") == 1
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize(("layout", "name"), [("penn-authors", "penn"), ("penn-deephar", "penn")])
def test_generated_layouts_pass_the_check(here, capsys, layout, name):
    size = ("--sequences", 4, 2, "--performers", 2, 1, "--frames", 3, 4, "--size", 64, 48)
    for _ in range(2):  # the second finds the folder finished
        assert run("data", "synth", "--layout", layout, "--out", here / "set", *size) == 0
    assert run("data", "check", name, "--root", here / "set") == 0
    assert "nothing is wrong" in capsys.readouterr().out


def test_the_counts_of_ntu(here, capsys):
    synthetic_ntu.write(here / "ntu", Synth(3, 2, 2, 1, frames=(3, 4), size=(64, 36)), progress=False)
    names = sorted(path.stem for path in here.rglob("*.skeleton"))
    (here / "ntu" / "samples_with_missing_skeletons.txt").write_text(f"missing\n{names[0]}\n{names[3]}\n")
    folder = sets.get("ntu").settings.open(here / "ntu")
    assert len(folder.scan(False)[0]) == len(names) - 2
    train = sum(int(name[9:12]) in ntu_folder.TRAIN_SUBJECTS for name in names)
    views = sum(name[5:8] in ("002", "003") for name in names)
    deeper = len(list((here / "ntu").glob("*/*/S*")))  # the pictures of deephar's form
    assert tuple(folder.counts.values()) == (len(names), 2, train, views, 0, 0, deeper) and 0 < train < len(names)
    assert folder.published["training, cross-view"] == 37_920 == 2 * 56_880 // 3
    assert run("data", "check", "ntu", "--root", here / "ntu") == 0
    assert "2 files or labels are left out, as they should be:" in capsys.readouterr().out
