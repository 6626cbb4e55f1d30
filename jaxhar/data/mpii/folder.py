"""Reads an MPII Human Pose folder: images/ and annotations in one of three forms.

Andriluka, Pishchulin, Gehler and Schiele, "2D Human Pose Estimation", CVPR 2014. The forms:

- the official mpii_human_pose_v1_u12_1.mat (see `mpii.mat`), with or without valid.json beside it;
- the common JSON: train.json and valid.json (or trainval.json, test.json; mmpose's mpii_train.json and so on), or one
  .json file of any name, each a list of persons. An entry has: image, a file name; joints, 16 pairs (x, y), and
  joints_vis, 16 times 0 or 1, in MPII's joint order; center, a rough position of the person; scale, the person's
  height over 200 pixels. A joint that was not annotated is [-1, -1] with joints_vis 0;
- deephar's annotations.mat (see `mpii.mat`).

All positions are in image pixels, and used without correction.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxhar.core.skeleton import MPII, PA16
from jaxhar.data.formats import matfile
from jaxhar.data.formats.jpeg import read_frames
from jaxhar.data.listing import shown
from jaxhar.data.mpii import mat as mpii_mat
from jaxhar.data.mpii.mat import HEAD_SHARE, Person, Photos, head_size, to_person
from jaxhar.data.records.record import FAR, SMALL, Field, Folder, Record, Skipped, joint_fields
from jaxhar.host import files
from jaxhar.host.errors import Problem

SPLITS = ("train", "valid", "test")
#: Folders under the root in which annotation files are looked for.
_PLACES = ("", "annot", "annotations", "mpii_human_pose_v1_u12_2")
_JSON = {
    "train": ("train.json", "mpii_train.json"),
    "valid": ("valid.json", "mpii_val.json"),
    "test": ("test.json", "mpii_test.json"),
    "trainval": ("trainval.json", "mpii_trainval.json"),
}
_HEADS = ("gt_valid.mat", "mpii_gt_val.mat")
_EXPECTED = "expected a folder with images/ and a .mat or .json annotation file of MPII"
_UNUSED = "persons without position, scale or joints, not used"
_ALONE = "persons close to others, not used"
_NECK, _TOP = MPII.index("neck"), MPII.index("head")
#: Published sizes: photos of the official file, persons of the common JSON files.
PUBLISHED: dict[str, dict[str, int]] = {
    "official": {"photos": 24_987, "photos with joints": 18_079, "photos of the benchmark": 6_908},
    "json": {"persons, train": 22_246, "persons, valid": 2_958, "persons, test": 11_731},
    "deephar": {},
}


@dataclass(frozen=True)
class Form:
    """The annotation files of a folder.

    Attributes:
      name: "official", "json" or "deephar". images: the folder of the photos.
      files: split -> path; "all" for a file with several splits, "heads" for the head boxes of valid.json.
    """

    name: str
    images: Path
    files: dict[str, Path]


def check_root(root: str | Path) -> Form:
    """The form of an MPII folder, or of an annotation file and its folder.

    Raises:
      Problem: it is neither, or there are annotation files of several forms.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise Problem(f"{root} does not exist; {_EXPECTED}")
    is_file = root.is_file()
    folder = root.parent if is_file else root
    images = next((p / "images" for p in (folder, folder.parent) if (p / "images").is_dir()), None)
    form, files = _of_file(root) if is_file else _search(root)
    if images is None:
        raise Problem(f"the folder {folder / 'images'} does not exist; {_EXPECTED}")
    return Form(form, images, files)


def _of_file(path: Path) -> tuple[str, dict[str, Path]]:
    if path.suffix.lower() == ".json":
        split = next((s for s, names in _JSON.items() if path.name in names), "train")
        return "json", {split: path}
    kind = matfile.kind(path)
    if kind not in ("mpii", "mpii-deephar"):
        what = matfile.KINDS[kind][1] if kind else "an unknown kind of annotation file"
        raise Problem(f"{path} is {what}; {_EXPECTED}")
    return ("official" if kind == "mpii" else "deephar"), {"all": path}


def _search(root: Path) -> tuple[str, dict[str, Path]]:
    places = [root / place for place in _PLACES if (root / place).is_dir()]
    jsons = {split: p for split, names in _JSON.items() for place in places if (p := _first(place, names))}
    others = []
    mats: dict[str, Path] = {}
    for path in (p for place in places for p in shown(place.glob("*.mat"))):
        kind = matfile.kind(path)
        if kind in ("mpii", "mpii-deephar"):
            mats.setdefault(kind, path)
        elif path.name not in _HEADS:
            others.append((path, kind))
    if len(mats) > 1:
        both = " and ".join(str(p) for p in mats.values())
        raise Problem(f"{root} has MPII in two forms, {both}; give the path of the one to read")
    if mats:
        ((kind, path),) = mats.items()
        beside = {"valid": jsons["valid"]} if "valid" in jsons and kind == "mpii" else {}
        return ("official" if kind == "mpii" else "deephar"), {"all": path, **beside}
    if jsons:
        if "train" in jsons:
            jsons.pop("trainval", None)
        heads = next((p for place in places if (p := _first(place, _HEADS))), None)
        return "json", jsons | ({"heads": heads} if heads and "valid" in jsons else {})
    found = [p for place in places for p in shown(place.glob("*.json"))]
    if len(found) > 1:
        raise Problem(f"{root} holds {len(found)} .json files; give the path of the one to read, e.g. {found[0]}")
    if found:
        return "json", {"train": found[0]}
    if others:
        path, kind = others[0]
        what = matfile.KINDS[kind][1] if kind else "an unknown kind of annotation file"
        raise Problem(f"{path} is {what}; {_EXPECTED}")
    entries = sorted(e.name for e in root.iterdir())
    raise Problem(f"{root} holds no .json or .mat file; {_EXPECTED}, found {', '.join(entries[:5]) or 'nothing in it'}")


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read(root: str | Path) -> list[Person]:
    """All persons of a folder; Problem for the first entry that is damaged."""
    return scan(check_root(root))[0]


def scan(
    form: Form, skip_broken: bool = False, counts: dict[str, int] | None = None, everyone: bool = False
) -> tuple[list[Person], list[Skipped]]:
    """All persons in the order of the files, and the entries left out with `skip_broken`.

    Persons without a position or a scale, and, but with `everyone`, persons of the official training split without
    joints, are left out and counted, because no protocol uses them. `counts` is filled with their number and those that
    `PUBLISHED` has.

    Raises:
      Problem: a file cannot be read; or, without `skip_broken`, an entry (named by file and index) lacks a field, has
        another number of joints, values that are not numbers, a scale that is not positive, or no photo.
    """
    skipped: list[Skipped] = []
    persons: list[Person] = []
    photos = Photos(form.images)
    counts = {} if counts is None else counts
    counts.pop(_UNUSED, None)

    def attempt(where: str, make: Callable[[], Person | None]) -> None:
        try:
            person = make()
        except Problem as problem:
            if not skip_broken:
                raise
            skipped.append(Skipped(where, str(problem)))
            return
        if person is not None:
            persons.append(person)
        else:
            counts[_UNUSED] = counts.get(_UNUSED, 0) + 1

    if form.name == "json":
        for split in SPLITS:
            path = form.files.get(split) or (form.files.get("trainval") if split == "train" else None)
            if path:
                heads = _head_boxes(form.files["heads"]) if split == "valid" and "heads" in form.files else None
                entries = _entries(path)
                counts[f"persons, {split}"] = len(entries)
                if heads is not None and len(heads) != len(entries):
                    raise Problem(
                        f"{form.files['heads']} has {len(heads)} head boxes, but {path} has {len(entries)} persons"
                    )
                for i, entry in enumerate(entries):
                    head = None if heads is None else float(heads[i])
                    attempt(f"person {i} of {path}", partial(_person, entry, i, path, split, photos, head))
    elif form.name == "official":
        valid = None
        if "valid" in form.files:
            valid = {str(entry.get("image")) for entry in _entries(form.files["valid"]) if isinstance(entry, dict)}
        mpii_mat.official(form.files["all"], photos, valid, attempt, counts, everyone)
    else:
        mpii_mat.deephar(form.files["all"], photos, attempt)
    return persons, skipped


def folder(root: str | Path, splits: tuple[str, ...] = SPLITS, separate: bool = True) -> Folder:
    """The folder to pack, with one record per person.

    Args:
      splits: splits to read.
      separate: leave out persons close to others, as in the single-person protocol. Only the official file marks them;
        deephar's file has no others.
    """
    form = check_root(root)
    counts: dict[str, int] = {}

    def chosen(skip_broken: bool) -> tuple[list[Person], list[Skipped]]:
        persons, skipped = scan(form, skip_broken, counts)
        persons = [p for p in persons if p.split in splits]
        used = [p for p in persons if p.separate or not separate]
        counts.update({_ALONE: len(persons) - len(used)} if len(used) < len(persons) else {})
        return used, skipped

    return Folder(
        title="MPII",
        slug="mpii",
        root=form.images.parent,
        fingerprint=partial(fingerprint, form, f"{splits} {separate}"),
        scan=chosen,
        load=load,
        fields=joint_fields(len(PA16)) | {"person": Field((3,)), "norm": Field((None,))},
        published=_published(form),
        counts=counts,
    )


def _published(form: Form) -> dict[str, int]:
    sizes = PUBLISHED[form.name]
    if form.name != "json":
        return sizes
    known = {split for split, path in form.files.items() if path.name in _JSON.get(split, ())}
    return {name: size for name, size in sizes.items() if name.removeprefix("persons, ") in known}


def fingerprint(form: Form, settings: str) -> Iterator[str]:
    """What tells that annotations, photos or settings have changed."""
    yield f"{form.name} {form.images.resolve()} {settings}"
    for split, path in form.files.items():
        stat = path.stat()
        yield f"{split} {path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    with os.scandir(form.images) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            stat = entry.stat()
            yield f"{entry.name} {stat.st_size} {stat.st_mtime_ns}"


def name_of(person: Person) -> str:
    """Name of a person's record: the name of the photo and the index of the person."""
    return f"{person.image.stem}.{person.index}"


def load(person: Person, skip_broken: bool = False) -> tuple[Record | None, list[Skipped]]:
    """The record of a person: one frame, with the fields person (centre x, y and scale) and norm (head size)."""
    frames, _, size, skipped = read_frames([person.image], skip_broken)
    if not frames:
        return None, skipped
    height = 200 * person.scale
    if height < SMALL or max(height, *np.abs(person.center)) > FAR * max(size):
        wrong = (
            f"person {person.index} of {person.image} has center {person.center.tolist()} and scale {person.scale:g} "
            f"in a photo of {size[0]}x{size[1]}, which makes a person {height:.2g} pixels high; repair the annotation"
        )
        if not skip_broken:
            raise Problem(wrong)
        return None, [Skipped(str(person.image), wrong)]
    record = Record(
        name=name_of(person),
        split=person.split,
        length=len(frames),
        fields={
            "points": person.points[None],
            "labelled": person.labelled[None],
            "person": np.array([*person.center, person.scale]),
            "norm": np.array([person.head]),
        },
        pictures=frames,
        size=size,
    )
    return record, skipped


def _entries(path: Path) -> list:
    entries = files.read_json(path, "annotation file")
    if not isinstance(entries, list) or not entries:
        raise Problem(f"the annotation file {path} has no list of persons; expected MPII in the common JSON form")
    return entries


def _head_boxes(path: Path) -> np.ndarray:
    """(N,) head sizes of the persons of valid.json, from the boxes (2, 2, N) published with it."""
    boxes = np.asarray(matfile.load(path, "mpii-heads")["headboxes_src"], np.float64)
    if boxes.ndim != 3 or boxes.shape[:2] != (2, 2):
        raise Problem(f"'headboxes_src' of {path} has shape {boxes.shape}, expected (2, 2, persons)")
    return head_size(boxes[0].T, boxes[1].T)


def _person(entry: object, index: int, path: Path, split: str, photos: Photos, head: float | None) -> Person:
    where = f"person {index} of {path}"
    if not isinstance(entry, dict):
        raise Problem(f"{where} is not an object with image, joints, joints_vis, center and scale")
    if split == "test":
        joints, shown = np.full((len(MPII), 2), np.nan), np.zeros(len(MPII), bool)
    else:
        joints = _numbers(entry, "joints", (len(MPII), 2), where)
        shown = _numbers(entry, "joints_vis", (len(MPII),), where) > 0
    shown &= ~((joints == -1).all(-1) | (joints < mpii_mat.SENTINEL).any(-1))
    if head is None:
        # The common JSON has no head box. In MPII, the distance of head top and upper neck is 0.8 diagonals of the box.
        known = shown[_NECK] and shown[_TOP]
        head = HEAD_SHARE / 0.8 * float(np.linalg.norm(joints[_TOP] - joints[_NECK])) if known else 0.0
    name = entry.get("image")
    if not isinstance(name, str) or not name:
        raise Problem(f"{where} has no file name in 'image'")
    center, scale = _numbers(entry, "center", (2,), where), float(_numbers(entry, "scale", (), where))
    return to_person(where, photos, name, index, joints, shown, center, scale, head, split)


def _numbers(entry: dict, name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    if name not in entry:
        hint = "; test entries carry no annotation" if name == "joints" else ""
        raise Problem(f"{where} has no {name!r}{hint}")
    try:
        values = np.array(entry[name], np.float64)
    except (ValueError, TypeError) as error:
        raise Problem(f"{name!r} of {where} is not made of numbers, or its rows differ in length") from error
    if values.shape != shape:
        raise Problem(f"{name!r} of {where} has shape {values.shape}, expected {shape}")
    return values
