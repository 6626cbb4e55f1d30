"""Reads Human3.6M as the multi-view networks do: pickles of H36M-Toolbox, four photos of each moment.

The folder has annot/h36m_train.pkl and annot/h36m_validation.pkl, each a list with a dict for each photo, and the
photos in images/ or images.zip; files that end in _uncrop.pkl are for photos that are not cropped. A dict has image, a
path below images/; joints_2d (17, 2) in pixels; joints_3d_camera (17, 3) in mm from the camera; subject, action,
subaction, image_id, camera_id (0 to 3); camera with R, T, fx, fy, cx, cy, k, p; center and scale (over 200 pixels).
Generated files also have joints_hidden (17,), 1 for joints that something in front of the person hides.

Photos of the same subject, action, subaction and image_id are one group. Groups without all four cameras are left out;
of photos listed twice, the later counts. The order is that of the first photo of each group.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxhar.core import camera, classes
from jaxhar.core.camera import Camera
from jaxhar.core.skeleton import H36M17
from jaxhar.data.example import torso
from jaxhar.data.formats import photos as photo_files
from jaxhar.data.formats import safe_pickle
from jaxhar.data.formats.photos import Photos
from jaxhar.data.records.record import Field, Folder, Record, Skipped, joint_fields, or_skipped
from jaxhar.host.errors import Problem

VIEWS = 4
SPLITS = ("train", "validation")
_INCOMPLETE, _TWICE = "groups without all four cameras, not used", "photos listed twice, the later is used"
_EXPECTED = "expected annot/h36m_train.pkl or annot/h36m_validation.pkl of H36M-Toolbox, with images/ or images.zip"


@dataclass(frozen=True)
class Group:
    """Four photos of one moment, by camera_id.

    Attributes:
      name: "s01_act02_sub01/000001". split, subject; action: an index into `classes.H36M`.
      entries: the dicts of the file. numbers: their indices in the file.
      where: file and photo, for messages.
    """

    name: str
    split: str
    subject: int
    action: int
    entries: tuple[dict, ...]
    numbers: tuple[int, ...]
    where: str


def place(root: Path) -> Path:
    """The folder of Human3.6M: `root`/h36m, or `root` itself; Problem if neither has label files."""
    for folder in (root / "h36m", root):
        if any((folder / "annot").glob("h36m_*.pkl")):
            return folder
    raise Problem(f"{root} holds no label files of Human3.6M; {_EXPECTED}")


def labels(folder: Path, cropped: bool) -> dict[str, Path]:
    """The label file of each split; Problem if there is none."""
    suffix = "" if cropped else "_uncrop"
    paths = {split: folder / "annot" / f"h36m_{split}{suffix}.pkl" for split in SPLITS}
    found = {split: path for split, path in paths.items() if path.is_file()}
    if not found:
        raise Problem(f"{folder / 'annot'} has no h36m_train{suffix}.pkl; {_EXPECTED}")
    return found


def folder(root: Path, thin: tuple[int, int] = (5, 64), cropped: bool = True) -> Folder:
    """The folder to pack, with one record for each group, of length 4.

    Record fields besides the joints: centers (T, 2), scales (T,), cameras (T, 22) with Human3.6M's lens, world (17, 3)
    in mm by the first camera, hidden (T, 17) bool, norm (T,) torso length in pixels.

    Args:
      thin: every how many groups of the training and of the validation file are used.
      cropped: read the files for cropped photos, not those that end in _uncrop.
    """
    home = place(Path(root).expanduser())
    chosen, photos = labels(home, cropped), photo_files.find(home)
    counts: dict[str, int] = {}
    joints = len(H36M17)
    fields = joint_fields(joints) | {
        "centers": Field((None, 2), np.float64),
        "scales": Field((None,), np.float64),
        "cameras": Field((None, camera.SIZE), np.float64),
        "world": Field((joints, 3)),
        "hidden": Field((None, joints), np.bool_),
        "norm": Field((None,)),
    }
    return Folder(
        title="Human3.6M, four views",
        slug="h36m_multiview",
        root=home,
        fingerprint=partial(_fingerprint, chosen, photos, f"{thin} {cropped}"),
        scan=partial(_scan, chosen, thin, counts),
        load=partial(load, photos),
        fields=fields,
        actions=classes.H36M,
        counts=counts,
    )


def _fingerprint(chosen: dict[str, Path], photos: Photos, settings: str) -> Iterator[str]:
    yield settings
    for split, path in chosen.items():
        stat = path.stat()
        yield f"{split} {path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    yield from photos.fingerprint()


def _scan(
    chosen: dict[str, Path], thin: tuple[int, int], counts: dict[str, int], skip_broken: bool
) -> tuple[list[Group], list[Skipped]]:
    found: list[Group] = []
    skipped: list[Skipped] = []
    for split, path in chosen.items():
        found += groups(path, split, counts, skipped if skip_broken else None)[:: thin[SPLITS.index(split)]]
    return found, skipped


def groups(
    path: Path, split: str, counts: dict[str, int] | None = None, skipped: list[Skipped] | None = None
) -> list[Group]:
    """All complete groups of a label file, in the order of their first photos.

    Args:
      counts: is given the numbers of groups and photos. skipped: is given the entries that cannot be used; None raises.

    Raises:
      Problem: the file is not of this kind, or an entry is wrong.
    """
    entries = safe_pickle.load(path)
    if not isinstance(entries, list) or not entries:
        raise Problem(f"{path} has no list of photos; is it a label file of H36M-Toolbox?")
    keyed: dict[tuple[int, ...], dict[int, int]] = {}
    twice = 0
    for number, entry in enumerate(entries):
        where = f"entry {number} of {path}"
        try:
            if not isinstance(entry, dict):
                raise Problem(f"{where} is not a dict with image, joints_2d, joints_3d_camera and camera")
            *key, view = (
                _integer(entry, n, where) for n in ("subject", "action", "subaction", "image_id", "camera_id")
            )
            if not 0 <= view < VIEWS or not 2 <= key[1] < 2 + len(classes.H36M_TOOLBOX):
                raise Problem(f"{where} has camera_id {view} and action {key[1]}; expected 0 to 3 and 2 to 16")
        except Problem as problem:
            if skipped is None:
                raise
            skipped.append(Skipped(str(path), str(problem)))
            continue
        views = keyed.setdefault(tuple(key), {})
        twice += view in views
        views[view] = number
    complete = {key: views for key, views in keyed.items() if len(views) == VIEWS}
    if counts is not None:
        sizes = {f"photos, {split}": len(entries), f"groups, {split}": len(complete)}
        lacking = {_INCOMPLETE: len(keyed) - len(complete), _TWICE: twice}
        counts.update(sizes)
        counts.update({name: counts.get(name, 0) + n for name, n in lacking.items() if n})
    return [_group(key, views, entries, split, path) for key, views in complete.items()]


def _group(key: tuple[int, ...], views: dict[int, int], entries: Sequence[dict], split: str, path: Path) -> Group:
    subject, action, subaction, moment = key
    numbers = tuple(views[view] for view in range(VIEWS))
    return Group(
        name=f"s{subject:02d}_act{action:02d}_sub{subaction:02d}/{moment:06d}",
        split=split,
        subject=subject,
        action=classes.H36M.index(classes.H36M_TOOLBOX[action - 2]),
        entries=tuple(entries[number] for number in numbers),
        numbers=numbers,
        where=f"entry {numbers[0]} of {path}",
    )


def load(photos: Photos, group: Group, skip_broken: bool = False) -> tuple[Record | None, list[Skipped]]:
    """The record of a group; a group of which a photo cannot be read is left out as a whole."""
    return or_skipped(partial(_record, photos, group), group.where, skip_broken)


def _record(photos: Photos, group: Group) -> Record:
    joints = len(H36M17)
    pictures, sizes = [], []
    for number, entry in enumerate(group.entries):
        image = entry.get("image")
        if not isinstance(image, str):
            raise Problem(f"camera {number} of {group.where} has no file name in 'image'")
        data, size = photos.read(image, f"camera {number} of {group.where}")
        pictures.append(data)
        sizes.append(size)
    named = [(entry, f"camera {number} of {group.where}") for number, entry in enumerate(group.entries)]
    points = np.stack([_array(e, "joints_2d", (joints, 2), w) for e, w in named]).astype(np.float32)
    cameras = [lens(e.get("camera"), w) for e, w in named]
    seen = _array(group.entries[0], "joints_3d_camera", (joints, 3), named[0][1])
    scales = np.stack([_array(e, "scale", (2,), w)[0] for e, w in named])
    if (scales <= 0).any():
        raise Problem(f"{group.where} has scale {scales.min():g}; a scale is the height of the box over 200 pixels")
    labelled = np.stack([_array(e, "joints_vis", (joints, 3), w)[:, 0] > 0 for e, w in named])
    hidden = np.stack(
        [_array(e, "joints_hidden", (joints,), w) if "joints_hidden" in e else np.zeros(joints) for e, w in named]
    )
    fields = {
        "points": np.where(labelled[..., None], points, 0),
        "labelled": labelled,
        "centers": np.stack([_array(e, "center", (2,), w) for e, w in named]),
        "scales": scales,
        "cameras": np.stack([one.to_vector() for one in cameras]),
        "world": (seen @ cameras[0].R + cameras[0].t).astype(np.float32),
        "hidden": hidden > 0,
        "norm": torso(points, labelled, H36M17).astype(np.float32),
    }
    width, height = (max(side) for side in zip(*sizes, strict=True))
    return Record(
        name=group.name,
        split=group.split,
        length=VIEWS,
        fields=fields,
        pictures=pictures,
        size=(width, height),
        action=group.action,
        subject=group.subject,
    )


def lens(entry: object, where: str) -> Camera:
    """The camera of a photo, with Human3.6M's lens; Problem, with `where`, if a number is missing."""
    if not isinstance(entry, dict):
        raise Problem(f"{where} has no dict 'camera'")
    shapes = {"R": (3, 3), "T": (3,), "fx": (1,), "fy": (1,), "cx": (1,), "cy": (1,), "k": (3,), "p": (2,)}
    R, t, *fc, k, p = (_array(entry, key, shape, f"the camera of {where}") for key, shape in shapes.items())
    f, c = np.concatenate(fc).reshape(2, 2)
    return Camera(R, t, f, c, k, p, camera.H36M)


def _array(entry: dict, key: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """A field as float64 of a given shape, from any shape with as many finite numbers."""
    try:
        found = np.asarray(entry[key], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise Problem(f"{where} has no numbers in {key!r}") from error
    if found.size != np.prod(shape) or not np.isfinite(found).all():
        raise Problem(f"{key!r} of {where} has shape {found.shape}, expected {shape} of finite numbers")
    return found.reshape(shape)


def _integer(entry: dict, key: str, where: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise Problem(f"{where} has no whole number in {key!r}")
    return int(value)
