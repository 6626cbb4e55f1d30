"""Two configurations of one run: functions that moved to another module, settings that came later."""

import dataclasses
import functools

import pytest

from jaxhar.host.errors import Problem, Usage
from jaxhar.host.settings import check_same, defaults, flatten, override


@dataclasses.dataclass(frozen=True)
class Inner:
    a: int = 1
    later: str = "x"


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = Inner(a=5, later="special")
    rule: object = functools.partial(flatten, prefix=defaults)


def test_functions_are_compared_without_their_modules():
    now = flatten(Outer())
    assert now["rule"] == "jaxhar.host.settings.flatten(prefix=jaxhar.host.settings.defaults)"
    check_same(now | {"rule": "jaxhar.config.flatten(prefix=jaxhar.config.defaults)"}, now, "run")
    for rule in ("jaxhar.config.flatten(prefix=jaxhar.config.override)", "jaxhar.config.flat(prefix=x.defaults)"):
        with pytest.raises(Problem, match="rule was jaxhar.config"):
            check_same(now | {"rule": rule}, now, "run")
    for one, other in (("'a.mp4'", "'b.mp4'"), ("0.1", "0.2"), ("'x.y'", "'z.y'")):
        with pytest.raises(Problem, match="rule was"):
            check_same({"rule": one}, {"rule": other}, "run")


def test_a_setting_that_an_older_version_did_not_have_counts_as_its_default():
    """Of its class, not of the preset that it is part of."""
    old = {"inner.a": "5", "rule": "x"}
    for later, same in (("x", True), ("special", False)):
        outer = Outer(Inner(5, later), rule=None)
        now = flatten(outer) | {"rule": "x"}
        if same:
            check_same(old, now, "run", defaults=defaults(outer))
            with pytest.raises(Problem, match="inner.later was absent, now 'x'"):
                check_same(old, now, "run")
        else:
            with pytest.raises(Problem, match="inner.later was 'x', now 'special'"):
                check_same(old, now, "run", defaults=defaults(outer))


@dataclasses.dataclass(frozen=True)
class Clip:
    frames: int = 16
    shown: int = 8

    def __post_init__(self):
        if self.frames != 2 * self.shown:
            raise ValueError("shown must be half of frames")


@dataclasses.dataclass(frozen=True)
class Study:
    clip: Clip = Clip()
    by_name: dict = dataclasses.field(default_factory=lambda: {"one": Clip()})


@pytest.mark.parametrize("order", [1, -1])
def test_settings_that_fit_only_together_change_together(order):
    words = {"clip.frames": "4", "clip.shown": "2", "by_name.one.shown": "3", "by_name.one.frames": "6"}
    found = override(Study(), dict(list(words.items())[::order]))
    assert found == Study(Clip(4, 2), {"one": Clip(6, 3)})
    with pytest.raises(Usage, match="--config.clip.frames=4.*shown must be half of frames"):
        override(Study(), {"clip.frames": "4"})
    assert override(Study(), {}) == Study()
