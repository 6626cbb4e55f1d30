"""Who may import whom: the layers of the package, read off the source files."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: What a module of the package may import of the package; names of folders cover what is in them.
BASE = {"actions", "batch", "camera", "errors", "geometry", "heatmaps", "skeleton"}
ALLOWED = {
    "actions": set(),
    "batch": set(),
    "errors": set(),
    "files": {"errors"},
    "skeleton": set(),
    "geometry": set(),
    "camera": set(),
    "heatmaps": {"batch", "skeleton", "geometry"},
    "losses": BASE,
    "metrics": BASE,
    "metrics3d": BASE | {"metrics"},
    "nn": BASE | {"nn"},
    "models": BASE | {"nn", "models"},
    "data": BASE | {"files", "data"},
    "viz": BASE,
}
#: Modules that serve every network and data set: they name none.
GENERIC = {"train", "net", "evaluate", "checkpoint", "optim", "history", "report", "scores"}
#: Packages that only some modules may know.
GUARDED = {
    "torch": set(),
    "torch_ref": {"convert"},  # the twin's weight files, and for export its way to ONNX
    "flax": {
        "nn",
        "models",
        "zoo",
        "port",
        "inference",
        "checkpoint",
        "net",
        "train",
        "evaluate",
        "overfit",
        "doctor",
        "finetune",
        "frozen",
        "export",
        "cost",
    },
    "onnxruntime": {"export"},
    "sklearn": {"baseline", "folds"},
    "requests": {"download"},
    "absl": {"data"},  # Grain's worker processes read its flags
}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(path: Path) -> str:
    """The folder or module of the package that a file belongs to."""
    return path.relative_to(ROOT / "jaxhar").with_suffix("").parts[0]


SOURCES = [p for p in (ROOT / "jaxhar").rglob("*.py") if not p.name.endswith("_test.py") and p.name != "__init__.py"]
MODULES = {room(p) for p in SOURCES}


def of_package(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("jaxhar.")} & MODULES


def test_layers():
    for path in SOURCES:
        allowed = ALLOWED.get(room(path))
        if allowed is not None:
            assert of_package(imports(path)) <= allowed, path


def test_a_model_knows_no_other_model():
    """Files of one family begin alike."""
    for path in (p for p in SOURCES if p.parent.name == "models"):
        family = f"jaxhar.models.{path.stem.split('_')[0]}"
        others = {n for n in imports(path) if n.startswith("jaxhar.models") and not n.startswith(family)}
        assert not others, path


def test_the_loop_names_no_network_and_no_data_set():
    for path in SOURCES:
        if room(path) in GENERIC:
            assert not of_package(imports(path)) & {"models", "zoo", "data", "losses"}, path


def test_heavy_packages_stay_in_their_rooms():
    for path in SOURCES:
        for package, rooms in GUARDED.items():
            if any(name.split(".")[0] == package for name in imports(path)):
                assert room(path) in rooms, (package, path)
    for path in (ROOT / "torch_ref").rglob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & {"jax", "flax", "jaxhar"}, path


def test_inference_works_without_the_training_packages():
    """In a process where they cannot be imported."""
    code = (
        "import sys\n"
        "for name in ('tensorflow_datasets', 'grain', 'tensorflow', 'torch', 'tensorboardX', 'matplotlib', 'jinja2'):\n"
        "    sys.modules[name] = None\n"
        "import numpy as np, jaxhar, jaxhar.cli, jaxhar.predict, jaxhar.checkpoint\n"
        "from jaxhar.models.reception import Config\n"
        "model = jaxhar.zoo.create(Config.tiny(num_blocks=1, num_actions=3))\n"
        "print(jaxhar.infer(model, np.zeros((1, 2, 64, 64, 3), np.float32))['action'].shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(9, 1, 3)", done.stderr
