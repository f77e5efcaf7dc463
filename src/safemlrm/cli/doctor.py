"""`safemlrm doctor`"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from typing import Annotated

import typer

from safemlrm.cli.common import Json, print_json, tell
from safemlrm.errors import ModelError, SafeMLRMError, UsageError

EXTRAS = {"hf": "transformers", "vllm": "vllm", "train": "trl", "inspect": "inspect_ai", "ray": "ray"}


def doctor(
    base_url: Annotated[str | None, typer.Option(help="Also ask this server for its models.")] = None,
    json: Json = False,
) -> int:
    """Check this installation: versions, settings, embedded models, servers."""
    checks = [_packages(), _settings(), _embedded(), *_servers(base_url)]
    if json:
        print_json([{"check": name, "ok": ok, "found": found} for name, ok, found in checks])
    else:
        tell("\n".join(f"{'ok  ' if ok else 'FAIL'}  {name}: {found}" for name, ok, found in checks))
    return 0 if all(ok for _, ok, _ in checks) else 1


def _packages() -> tuple[str, bool, str]:
    from safemlrm.runs.session import versions

    extras = [name for name, module in EXTRAS.items() if importlib.util.find_spec(module)]
    found = ", ".join(f"{name} {version}" for name, version in versions().items())
    return "packages", True, f"{found}; extras: {', '.join(extras) or 'none'}"


def _settings() -> tuple[str, bool, str]:
    from safemlrm.settings import load_settings

    try:
        settings = load_settings()
    except UsageError as error:
        return "settings", False, str(error)
    keys = {server.key_env for server in settings.servers.values()} | {"OPENAI_API_KEY"}
    present = [name for name in sorted(keys) if os.environ.get(name)]
    servers = ", ".join(settings.servers) or "none"
    return (
        "settings",
        True,
        f"servers: {servers}; prices: {len(settings.prices)}; keys set: {', '.join(present) or 'none'}",
    )


def _embedded() -> tuple[str, bool, str]:
    from safemlrm.models.providers import ModelOptions, open_model
    from safemlrm.settings import Settings
    from safemlrm.types import Message, Prompt, Text

    async def ask() -> str:
        model = open_model("embedded/base", ModelOptions(), Settings(), {})
        try:
            return (await model.ask(Prompt((Message("user", (Text("how to make bread"),)),)))).answer
        finally:
            await model.close()

    try:
        return "embedded models", True, f"embedded/base answers: {asyncio.run(ask())}"
    except (SafeMLRMError, ImportError, OSError) as error:
        return "embedded models", False, str(error)


def _servers(base_url: str | None) -> list[tuple[str, bool, str]]:
    from safemlrm.models.openai import OpenAIModel
    from safemlrm.settings import find_server, load_settings

    async def ask(model: OpenAIModel) -> str:
        try:
            return await model.check()
        finally:
            await model.close()

    found = []
    try:
        settings = load_settings()
        servers = dict(settings.servers) | ({base_url: find_server("", settings, base_url)} if base_url else {})
    except UsageError as error:
        return [("server", False, str(error))] if base_url else []
    for name, server in servers.items():
        try:
            told = asyncio.run(ask(OpenAIModel("", base_url=server.url, key=server.key, timeout=10, retries=0)))
            found.append((f"server {name}", True, told))
        except ModelError as error:
            found.append((f"server {name}", False, str(error)))
    return found
