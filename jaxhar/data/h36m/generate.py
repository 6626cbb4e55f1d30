"""Generates photos in Human3.6M's layouts: deephar's annotations.mat, and the pickles of H36M-Toolbox.

Seven subjects perform in the middle of a room in front of four fixed cameras with the lenses of the real ones. The 15
motions replace the 15 activities. Only frames that are used later are drawn: every 5th of the training subjects, every
64th of the test subjects.
"""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxhar.core import classes as actions
from jaxhar.core.camera import Camera
from jaxhar.core.skeleton import H36M
from jaxhar.data.formats import matfile
from jaxhar.data.formats.jpeg import encode
from jaxhar.data.generate import film as synthetic
from jaxhar.data.generate import scenery
from jaxhar.data.generate.body import SKELETON, Performance, turn, with_head_top
from jaxhar.data.generate.figure import FigureView, draw_figure
from jaxhar.data.generate.film import Synth
from jaxhar.data.generate.room import cameras
from jaxhar.data.h36m import folder as h36m_folder
from jaxhar.host.errors import Problem

_J = {name: i for i, name in enumerate(SKELETON.joints)}


@dataclass(frozen=True)
class H36MTake:
    """One performance: subject by Human3.6M's number, `action` an index in `actions.H36M`, `episode` from 1."""

    subject: int
    action: int
    episode: int
    performer: int

    def name(self, view: int) -> str:
        """Deephar's name of one camera's photos."""
        return f"a{self.action + 2:02d}_s{self.subject:02d}_e{self.episode:02d}_c{view:02d}"

    def toolbox(self, view: int) -> str:
        """The toolbox's name of one camera's photos."""
        act = actions.H36M_TOOLBOX.index(actions.H36M[self.action]) + 2
        return f"s_{self.subject:02d}_act_{act:02d}_subact_{self.episode:02d}_ca_{view:02d}"


@dataclass(frozen=True)
class Shot:
    """The photos of one camera: numbers from 1, joints (n, 32, 3) in world mm, photos (h, w, 3) BGR uint8."""

    take: H36MTake
    view: int
    camera: Camera
    numbers: tuple[int, ...]
    joints: np.ndarray
    photos: Iterator[np.ndarray]


def plan(synth: Synth) -> list[H36MTake]:
    """All performances, training subjects first; activities alternate, and for each activity the subjects do."""
    takes = []
    for count, performers, subjects, first in (
        (synth.train_sequences, synth.train_performers, h36m_folder.TRAIN_SUBJECTS, 0),
        (synth.test_sequences, synth.test_performers, h36m_folder.TEST_SUBJECTS, len(h36m_folder.TRAIN_SUBJECTS)),
    ):
        people = min(performers, len(subjects))
        if count > 99 * people * len(actions.H36M):
            raise Problem(f"cannot generate {count} performances of {people} subjects: their names have two digits")
        for i in range(count):
            time, action = divmod(i, len(actions.H36M))
            person = (time + action) % people
            takes.append(H36MTake(subjects[person], action, time // people + 1, first + person))
    return takes


def all_joints(joints: np.ndarray) -> np.ndarray:
    """Human3.6M's 32 joints (..., 32, 3) in mm from a performance's (..., 21, 3) in metres."""
    mm = 1000 * with_head_top(np.asarray(joints, float))

    def of(name: str) -> np.ndarray:
        return mm[..., _J[name], :]

    found = {name: of(name) for name in SKELETON.joints if name in H36M.joints}
    # these joints of the trunk have deephar's names, but the data set's positions
    found |= {"spine": of("pelvis") + [0, 0, 0.1], "thorax": of("spine"), "neck": of("thorax"), "nose": of("neck")}
    for s in "lr":
        found[f"{s}_toes"] = of(f"{s}_foot") + 0.46 * (of(f"{s}_foot") - of(f"{s}_ankle"))
        found[f"{s}_clavicle"], found[f"{s}_thumb_base"] = of("thorax"), of(f"{s}_wrist")
        found[f"{s}_thumb"], found[f"{s}_hand_end"] = (of(f"{s}_wrist") + of(f"{s}_hand")) / 2, of(f"{s}_hand")
    return np.stack([found[name] for name in H36M.joints], axis=-2)


def shoot(synth: Synth, take: H36MTake) -> list[Shot]:
    """A performance seen by all four cameras; photos are drawn during iteration."""
    rng = np.random.default_rng([synth.seed, take.subject, take.action, take.episode, 36])
    person = synthetic.performer(synth.seed, take.performer)
    every = h36m_folder.TRAIN_EVERY if take.subject in h36m_folder.TRAIN_SUBJECTS else h36m_folder.TEST_EVERY
    count = int(rng.integers(synth.frames[0], synth.frames[1] + 1))
    performance, _ = synthetic.stage(actions.PENN[take.action], person, count, rng)
    performance = turn(performance, rng.uniform(0, 360))
    place = np.append(rng.uniform(-0.6, 0.6, 2), 0.0)
    performance = Performance(performance.joints + place, performance.face)
    numbers = tuple(1 + every * i for i in range(count))
    joints = all_joints(performance.joints)
    return [
        Shot(take, view, camera, numbers, joints, _paint(synth, take, view, camera, performance))
        for view, camera in enumerate(cameras(take.subject, synth.size), 1)
    ]


def _paint(synth: Synth, take: H36MTake, view: int, camera: Camera, performance: Performance) -> Iterator[np.ndarray]:
    room = np.random.default_rng([synth.seed, take.subject, view, 37])
    background = scenery.background(*synth.size, room, synth.clutter)
    light = room.uniform(0.75, 1.1)
    grain = np.random.default_rng([synth.seed, take.subject, take.action, take.episode, view, 38])
    person = synthetic.performer(synth.seed, take.performer)

    def project(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        uvd = camera.project(1000 * np.asarray(points))
        return uvd[..., :2], uvd[..., 2] / 1000

    eye = camera.t / 1000
    for joints, face in zip(performance.joints, performance.face, strict=True):
        image = background.copy()
        draw_figure(
            image, FigureView.of(joints, face, project, camera.f.mean(), eye), person.body, person.clothes, [], light
        )
        noise = grain.normal(0, 3 * synth.clutter, image.shape)
        yield np.clip(image + noise, 0, 255).astype(np.uint8)


def write(out: Path, synth: Synth, progress: bool = True) -> None:
    """Generate a data set in both layouts into the folder `out`, made where it does not exist.

    It gets deephar's form, annotations.mat and images/a02_s01_e01_c01/00001.jpg ..., and in toolbox/ the same photos
    in the form of H36M-Toolbox, annot/h36m_train.pkl, annot/h36m_validation.pkl and images/s_01_act_02_...; at the end
    `synthetic.json` with the settings. A complete folder of the same settings is not changed, an incomplete one is
    written again.

    Args:
      synth: `train_sequences` and `test_sequences` are performances, each filmed by four cameras, of at most 5 and 2
        performers; `frames` are photos of each.

    Raises:
      Problem: `out` holds something else or cannot be written to, or the settings are wrong.
    """
    out = Path(out)
    with synthetic.output_folder(out, synth, "h36m") as finished:
        if finished:
            return
        sequences: dict[str, list[dict]] = {"tr": [], "val": [], "te": []}
        entries: dict[str, list[dict]] = {"train": [], "validation": []}
        for number, take in enumerate(tqdm(plan(synth), desc="filming", unit="performance", disable=not progress)):
            training = take.subject in h36m_folder.TRAIN_SUBJECTS
            for shot in shoot(synth, take):
                _write_photos(out, shot)
                sequences["tr" if training else "val"].append(_sequence(shot, synth.size))
                video = 4 * number + shot.view - 1
                entries["train" if training else "validation"] += _entries(shot, video)
        (out / h36m_folder.DEEPHAR).write_bytes(_annotations(sequences))
        (out / "toolbox" / "annot").mkdir(parents=True, exist_ok=True)
        for split, photos in entries.items():
            (out / "toolbox" / "annot" / f"h36m_{split}.pkl").write_bytes(pickle.dumps(photos, protocol=2))


def _write_photos(out: Path, shot: Shot) -> None:
    folder, other = shot.take.name(shot.view), shot.take.toolbox(shot.view)
    deephar, toolbox = out / "images" / folder, out / "toolbox" / "images" / other
    for path in (deephar, toolbox):
        path.mkdir(parents=True, exist_ok=True)
    for number, photo in zip(shot.numbers, shot.photos, strict=True):
        jpeg = encode(photo, synthetic.QUALITY)
        (deephar / f"{number:05d}.jpg").write_bytes(jpeg)
        (toolbox / f"{other}_{number:06d}.jpg").write_bytes(jpeg)


def _sequence(shot: Shot, size: tuple[int, int]) -> dict[str, object]:
    """A sequence of deephar's file; its p has p2 first."""
    camera = shot.camera
    frames = [
        {"w": float(size[0]), "h": float(size[1]), "f": float(number), "pose3d": pose.T}
        for number, pose in zip(shot.numbers, shot.joints, strict=True)
    ]
    numbers = {"R": camera.R, "T": camera.t, "f": camera.f, "c": camera.c, "p": camera.p[::-1], "k": camera.k}
    return {
        "name": shot.take.name(shot.view),
        "frames": matfile.structs(frames, ("w", "h", "f", "pose3d")),
        "camera_parameters": {name: value.reshape(-1, value.shape[-1]) for name, value in numbers.items()},
    }


def _annotations(sequences: dict[str, list[dict]]) -> bytes:
    fields = ("name", "frames", "camera_parameters")
    return matfile.mat_bytes(
        {
            **{
                f"sequences_{part}": matfile.structs(part_sequences, fields)
                for part, part_sequences in sequences.items()
            },
            "action_labels": matfile.cells(actions.H36M),
            "joint_labels": matfile.cells(H36M.joints),
        }
    )


def _entries(shot: Shot, video: int) -> list[dict[str, object]]:
    """The photos of a shot as the toolbox lists them."""
    camera, take = shot.camera, shot.take
    folder = take.toolbox(shot.view)
    chosen = list(h36m_folder.TOOLBOX_JOINTS)
    numbers = {"R": camera.R, "T": camera.t[:, None], "k": camera.k[:, None], "p": camera.p[:, None]}
    lens = {key: np.array([value]) for key, value in zip(("fx", "fy", "cx", "cy"), [*camera.f, *camera.c], strict=True)}
    found = []
    for number, joints in zip(shot.numbers, shot.joints[:, chosen], strict=True):
        seen = (joints - camera.t) @ camera.R.T
        corners = seen[0] + np.array([[-1000.0, -900.0, 0.0], [1000.0, 1100.0, 0.0]])
        box = (corners[:, :2] / corners[:, 2:] * camera.f + camera.c).ravel()
        found.append(
            {
                "image": f"{folder}/{folder}_{number:06d}.jpg",
                "joints_2d": camera.project(joints)[:, :2],
                "joints_3d": seen,
                "joints_3d_camera": seen,
                "joints_vis": np.ones((len(chosen), 3)),
                "video_id": video,
                "image_id": number,
                "subject": take.subject,
                "action": int(folder.split("_")[3]),
                "subaction": take.episode,
                "camera_id": shot.view - 1,
                "source": "h36m",
                "camera": numbers | lens,
                "center": tuple(((box[:2] + box[2:]) / 2).tolist()),
                "scale": tuple(((box[2:] - box[:2]) / 200).tolist()),
                "box": box,
            }
        )
    return found
