"""`safemlrm show`"""

from __future__ import annotations

import inspect
from typing import Annotated, Any, get_type_hints

import typer

from safemlrm.cli.common import Json, print_json, tell
from safemlrm.errors import UsageError
from safemlrm.registry import KINDS, Component, components, load_plugin, nearest


def show(
    name: Annotated[str, typer.Argument(help="A component, e.g. figstep or attack:figstep.")],
    plugin: Annotated[list[str] | None, typer.Option(help="Python file of components; repeats.")] = None,
    json: Json = False,
) -> int:
    """Show what a component does, its source and its options."""
    for path in plugin or []:
        load_plugin(path)
    kind, colon, bare = name.partition(":")
    wanted = (kind, bare) if colon and kind in KINDS else (None, name)
    everything = [c for k in KINDS for c in components(k)]
    found = [c for c in everything if c.name == wanted[1] and wanted[0] in (None, c.kind)]
    if not found:
        known = {c.name for c in everything}
        raise UsageError(f"no component called '{name}'{nearest(wanted[1], known)}; see 'safemlrm list KIND'")
    if json:
        print_json([_facts(c) for c in found])
    else:
        tell("\n\n".join(_text(c) for c in found))
    return 0


def _facts(component: Component) -> dict[str, Any]:
    facts: dict[str, Any] = {
        field: getattr(component, field)
        for field in ("kind", "name", "version", "source", "license", "size", "category", "about")
    }
    target: Any = component.target
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    facts["options"] = {
        name: {"type": _type_text(hints[name]), "default": None if p.default is p.empty else p.default}
        for name, p in component.options.items()
    }
    if component.kind == "attack":
        facts["first_prompt"] = _first_prompt(component)
    return facts


def _type_text(hint: Any) -> str:
    return (
        " | ".join(map(repr, hint.__args__))
        if getattr(hint, "__args__", None)
        else getattr(hint, "__name__", str(hint))
    )


def _first_prompt(component: Component) -> list[str]:
    """What the attack makes of the first request of the toy benchmark."""
    from safemlrm.cli.plan_text import prompt_lines
    from safemlrm.registry import build, parse

    sample = next(iter(build("benchmark", parse("benchmark", "toy")).samples()))
    return prompt_lines(build("attack", parse("attack", component.name))(sample))


def _text(component: Component) -> str:
    facts = _facts(component)
    lines = [f"{component.kind} {component.name}, version {component.version}", "", component.about, ""]
    lines += [f"{k}: {facts[k]}" for k in ("source", "license", "size", "category") if facts[k]]
    for name, option in facts["options"].items():
        lines.append(f"option {name} ({option['type']}), default {option['default']!r}")
    if "first_prompt" in facts:
        lines += ["first prompt on the toy benchmark:", *facts["first_prompt"]]
    return "\n".join(lines)
