"""Reads a Human3.6M folder: with deephar's annotations.mat, or with the pickles of H36M-Toolbox.

Ionescu, Papava, Olaru and Sminchisescu, PAMI 2014. Both forms have frames of the videos as photos:

    annotations.mat, images/a02_s01_e01_c01/00001.jpg ...                                 (activities by deephar)
    annot/h36m_train.pkl ..., images/s_01_act_02_subact_01_ca_01/s_01_..._000001.jpg ...  (by the data set's files)

Photos are numbered from 1, like the frames of the video at 50 Hz. Every 5th photo of the training subjects is used, and
every 64th of the test subjects, as in deephar. Joints are converted to deephar's 21, in world millimetres; the
toolbox's form has 17 of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxhar.core import camera
from jaxhar.core import classes as actions
from jaxhar.core.camera import Camera
from jaxhar.core.skeleton import H36M, PA21, mapping
from jaxhar.data.formats import jpeg, matfile, safe_pickle
from jaxhar.data.listing import shown
from jaxhar.data.records import record as records
from jaxhar.data.records.record import Skipped
from jaxhar.host.errors import Problem

DEEPHAR, TOOLBOX = "annotations.mat", "*.pkl"
TRAIN_SUBJECTS, TEST_SUBJECTS = (1, 5, 6, 7, 8), (9, 11)
TRAIN_EVERY, TEST_EVERY = 5, 64
#: The toolbox's 17 joints of the data set's 32. The other joints of deephar's 21 are missing.
TOOLBOX_JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 16, 14, 15, 17, 18, 19, 25, 26, 27)
_SAME_PLACE = {H36M.index("neck"): H36M.index("l_clavicle"), H36M.index("spine"): H36M.index("pelvis")}
_TO_PA21 = mapping(H36M, PA21)
_NEAR, _FAR = 500.0, 50_000.0  # mm from camera to person
_ASTRAY = 5.0  # largest distance in pixels between the file's image positions and its projected joints
_LAYOUT = (
    "annotations.mat with images/a02_s01_e01_c01/00001.jpg (deephar's form), "
    "or annot/*.pkl with images/s_01_act_02_subact_01_ca_01/ (H36M-Toolbox)"
)


@dataclass(frozen=True)
class LabelledPhoto:
    """One photo of one camera.

    Attributes:
      name: as in deephar's form, "a02_s09_e01_c01/00065". where: place of the label in its file, for messages.
      action: index in `actions.H36M`. view: camera, from 1.
      joints: (21, 3) world mm in PA21. size: (width, height) by the labels, None if they lack it.
      labelled: (21,) bool mask of the form's joints; the others are 0.
    """

    name: str
    where: str
    image: Path
    subject: int
    action: int
    view: int
    joints: np.ndarray
    labelled: np.ndarray
    camera: Camera
    size: tuple[int, int] | None = None

    @property
    def split(self) -> str:
        return "train" if self.subject in TRAIN_SUBJECTS else "test"


def check_root(root: str | Path) -> Path:
    """The folder, if it has one of the forms; otherwise a Problem that names the expected and the found files."""
    root = Path(root).expanduser()
    if not root.is_dir():
        raise Problem(f"{root} is not a folder; expected one with {_LAYOUT}")
    if not (root / DEEPHAR).is_file() and not _pickles(root):
        entries = sorted(e.name + ("/" if e.is_dir() else "") for e in root.iterdir())
        raise Problem(
            f"{root} is not a Human3.6M folder; expected {_LAYOUT}, found {', '.join(entries[:5]) or 'nothing'}"
        )
    if not _images(root).is_dir():
        raise Problem(f"the folder {root / 'images'} does not exist; expected {_LAYOUT}")
    return root


def folder(root: Path) -> records.Folder:
    """A checked root as a folder to pack: one record per photo; points are image pixels and depth in mm."""
    return records.Folder(
        title="Human3.6M",
        slug="h36m",
        root=root,
        actions=actions.H36M,
        fingerprint=lambda: fingerprint_lines(root),
        scan=lambda skip_broken: scan(root, skip_broken),
        load=load,
        fields=records.joint_fields(len(PA21), 3) | {"camera": records.Field((camera.SIZE,))},
    )


def fingerprint_lines(root: Path) -> Iterator[str]:
    """Name, size and time of label files, and name and time of the folders of photos.

    The photos themselves, up to millions, are not checked: delete the cache after replacing a photo.
    """
    yield str(root.resolve())
    for path in [root / DEEPHAR] if (root / DEEPHAR).is_file() else _pickles(root):
        stat = path.stat()
        yield f"{path.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}"
    for path in sorted(p for p in _images(root).iterdir() if p.is_dir()):
        yield f"{path.name} {path.stat().st_mtime_ns}"


def _images(root: Path) -> Path:
    """The folder of photos, which a script of deephar calls images.new."""
    new = root / "images.new"
    return new if new.is_dir() and not (root / "images").is_dir() else root / "images"


def _pickles(root: Path) -> list[Path]:
    """Label files of the toolbox, without its file of cameras."""
    for place in (root / "annot", root):
        found = sorted(p for p in shown(place.glob(TOOLBOX)) if p.name != "camera_data.pkl")
        if found:
            return found
    return []


def wanted(subject: int, number: int) -> bool:
    """Whether a photo, given by subject and number from 1, is used for training or test."""
    if subject in TRAIN_SUBJECTS:
        return number % TRAIN_EVERY == 1
    return subject in TEST_SUBJECTS and number % TEST_EVERY == 1


def scan(root: Path, skip_broken: bool = False) -> tuple[list[LabelledPhoto], list[Skipped]]:
    """All photos for training and test, in the order of the files, and the labels that were left out.

    Raises:
      Problem: a label file that cannot be read, is of another form or, without `skip_broken`, has an entry that is
        incomplete or impossible: file and entry are named.
    """
    if (root / DEEPHAR).is_file():
        candidates = _deephar(root / DEEPHAR, _images(root))
    else:
        candidates = (found for path in _pickles(root) for found in _toolbox(path, _images(root)))
    frames: dict[Path, LabelledPhoto] = {}
    skipped: list[Skipped] = []
    for found in candidates:
        try:
            if isinstance(found, Problem):
                raise found
            _check(found)
            if found.image in frames:
                raise Problem(f"{found.where} and {frames[found.image].where} both claim the photo {found.image}")
            frames[found.image] = found
        except Problem as problem:
            if not skip_broken:
                raise
            skipped.append(Skipped(str(root), str(problem)))
    return list(frames.values()), skipped


def _check(frame: LabelledPhoto) -> None:
    if not np.isfinite(frame.joints).all():
        raise Problem(f"{frame.where} has a joint at NaN or infinity; repair the file")
    if not np.isfinite(frame.camera.to_vector()).all() or (frame.camera.f <= 0).any():
        raise Problem(f"the camera of {frame.where} has impossible parameters; repair the file")
    if frame.size is not None and min(frame.size) <= 0:
        raise Problem(f"{frame.where} has a photo of {frame.size[0]} x {frame.size[1]} pixels; repair the file")
    depth = float(frame.camera.project(frame.joints[:1])[0, 2])
    if not _NEAR < depth < _FAR:
        raise Problem(
            f"{frame.where} puts the person {depth:.0f} mm in front of the camera; expected {_NEAR:.0f} to {_FAR:.0f} "
            "mm, and a box that is not empty"
        )


def load(frame: LabelledPhoto, skip_broken: bool = False) -> tuple[records.Record | None, list[Skipped]]:
    """The record of a photo; None, and the reason, if `skip_broken` leaves it out."""
    return records.or_skipped(partial(_record, frame), frame.image, skip_broken)


def _record(frame: LabelledPhoto) -> records.Record:
    data, size = jpeg.read_jpeg(frame.image)
    if frame.size is not None and size != frame.size:
        raise Problem(f"the frame {frame.image} has {size} pixels, but {frame.where} says {frame.size}")
    uvd = np.where(frame.labelled[:, None], frame.camera.project(frame.joints), 0)
    return records.Record(
        name=frame.name,
        split=frame.split,
        length=1,
        fields={
            "points": uvd[None].astype(np.float32),
            "labelled": frame.labelled[None],
            "camera": frame.camera.to_vector().astype(np.float32),
        },
        pictures=[data],
        size=size,
        action=frame.action,
        subject=frame.subject,
        view=frame.view,
    )


def _deephar(path: Path, images: Path) -> Iterator[LabelledPhoto | Problem]:
    """Photos of annotations.mat; for a sequence or photo with errors, a Problem is yielded in its place."""
    mat = matfile.load(path, "h36m-deephar")
    for part in ("sequences_tr", "sequences_val", "sequences_te"):
        for number, sequence in enumerate(matfile.items(mat[part])):
            where = f"sequence {number + 1} of {part} of {path}"
            try:
                name, action, subject, view = _named(sequence, where)
                seen_by = _deephar_camera(matfile.attribute(sequence, "camera_parameters"), where)
            except Problem as problem:
                yield problem
                continue
            for index, frame in enumerate(matfile.items(matfile.attribute(sequence, "frames"))):
                where = f"frame {index + 1} of sequence {name} of {path}"
                f, w, h = (matfile.number(frame, field) for field in "fwh")
                pose = matfile.numbers(frame, "pose3d", (3, len(H36M)))
                if f is None or w is None or h is None or pose is None:
                    yield Problem(f"{where} lacks one of f, w, h or pose3d (3 x {len(H36M)}); restore the file")
                elif wanted(subject, int(f)):
                    yield LabelledPhoto(
                        name=f"{name}/{int(f):05d}",
                        where=where,
                        image=images / name / f"{int(f):05d}.jpg",
                        subject=subject,
                        action=action,
                        view=view,
                        joints=pose.T[_TO_PA21],
                        labelled=np.ones(len(PA21), bool),
                        camera=seen_by,
                        size=(int(w), int(h)),
                    )


def _named(sequence: object, where: str) -> tuple[str, int, int, int]:
    """Name, action, subject and camera of a sequence, from a name like a02_s01_e01_c01."""
    name = str(matfile.attribute(sequence, "name"))
    parts = name.split("_")
    numbers = [int(part[1:]) if part[1:].isdigit() else -1 for part in parts]
    if [part[:1] for part in parts] != list("asec") or not 2 <= numbers[0] < 2 + len(actions.H36M):
        raise Problem(f"{where} is named {name!r}; expected names like a02_s01_e01_c01, with a02 to a16")
    return name, numbers[0] - 2, numbers[1], numbers[3]


def _deephar_camera(struct: object, where: str) -> Camera:
    shapes: dict[str, tuple[int, ...]] = {"R": (3, 3), "T": (3,), "f": (2,), "c": (2,), "k": (3,), "p": (2,)}
    R, t, f, c, k, p = (matfile.numbers(struct, name, shape) for name, shape in shapes.items())
    if R is None or t is None or f is None or c is None or k is None or p is None:
        raise Problem(f"{where} has no camera_parameters with R, T, f, c, k and p; restore the file")
    # deephar's projection adds r2 p to (x, y), so that p2 is first in the file
    return Camera(R, t, f, c, k, p[::-1], camera.H36M)


def _toolbox(path: Path, images: Path) -> Iterator[LabelledPhoto | Problem]:
    """Photos of one pickle, a list with a dict for each photo."""
    entries = safe_pickle.load(path)
    if not isinstance(entries, list):
        raise Problem(f"{path} has no list of photos; is it a label file of H36M-Toolbox?")
    for index, entry in enumerate(entries):
        where = f"entry {index} of {path}"
        try:
            if not isinstance(entry, dict):
                raise Problem(f"{where} is not a dict with image, joints_3d_camera and camera")
            subject, number = (_integer(entry, key, where) for key in ("subject", "image_id"))
            if wanted(subject, number):
                yield _toolbox_frame(entry, subject, number, where, images)
        except Problem as problem:
            yield problem


def _toolbox_frame(entry: dict, subject: int, number: int, where: str, images: Path) -> LabelledPhoto:
    act, take, view = (_integer(entry, key, where) for key in ("action", "subaction", "camera_id"))
    if not 2 <= act < 2 + len(actions.H36M_TOOLBOX):
        raise Problem(f"{where} has action {act}; expected 2 to {1 + len(actions.H36M_TOOLBOX)}")
    image = entry.get("image")
    if not isinstance(image, str) or not image:
        raise Problem(f"{where} has no file name in 'image'")
    action = actions.H36M.index(actions.H36M_TOOLBOX[act - 2])
    seen = _array(entry, "joints_3d_camera", (len(TOOLBOX_JOINTS), 3), where)
    seen_by = _toolbox_camera(entry.get("camera"), where)
    if "joints_2d" in entry:
        uv = Camera(np.eye(3), np.zeros(3), seen_by.f, seen_by.c, seen_by.k, seen_by.p, seen_by.w).project(seen)[:, :2]
        gap = np.abs(uv - _array(entry, "joints_2d", uv.shape, where)).max()
        if gap > _ASTRAY:
            raise Problem(f"joints_2d of {where} is {gap:.0f} pixels off its joints_3d_camera; the camera does not fit")
    joints, labelled = np.zeros((len(H36M), 3)), np.zeros(len(H36M), bool)
    joints[list(TOOLBOX_JOINTS)], labelled[list(TOOLBOX_JOINTS)] = seen @ seen_by.R + seen_by.t, True
    for missing, other in _SAME_PLACE.items():
        joints[missing], labelled[missing] = joints[other], True
    name = f"a{action + 2:02d}_s{subject:02d}_e{take:02d}_c{view + 1:02d}/{number:05d}"
    return LabelledPhoto(
        name=name,
        where=where,
        image=images / image,
        subject=subject,
        action=action,
        view=view + 1,
        joints=joints[_TO_PA21],
        labelled=labelled[_TO_PA21],
        camera=seen_by,
    )


def _toolbox_camera(entry: object, where: str) -> Camera:
    if not isinstance(entry, dict):
        raise Problem(f"{where} has no dict 'camera'")
    where = f"the camera of {where}"
    f, c = (
        [float(_array(entry, key, None, where).ravel()[0]) for key in keys] for keys in (("fx", "fy"), ("cx", "cy"))
    )
    R, t, k, p = (_array(entry, key, n, where) for key, n in (("R", (3, 3)), ("T", 3), ("k", 3), ("p", 2)))
    return Camera(R, t, np.array(f), np.array(c), k, p, camera.H36M)


def _array(entry: dict, key: str, shape: tuple[int, ...] | int | None, where: str) -> np.ndarray:
    """A field as float64, of a given shape or with a given number of values."""
    try:
        found = np.asarray(entry[key], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise Problem(f"{where} has no numbers in {key!r}") from error
    if found.size == 0 or found.size != (found.size if shape is None else np.prod(shape)):
        raise Problem(f"{key!r} of {where} has shape {found.shape}, expected {shape}")
    return found.reshape(shape) if isinstance(shape, tuple) else found.ravel()


def _integer(entry: dict, key: str, where: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise Problem(f"{where} has no whole number in {key!r}")
    return int(value)
