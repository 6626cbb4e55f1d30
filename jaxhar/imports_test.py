"""Checks which packages each package may import; every package needs a row."""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

BELOW = {"core", "host", "nn"}
LIBRARY = BELOW | {"models", "data", "inference", "zoo", "evaluation", "weights", "training", "port", "export", "viz"}
#: What the files of a package (or a module at the top) may import of the others.
ROWS = {
    "core": set(),
    "host": set(),
    "nn": set(),
    "models": {"core", "nn"},
    "data": {"core", "host"},
    "inference": {"core", "nn"},
    "zoo": BELOW | {"models"},
    "evaluation": {"core", "host", "inference"},
    "weights": BELOW | {"zoo"},
    "training": BELOW | {"weights", "evaluation"},
    "port": BELOW | {"weights", "zoo", "inference"},
    "export": BELOW | {"weights", "zoo", "inference"},
    "viz": {"core", "host", "evaluation", "training"},
    "predict": LIBRARY,
    "checks": LIBRARY,
    "run": LIBRARY,
    "sweep": LIBRARY | {"run"},
    "finetune": LIBRARY | {"predict", "checks", "run"},
    "cli": LIBRARY | {"predict", "checks", "run", "sweep", "finetune"},
}
#: Packages that only some files may import, by folder or file under jaxhar/.
GUARDED = {
    "torch": {"weights/torch.py"},
    "torch_ref": {"weights/torch.py"},
    "onnxruntime": {"predict/onnx_detector.py", "export.py"},
    "sklearn": {"finetune"},
    "requests": {"host/download.py"},
    "absl": {"data/pipeline.py"},  # Grain's worker processes read its flags
    "grain": {"data"},
    "tensorflow_datasets": {"data/records/shards.py"},
    "matplotlib": {"viz/plots.py"},
    "jinja2": {"viz/report.py"},
    "wandb": {"training/loggers.py"},
    "ezc3d": {"predict/c3d_file.py"},
    "submitit": {"host/slurm.py"},
}


def sources(folder: Path = ROOT / "jaxhar") -> list[Path]:
    return [p for p in sorted(folder.rglob("*.py")) if not p.name.endswith("_test.py")]


@functools.cache
def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def package(path: Path) -> str:
    """The folder or module at the top of jaxhar/ that a file belongs to; "" for jaxhar/__init__.py."""
    name = path.relative_to(ROOT / "jaxhar").with_suffix("").parts[0]
    return "" if name == "__init__" else name


def modules_of(path: Path) -> Iterator[Path]:
    """The files of jaxhar/ that a file imports."""
    for name in imports(path):
        if name.startswith("jaxhar."):
            place = ROOT / name.replace(".", "/")
            if place.with_suffix(".py").is_file():
                yield place.with_suffix(".py")


def test_every_package_has_a_row():
    assert {package(path) for path in sources()} - {""} == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_a_package_imports_only_what_its_row_allows(name):
    for path in sources():
        if package(path) == name:
            assert {package(other) for other in modules_of(path)} - {name, ""} <= ROWS[name], path


def test_a_family_imports_no_other_family():
    for path in sources(ROOT / "jaxhar" / "models"):
        families = {other.parent.name for other in modules_of(path) if package(other) == "models"}
        assert families <= {path.parent.name}, path


def test_a_data_set_imports_no_other_data_set():
    folder = ROOT / "jaxhar" / "data"
    shared = {"data", "records", "formats", "generate"}
    reads = {"people": {"mpii"}}  # the boxes of MPII's persons are made of its annotations, which have three forms
    for path in sources(folder):
        if path.parent != folder:
            others = {other.parent.name for other in modules_of(path) if package(other) == "data"}
            assert others <= shared | {path.parent.name} | reads.get(path.parent.name, set()), path


def test_no_import_goes_in_a_circle():
    order = TopologicalSorter({path: set(modules_of(path)) - {path} for path in sources()})
    order.prepare()  # raises CycleError, which names the circle


def test_special_packages_stay_where_they_are_used():
    for path in sources():
        for name, allowed in GUARDED.items():
            if any(found.split(".")[0] == name for found in imports(path)):
                place = path.relative_to(ROOT / "jaxhar")
                assert {str(place), place.parts[0]} & allowed, (name, path)
    for path in sources(ROOT / "torch_ref"):
        assert not {name.split(".")[0] for name in imports(path)} & {"jax", "flax", "jaxhar"}, path


def test_inference_and_prediction_work_without_the_training_packages():
    """In a process where they cannot be imported."""
    code = (
        "import sys\n"
        "for name in ('tensorflow_datasets', 'grain', 'tensorflow', 'torch', 'tensorboardX', 'matplotlib', 'jinja2'):\n"
        "    sys.modules[name] = None\n"
        "import numpy as np, jaxhar, jaxhar.cli.main, jaxhar.predict.predictor, jaxhar.weights.checkpoint\n"
        "from jaxhar.models.reception.network import ReceptionConfig\n"
        "model = jaxhar.zoo.create(ReceptionConfig.tiny(num_blocks=1, num_actions=3))\n"
        "print(jaxhar.infer(model, np.zeros((1, 2, 64, 64, 3), np.float32))['action'].shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(9, 1, 3)", done.stderr


def test_the_house_stays_in_order():
    """Sizes beyond which it is time to tidy up: files at the top, long files, late imports, loose types."""
    assert len([path for path in sources() if path.parent == ROOT / "jaxhar"]) <= 10
    late = probes = loose = 0
    for path in sources():
        text = path.read_text()
        assert text.count("\n") <= 420, path
        functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        inside = {n for f in functions for n in ast.walk(f) if isinstance(n, ast.Import | ast.ImportFrom)}
        late += len(inside)
        probes += len(re.findall(r"\bgetattr\(", text))
        loose += len(re.findall(r"(?:: |-> )Any\b", text))
    assert late <= 60 and probes <= 30 and loose <= 60, (late, probes, loose)
