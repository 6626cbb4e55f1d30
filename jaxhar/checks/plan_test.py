"""The command `jaxhar plan` against arrays and figures of the same network."""

import dataclasses
import math
from pathlib import Path

import jax
import optax
import pytest

from jaxhar.checks import plan
from jaxhar.cli import main as cli
from jaxhar.data.penn.settings import Penn
from jaxhar.host.errors import Problem
from jaxhar.nn import platform
from jaxhar.training import stages
from jaxhar.training.experiment import Experiment, Stage, Train, load
from jaxhar.training.loop_test import TinyConfig
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import Optimizer
from jaxhar.training.step import check
from jaxhar.weights import net

SIDE = 16
CONFIGS = Path(__file__).parents[2] / "configs"
SPECS = [
    *("mpii:paper", "h36m:paper", "penn:paper", "ntu:paper", "spnet_pose:paper", "spnet_penn:paper", "spnet_ntu:paper"),
    *("lip:paper", "mpii_resnet:paper", "multiview:paper", "ntu_skeleton:paper", "poseconv3d:paper"),
    *("poseconv3d:rgbpose", "people:paper", "mae:demo", "mae:benefit", "mae_finetune:tenth", "image_mae:demo"),
    *("finetune:demo", "own_joints:demo"),
]


def experiment(**train) -> Experiment:
    return Experiment(
        name="tiny",
        model=TinyConfig(num_joints=16),
        data=Penn(clip_frames=4, image_size=SIDE, clips_per_batch=4),
        losses=Multitask(),
        optimizer=Optimizer(optax.sgd, {"momentum": 0.9}, table=(("action.*", 0.0), (".*", 1.0))),
        train=Train(steps=1, **train),
    )


def test_a_step_by_its_parts():
    tiny = experiment()
    with platform.planned():
        (step,) = plan.steps(tiny, [1])
    assert (step.name, step.devices, step.batch, step.examples) == ("tiny", 1, "4 clips of 4", 4)
    sizes = {name: 4 * math.prod(array.shape) for name, array in net.abstract(tiny.model, False).params.items()}
    weights = sum(sizes.values())
    assert weights * 2 < step.state < weights * 2.1  # the momentum, statistics and keys of random numbers
    frames = 4 * 4 * SIDE**2 * 3
    assert frames < step.input < 1.5 * frames
    assert step.gradients == weights - sizes["action.kernel"] - sizes["action.bias"]
    assert step.kept == 2 * step.state + step.gradients
    convolution, pose, action = 4 * 4 * (SIDE // 2) ** 2 * 8 * 9 * 3, 4 * 4 * 8 * 32, 4 * 8 * 4
    assert step.multiply_adds == 2 * convolution + 3 * pose + 2 * action  # neither frames nor action have gradients
    assert step.rest > step.gradients


def test_floors_by_hand():
    step = plan.Step("", 16, "", 16, True, 10, 10, 10, int(1e9), int(2e9), int(8e9), int(494.7e9), 0.0)
    times = step.times(plan.H100)
    assert math.isclose(times["products"], 1e-3) and math.isclose(times["memory"], 3 / 3350)
    assert math.isclose(times["links"], 2 * 8 * 7 / 8 / 450) and math.isclose(times["network"], 2 * (8 / 8) / 2 / 50)
    alone = dataclasses.replace(step, devices=1, half=False).times(plan.H100)
    assert math.isclose(alone["products"], 2e-3) and alone["links"] == alone["network"] == 0


def test_what_cannot_be_planned_is_told():
    tiny = experiment()
    with pytest.raises(Problem, match="train.devices is 2, but this machine has 1"):
        plan.steps(tiny, [2])
    wrong = dataclasses.replace(tiny, stages={"one": Stage(1, data={"clips": 3})})
    with pytest.raises(Problem, match="the data of stage 'one': data has no 'clips'"):
        plan.steps(wrong, [1])


@pytest.mark.parametrize("words", ["0", "1,x", "", "-1"])
def test_numbers_of_devices(words, capfd):
    assert cli.main(["plan", "absent.py", f"--devices={words}"]) == 2
    assert "are not numbers of devices" in capfd.readouterr().err


@pytest.mark.slow
def test_the_command_in_a_child_process(capfd):
    config = f"{CONFIGS / 'ntu_skeleton.py'}:demo"
    assert cli.main(["plan", config, "--devices", "1,4", "--config.model.width=16"]) == 0
    lines = [line.split("|") for line in capfd.readouterr().out.splitlines() if line.startswith("|")]
    one, four = ([cell.strip() for cell in line[1:-1]] for line in lines[2:])
    assert (one[1], four[1]) == ("1", "4") and one[2] == four[2] == "16 clips of 6"
    assert float(one[4]) == pytest.approx(4 * float(four[4]), rel=0.01) and one[3] == four[3]
    assert cli.main(["plan", config, "--devices", "3"]) == 1
    assert "a batch of 16 clips cannot be split over 3 devices" in capfd.readouterr().err
    assert cli.main(["plan", config, "--config.model.wide=16"]) == 2
    assert "did you mean" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS)
def test_every_experiment_has_shapes_without_its_data(spec, tmp_path):
    name, _, which = spec.partition(":")
    found = load(f"{CONFIGS / name}.py:{which}")
    with platform.planned():
        prepared = found.data.generated().prepare(tmp_path)  # type: ignore[attr-defined]
        for part in stages.parts(found):
            batches = plan._shapes(prepared, part, [8])
            check(net.abstract(part.stage.model, False), part.stage.losses, batches)
            assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(batches))
