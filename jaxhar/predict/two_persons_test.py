"""Two persons of a generated video who do different things: each gets an identity and its own action."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from jaxhar.core.skeleton import PENN, mapping
from jaxhar.data import uniform
from jaxhar.data.generate import film
from jaxhar.data.generate.body import SKELETON
from jaxhar.data.generate.film import Synth
from jaxhar.data.people import videos
from jaxhar.finetune.skeletons import Skeletons, SkeletonTrainer, poseconv
from jaxhar.predict.frame_result import FrameResult
from jaxhar.predict.skeleton_actions import SkeletonActions
from jaxhar.predict.tracking import Detected, Tracker
from jaxhar.weights import checkpoint

SYNTH = Synth(36, 6, 36, 6, frames=(24, 30), size=(240, 160), clutter=0.0)
ACTIONS = ("jumping_jacks", "clean_and_jerk", "strum_guitar")
FRAMES, JOINTS = 12, mapping(SKELETON, PENN)


def scenes(train: bool):
    """The scenes of the training performers or of the others, in which the persons do different things of `ACTIONS`."""
    for planned in film.plan(SYNTH, ACTIONS):
        if planned.train == train:
            other = ACTIONS[(ACTIONS.index(planned.action) + 1) % len(ACTIONS)]
            yield videos.scene(SYNTH, planned, (other,))


def trained() -> SkeletonActions:
    """A small network, trained on true joints of performers who are not in the tests."""
    points, labels = [], []
    for made in scenes(train=True):
        for actor in made.actors:
            way = made.camera.project(actor.performance.joints)[0][:, JOINTS]  # (T, J, 2)
            rng = np.random.RandomState(len(points))
            chosen = [uniform.random_clip(len(way), FRAMES, rng) for _ in range(4)]
            points.append([way[frames] / SYNTH.size[0] for frames in chosen])
            labels.append(ACTIONS.index(actor.action))
    every = np.array(points)
    clips = Skeletons.one_person(every, np.ones(every.shape[:-1]), np.array(labels))
    config = dataclasses.replace(poseconv(PENN, (FRAMES, 1), len(ACTIONS)), base=4, size=12)
    model = SkeletonTrainer(config, 120, 0).train(clips, range(len(labels)), 16, "skeletons", progress=False)
    return SkeletonActions(Path("trained"), model, checkpoint.Meta(PENN, ACTIONS, config), 1.0)


@pytest.mark.slow
def test_two_persons_who_do_different_things_get_two_actions():
    network = trained()
    right = total = 0
    for made in scenes(train=False):
        tracker, frames, truth = Tracker(), [], {}
        for t, shot in enumerate(made.shots()):
            pose = np.stack([one.joints[JOINTS] for one in shot.people])
            sure = np.ones(pose.shape[:2])
            found = Detected(np.stack([one.box for one in shot.people]), np.ones(len(pose)), pose, sure)
            ids = tracker.add(t, t / 25, found)
            frames.append(
                [FrameResult(t, *one, id=who) for *one, who in zip(found.boxes, pose, sure, ids, strict=True) if who]
            )
            truth |= {who: made.actors[n].action for n, who in enumerate(ids) if who}
        assert len(tracker.tracks) == 2, "the persons keep their identities"
        network.name(frames, PENN, 25.0, SYNTH.size[::-1], several=True)
        last = {one.id: ACTIONS[int(one.action.argmax())] for one in frames[10] if one.id}
        assert last.keys() == truth.keys()
        right, total = right + sum(last[who] == truth[who] for who in truth), total + 2
    assert right >= 0.9 * total, (right, total)
