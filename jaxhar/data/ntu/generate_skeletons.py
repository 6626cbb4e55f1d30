"""Generates .skeleton files of NTU RGB+D's form alone: 12 motions of one person and 3 of two."""

from pathlib import Path

from jaxhar.data.generate import scenes
from jaxhar.data.generate.film import Synth, output_folder
from jaxhar.data.ntu.generate import BODY_ID, kinects, skeleton_text
from jaxhar.host import files

CLASSES = "classes.txt"


def write(out: Path, synth: Synth) -> None:
    """Generates nturgb+d_skeletons/NAME.skeleton and classes.txt; see `output_folder`."""
    with output_folder(Path(out), synth, "ntu-skeleton") as finished:
        if finished:
            return
        folder = Path(out) / "nturgb+d_skeletons"
        folder.mkdir(exist_ok=True)
        files.write(Path(out) / CLASSES, ("\n".join(scenes.ACTIONS) + "\n").encode())
        for take in scenes.plan(synth):
            camera = kinects(take.setup, (1920, 1080))[take.camera - 1]
            persons = [(BODY_ID + i, performance) for i, performance in enumerate(scenes.play(synth, take))]
            files.write(folder / f"{take.name}.skeleton", skeleton_text(persons, camera).encode())
