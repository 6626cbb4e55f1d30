"""Every experiment's demo with all its stages, end to end on data in the forms of the real sets; only smaller."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxhar import zoo
from jaxhar.data.mixed import Mixed
from jaxhar.host.errors import Usage
from jaxhar.host.settings import override
from jaxhar.training import experiment as config
from jaxhar.training import stages
from jaxhar.training.step import check
from jaxhar.weights import checkpoint
from jaxhar.weights.net import Net

CONFIGS = Path(__file__).parent
NARROW = {"model.num_blocks": 1, "model.width": 24, "model.stem_width": 4, "model.kernel_size": 1}
STREAMS = {"model.pose_stream_width": 16, "model.visual_stream_width": 16}
PYRAMIDS = {"model.growth": 8, "model.num_levels": 2, "model.kernel_size": 1}
FEATURES = {"model.num_pose_features": 16, "model.num_visual_features": 16}
PLAIN = {"train.steps": 2}
NARROW_MAPS = {"width": 4, "deconv_filters": (4, 4, 4)}
MAPS = {f"model.{key}": value for key, value in NARROW_MAPS.items()} | PLAIN
SMALL = {
    "mpii": NARROW | PLAIN | {"data.stills_per_batch": 2, "evals.mpii.views": ("single",), "train.calibrate": True},
    "h36m": NARROW | PLAIN | {"data.stills": {"h36m": 1, "mpii": 1}, "evals.h36m.views": ("single",)},
    "lip": MAPS | {"data.stills_per_batch": 2},
    "mpii_resnet": MAPS | {"data.stills_per_batch": 2, "evals.mpii.views": ("single",)},
    "multiview": {f"{place}model.{key}": value for place in ("", "stages.views.") for key, value in NARROW_MAPS.items()}
    | {"data.clips": {"h36m": 1, "mpii": 1}, "stages.fusion.data.clips.h36m": 1}
    | {f"stages.{stage}.steps": 2 for stage in ("views", "fusion", "all")},
    "poseconv3d": {"train.steps": 2, "model.base": 4, "model.blocks": (1, 1, 1), "data.clips_per_batch": 2},
    "ntu_skeleton": {"train.steps": 2, "model.width": 8, "model.depth": 1, "data.clips_per_batch": 2},
    "ntu": NARROW
    | STREAMS
    | {"stages.pose.data.stills": {"ntu": 1, "mpii": 1, "h36m": 1}, "data.clips.ntu": 2, "stages.pose.steps": 2}
    | {"stages.heads.steps": 2, "stages.all.steps": 2},
    "spnet_pose": PYRAMIDS
    | PLAIN
    | {"data.stills": {"mpii": 1, "h36m": 1, "penn": 1, "ntu": 1}, "evals.h36m.views": ("single",)},
    "spnet_penn": PYRAMIDS
    | FEATURES
    | {"data.stills.mpii": 2, "data.clips.penn": 2, "stages.heads.steps": 2, "stages.all.steps": 2},
    "spnet_ntu": PYRAMIDS
    | FEATURES
    | {"data.stills_per_batch": 2, "data.clips_per_batch": 2, "stages.heads.steps": 2, "stages.all.steps": 2},
}
#: These are run end to end among the slow tests; here each of their stages is tried on a batch of its data.
LONG = ("h36m", "ntu", "spnet_pose", "spnet_penn", "spnet_ntu", "lip", "mpii_resnet", "multiview")
#: Compiling takes most of the time; programs that are run twice need not be fast.
QUICKLY = {"XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"}


def small(name):
    """Settings that cut down the demo of a config, its network and its data."""
    experiment = config.load(f"{CONFIGS / name}.py:demo")
    changes = dict(SMALL[name])
    sets = experiment.data.sets if isinstance(experiment.data, Mixed) else {"": experiment.data}
    for key, data in sets.items():
        prefix = f"data.sets.{key}.synth" if key else "data.synth"
        changes[f"{prefix}.train_sequences"] = 4
        changes[f"{prefix}.test_sequences"] = 2
        changes[f"{prefix}.frames"] = (min(8, data.synth.frames[0]), 8)
    for stage in ("", *(f"stages.{name}." for name, s in experiment.stages.items() if s.optimizer)):
        changes[f"{stage}optimizer.schedule_options.warmup_steps"] = 1
        changes[f"{stage}optimizer.rule"] = "adam"  # Muon's iterations, one set for each kernel, compile for long
    return {key: str(value) for key, value in changes.items()}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in SMALL]
)
def test_demo_end_to_end(name, tmp_path):
    changes = small(name)
    words = [f"--config={CONFIGS / name}.py:demo", *(f"--config.{key}={value}" for key, value in changes.items())]
    command = [sys.executable, CONFIGS.parent / "launch.py", f"--workdir={tmp_path}", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CONFIGS.parent, env={**os.environ, **QUICKLY})
    assert done.returncode == 0, done.stderr
    experiment = override(config.load(f"{CONFIGS / name}.py:demo"), changes)
    _, *others = experiment.evals
    for out in (tmp_path, *(tmp_path / name for name in others)):
        results = json.loads((out / "results.json").read_text())
        assert results["examples"] and all(math.isfinite(v) for v in results["scalars"].values() if v is not None)
        assert (out / "report.html").stat().st_size > 10_000
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if "loss" in row]
    assert steps == list(range(2, experiment.steps + 1, 2))  # a row for every stage
    assert bool(experiment.model.classes) == any("clips/action" in row for row in rows)
    calibrated = checkpoint.load_model(tmp_path)[1].calibration
    assert (calibrated is not None) == ("joints: temperature" in done.stdout) == experiment.train.calibrate
    assert "EMBEDDED DEMO" in done.stdout and done.stdout.count("report:") == len(experiment.evals)


@pytest.mark.parametrize("name", LONG)
def test_every_stage_of_a_demo_fits_its_data(name, tmp_path):
    experiment = override(config.load(f"{CONFIGS / name}.py:demo"), small(name))
    data = experiment.data.prepare(tmp_path)
    net = Net(zoo.create(experiment.model))
    for part in stages.parts(experiment):
        assert part.optimizer(net).init(net.params)
        stream = data.changed(**part.stage.data).train_stream(0)
        check(net, part.stage.losses, next(stream))
        stream.close()


@pytest.mark.parametrize("name", [*SMALL, "penn"])
def test_the_paper_is_the_default_where_its_data_is(name, tmp_path, monkeypatch):
    path = str(CONFIGS / f"{name}.py")
    monkeypatch.delenv("JAXHAR_DATA", raising=False)
    demo = config.load(path)
    assert demo.name.endswith("-demo") and "EMBEDDED DEMO" in demo.banner
    for folder in (
        "Penn_Action",
        "MPII",
        "Human3.6M",
        "nturgb+d",
        "LIP",
        "Human3.6M-multiview",
        "MPII-groups",
        "pyskl",
    ):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("JAXHAR_DATA", str(tmp_path))
    paper = config.load(path)
    assert paper.name.startswith(demo.name.removesuffix("-demo")) and not paper.banner
    assert next(iter(paper.evals.values())).published
    assert paper.steps > 10_000 > demo.steps
    assert paper.model.pixels is None or paper.model.image_size == 256
    with pytest.raises(Usage, match="there is no experiment :papre; there are only :demo, :paper"):
        config.load(f"{path}:papre")
