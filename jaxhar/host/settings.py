"""Changing settings from text by dotted name, and comparing the settings of two runs."""

import ast
import dataclasses
import difflib
import enum
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optax

from jaxhar.host.errors import Problem, Usage

Owner = typing.TypeVar("Owner")


def override(experiment: Owner, changes: Mapping[str, str]) -> Owner:
    """A copy with dotted fields replaced by values parsed from text, e.g. {"train.steps": "10"}.

    Text is parsed as the declared type of the field: numbers, true/false, None, tuples and dicts as Python literals. If
    the field holds an optax function, write the name of another one, e.g. `adamw`. The fields of one object change
    together, so that their order does not matter. Raises Usage for an unknown name or an invalid value.
    """
    if not changes:
        return experiment
    return _replace(experiment, [_Change(key.split("."), text, key) for key, text in changes.items()])


def flatten(value: object, prefix: str = "") -> dict[str, str]:
    """Dotted name -> value as text of every setting in nested dataclasses, for comparing two configurations.

    Fields with metadata {"free": True} are omitted; they do not affect results, e.g. a path or a number of threads.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if not f.metadata.get("free")}
    elif isinstance(value, Mapping):
        items = {str(k): v for k, v in value.items()}
    else:
        return {prefix: _describe(value)}
    flat: dict[str, str] = {}
    for name, item in items.items():
        flat |= flatten(item, f"{prefix}.{name}" if prefix else name)
    return flat


def defaults(value: object, prefix: str = "") -> dict[str, str]:
    """Dotted name -> default value as text of every setting that has one, with the names of `flatten`."""
    found: dict[str, str] = {}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for f in dataclasses.fields(value):
            name = f"{prefix}.{f.name}" if prefix else f.name
            if f.metadata.get("free"):
                continue
            if f.default is not dataclasses.MISSING:
                found |= flatten(f.default, name)
            elif f.default_factory is not dataclasses.MISSING:
                found |= flatten(f.default_factory(), name)
            found |= defaults(getattr(value, f.name), name)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            found |= defaults(item, f"{prefix}.{key}" if prefix else str(key))
    return found


def check_same(
    saved: Mapping[str, str],
    now: Mapping[str, str],
    workdir: str,
    option: str = "--workdir",
    defaults: Mapping[str, str] | None = None,
) -> None:
    """Raises Problem with the differences between two `flatten`ed configurations of one run in `workdir`.

    Functions are compared by name without their module, which may change between versions. A setting that is missing in
    `saved` counts as its default.

    Args:
      saved, now: the configurations.
      workdir: of the run, for the message.
      option: the option that sets another working directory, for the message.
      defaults: default values of the settings in `now`.
    """
    before = {**(defaults or {}), **saved}
    names = [
        name
        for name in sorted(saved.keys() | now.keys())
        if _comparable(before.get(name)) != _comparable(now.get(name))
    ]
    if names:
        changes = "; ".join(f"{n} was {before.get(n, 'absent')}, now {now.get(n, 'absent')}" for n in names[:5])
        more = f"; and {len(names) - 5} more" if len(names) > 5 else ""
        raise Problem(
            f"{workdir} holds a run with other settings ({changes}{more}); use the same settings to "
            f"resume it, or another {option}"
        )


def _comparable(text: str | None) -> str | None:
    """A value as text for comparison: functions without their modules, the old word "authors" as "deephar"."""
    text = text and text.replace("'authors'", "'deephar'")
    if text is None or not re.match(r"[A-Za-z_]\w*\.[A-Za-z_]", text):
        return text
    return re.sub(r"(^|[(=,] ?)(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", r"\1", text)


def _describe(value: object) -> str:
    """A value as text that is the same in every process: functions by name, other objects by class, no addresses."""
    if hasattr(value, "func") and hasattr(value, "keywords"):
        options = ", ".join(f"{k}={_describe(v)}" for k, v in sorted(value.keywords.items()))
        return f"{_describe(value.func)}({options})"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    text = repr(value)
    return f"{type(value).__module__}.{type(value).__qualname__}" if " at 0x" in text else text


class _Change(NamedTuple):
    """A new value as text: the names of the fields that lead to it from an object, and from the outermost one."""

    names: list[str]
    text: str
    key: str


def _replace(owner: Any, changes: Sequence[_Change]) -> Any:
    """`owner` with some changes at once."""
    groups: dict[str, list[_Change]] = {}
    for change in changes:
        groups.setdefault(change.names[0], []).append(change)
    values = {name: _value(owner, name, group) for name, group in groups.items()}
    if isinstance(owner, Mapping):
        return {**owner, **values}
    try:
        return dataclasses.replace(owner, **values)
    except (TypeError, ValueError) as error:
        given = " ".join(f"--config.{change.key}={change.text}" for change in changes)
        raise Usage(f"{given}: {error}") from error


def _value(owner: Any, name: str, changes: Sequence[_Change]) -> Any:
    """The new value of a field of `owner`, which is replaced, or in which something changes."""
    names, _, key = changes[0]
    where = ".".join(key.split(".")[: -len(names)]) or "the experiment"
    whole = [change for change in changes if not change.names[1:]]
    inner = [change._replace(names=change.names[1:]) for change in changes if change.names[1:]]
    if isinstance(owner, Mapping):
        if inner and name in owner:
            return _replace(owner[name], inner)
        if any(dataclasses.is_dataclass(item) for item in owner.values()):
            raise Usage(f"--config.{key}: {where} has {', '.join(owner)}; name one of them and a setting of it")
        if inner:
            raise Usage(f"--config.{key}: {where} has no nested settings")
        return _literal(whole[-1].text)
    if not dataclasses.is_dataclass(owner):
        raise Usage(f"--config.{key}: {where} is {_describe(owner)} and has no settings")
    fields = [f.name for f in dataclasses.fields(owner) if f.init]
    if name not in fields:
        raise Usage(f"--config.{key}: {unknown(name, fields, where)}")
    value = getattr(owner, name)
    for change in whole:
        value = _parse(change.text, value, _annotation(owner, name), change.key)
    return _replace(value, inner) if inner else value


def _annotation(owner: object, name: str) -> object:
    try:
        return typing.get_type_hints(type(owner)).get(name, Any)
    except NameError:  # a name imported for type checkers only
        return Any


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _parse(text: str, current: object, annotation: object, key: str) -> object:
    """`text` as the declared type, or as the type of the current value if the declaration is `Any`."""
    allowed = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    if text == "None" and (type(None) in allowed or (annotation is Any and current is None)):
        return None
    kinds = [a for a in allowed if a is not type(None)]
    if Any in kinds or not kinds:
        kinds = [type(current)] if current is not None else []
    if callable(current) and not isinstance(current, type) and not dataclasses.is_dataclass(current):
        return _optax(text, key)
    if dataclasses.is_dataclass(current):
        fields = ", ".join(f.name for f in dataclasses.fields(current))
        raise Usage(f"--config.{key}={text}: set one of its own settings instead, --config.{key}.NAME: {fields}")
    for kind in kinds:
        try:
            return _as(kind, text)
        except (ValueError, SyntaxError, TypeError, KeyError):
            continue
    if not kinds:
        return _literal(text)
    names = " or ".join(k.__name__ if isinstance(k, type) else str(k) for k in kinds)
    raise Usage(f"--config.{key}={text}: expected {names}, as in the current value {current!r}")


def _is_union(annotation: object) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _as(annotation: Any, text: str) -> object:
    """`text` as a type; ValueError, SyntaxError, TypeError or KeyError if it is not one."""
    if type(None) in typing.get_args(annotation):  # within a tuple
        (other,) = set(typing.get_args(annotation)) - {type(None)}
        return None if text == "None" else _as(other, text)
    kind = typing.get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind[text.upper()] if text.upper() in kind.__members__ else kind(text)
    if kind is bool:
        return {"true": True, "false": False}[text.lower()]
    if kind in (str, Path):
        return kind(text)
    if kind is int:
        return int(text.replace("_", ""))
    if kind is float:
        return float(text)
    value = ast.literal_eval(text)
    if kind is tuple and isinstance(value, tuple | list):
        items = [a for a in typing.get_args(annotation) if a is not ...]
        if len(items) > 1 and len(items) != len(value):
            raise ValueError(f"{len(items)} values expected")
        items = items * len(value) if len(items) == 1 else items
        return (
            tuple(_as(a, v if isinstance(v, str) else repr(v)) for a, v in zip(items, value, strict=True))
            if items
            else tuple(value)
        )
    if not isinstance(value, kind):
        raise TypeError(f"not a {kind}")
    return value


def _optax(name: str, key: str) -> object:
    found = getattr(optax, name, None) if not name.startswith("_") else None
    if callable(found):
        return found
    known = [n for n in dir(optax) if not n.startswith("_") and callable(getattr(optax, n))]
    near = difflib.get_close_matches(name, known, 1, 0.3)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise Usage(f"--config.{key}={name}: optax has no such function{hint}")


def setting(text: str) -> tuple[str, str]:
    """The name and value of "NAME=VALUE"; Usage for other text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise Usage(f"--set {text}: give NAME=VALUE, e.g. num_frames=8")
    return name, value


def changed(owner: Owner, fields: Mapping[str, object], where: str) -> Owner:
    """A copy of a dataclass with some fields changed; Usage for an unknown name, with the most similar one."""
    known = [f.name for f in dataclasses.fields(owner) if f.init]  # type: ignore[arg-type]
    for name in fields:
        if name not in known:
            raise Usage(unknown(name, known, where))
    return dataclasses.replace(owner, **fields)  # type: ignore[type-var]


def unknown(name: str, known: Iterable[str], where: str) -> str:
    """Message that `where` has no `name`, with the most similar name."""
    known = list(known)
    near = difflib.get_close_matches(name, known, 1, 0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{where} has no {name!r}; {hint}it has {', '.join(known)}"
