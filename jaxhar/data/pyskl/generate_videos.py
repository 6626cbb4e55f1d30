"""Generates a pickle of pyskl's form with the videos in which its skeletons are."""

import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np

from jaxhar.core import classes
from jaxhar.core import skeleton as layouts
from jaxhar.core.skeleton import COCO
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.data.generate import film
from jaxhar.data.generate.body import SKELETON
from jaxhar.data.generate.film import Synth, output_folder
from jaxhar.data.pyskl.generate import CLASSES, FILE
from jaxhar.host import files

VIDEOS = "videos"


def write(out: Path, synth: Synth) -> None:
    """Generates skeletons.pkl with the splits xsub_train and xsub_val, classes.txt and videos/; see `output_folder`.

    The points of the face, which the figures lack, have score 0.
    """
    with output_folder(Path(out), synth, "pyskl-videos") as finished:
        if finished:
            return
        folder = Path(out) / VIDEOS
        folder.mkdir(exist_ok=True)
        place = layouts.mapping(SKELETON, COCO)
        width, height = synth.size
        annotations, splits = [], {"xsub_train": list[str](), "xsub_val": list[str]()}
        for sequence in film.plan(synth):
            footage, _ = film.shoot(synth, sequence)
            name = f"{sequence.number:04d}"
            with VideoWriter(folder / f"{name}.mp4", Fraction(25), width, height) as writer:
                for t, image in enumerate(footage.frames):
                    writer.write(np.ascontiguousarray(image[..., ::-1]), t / 25)
            known = place >= 0
            points = np.where(known[:, None], footage.joints[:, place], 0)
            score = np.where(known, footage.visible[:, place], False)
            annotations.append(
                {
                    "frame_dir": name,
                    "label": classes.PENN.index(sequence.action),
                    "img_shape": (height, width),
                    "original_shape": (height, width),
                    "total_frames": len(points),
                    "keypoint": np.where(score[..., None], points, 0)[None].astype(np.float16),
                    "keypoint_score": score[None].astype(np.float16),
                }
            )
            splits["xsub_train" if sequence.train else "xsub_val"].append(name)
        files.write(Path(out) / CLASSES, ("\n".join(classes.PENN) + "\n").encode())
        files.write(Path(out) / FILE, pickle.dumps({"split": splits, "annotations": annotations}, protocol=4))
