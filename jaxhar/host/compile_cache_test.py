import inspect
import os
import subprocess
import sys
from pathlib import Path

import jax
from jax._src import compilation_cache
from jax._src.compilation_cache_interface import CacheInterface

from jaxhar.host import compile_cache as compiled

PROGRAM = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("error")
import jax, jax.numpy as jnp
from jax._src import monitoring
from jaxhar.host import compile_cache
compile_cache.enable(Path(sys.argv[1]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
events = []
monitoring.register_event_listener(lambda name, **_: events.append(name))
print(float(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.arange(4.0))), events.count("/jax/compilation_cache/cache_hits") > 0)
"""


def start(folder: Path, **changes: str) -> subprocess.Popen:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env={**kept, "JAX_PLATFORMS": "cpu", **changes},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen) -> tuple[str, str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and not err, err
    return tuple(out.split())


def test_two_processes_write_and_a_third_reads_even_after_damage(tmp_path: Path):
    together = [start(tmp_path), start(tmp_path)]
    answers = {said(process)[0] for process in together}
    assert len(answers) == 1
    programs = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert programs and not [path for path in programs if path.suffix == ".tmp"]
    assert said(start(tmp_path)) == (*answers, "True")
    for path in programs:
        path.write_bytes(path.read_bytes()[:-7])
    assert said(start(tmp_path)) == (*answers, "False"), "damaged: compiled again"
    assert said(start(tmp_path)) == (*answers, "True"), "and replaced"


def test_a_folder_that_cannot_be_made_is_gone_without(tmp_path: Path):
    (tmp_path / "file").touch()
    assert said(start(tmp_path / "file"))[1] == "False"


def test_the_users_own_cache_stays(tmp_path: Path):
    said(start(tmp_path / "ours", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own")))
    assert not (tmp_path / "ours").exists()


def test_what_was_not_used_for_longest_goes(tmp_path: Path):
    store = compiled.Programs(tmp_path)
    for age, key in enumerate(("new", "middle", "old")):
        store.put(key, bytes(1000))
        os.utime(tmp_path / key, (1e9 - age, 1e9 - age))
    assert store.get("old") == bytes(1000), "used: now the newest"
    compiled._shrink(tmp_path, 2 * (tmp_path / "old").stat().st_size)
    assert store.get("middle") is None and store.get("new") is not None and store.get("old") is not None
    assert store.get("never") is None


def test_the_private_parts_of_jax_that_are_replaced_are_those_of_the_versions_that_are_allowed():
    """If this fails, a new JAX was let in by setup.cfg: look at jax._src.compilation_cache before anything else."""
    assert (0, 10) <= jax.version.__version_info__[:2] < (0, 12)
    assert list(inspect.signature(compilation_cache.get_file_cache).parameters) == ["path"]
    abstract = {name for name in ("get", "put") if callable(getattr(CacheInterface, name))}
    assert abstract == {"get", "put"} and CacheInterface.__abstractmethods__ <= abstract
    source = inspect.getsource(compilation_cache)
    assert "get_file_cache(" in source.replace("def get_file_cache(", "")  # it is still asked for the cache
