"""Opens a model from its written name `provider/name` (`openai/NAME@SERVER` for a server of its own)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from safemlrm.errors import UsageError
from safemlrm.registry import nearest
from safemlrm.settings import Settings, find_server
from safemlrm.types import Model

if TYPE_CHECKING:
    from safemlrm.models.limits import Limits

PROVIDERS = {
    "openai": "any OpenAI-compatible server: openai/NAME with --base-url, or openai/NAME@SERVER",
    "embedded": "the demonstration models in this package: embedded/base, embedded/reasoner",
}
EMBEDDED = ("base", "reasoner")


class ModelOptions(Struct, frozen=True, kw_only=True):
    """Generation options (they belong to the model's Spec) and how requests are sent (they do not)."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    system: str = ""
    extra: dict[str, Any] = {}
    base_url: str | None = None
    concurrency: int = 32
    timeout: float = 120.0
    retries: int = 5


def open_model(text: str, options: ModelOptions, settings: Settings, servers: dict[str, Limits]) -> Model:
    """The model of that name. Nothing is loaded or contacted before the first question.

    `servers` keeps the limits of each server by URL, so that models on one server share them; it is added to.

    Raises:
        UsageError: unknown provider, model or server, or an option that this provider cannot honour.
    """
    provider, slash, name = text.partition("/")
    if not slash or not name or provider not in PROVIDERS:
        hint = nearest(provider, PROVIDERS)
        known = ", ".join(f"{one}/NAME" for one in PROVIDERS)
        raise UsageError(f"model '{text}': no provider '{provider}'{hint}; write one of: {known}")
    return _embedded(name, options) if provider == "embedded" else _openai(name, options, settings, servers)


def _embedded(name: str, options: ModelOptions) -> Model:
    from safemlrm.models.embedded import EmbeddedModel

    if name not in EMBEDDED:
        raise UsageError(
            f"no model 'embedded/{name}'{nearest(name, EMBEDDED)}; there are: embedded/base, embedded/reasoner"
        )
    if options.system or options.extra:
        raise UsageError(f"embedded/{name} takes no --{'system' if options.system else 'extra'}; leave it out")
    given = {"max_tokens": options.max_tokens, "temperature": options.temperature, "top_p": options.top_p}
    set_options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    return EmbeddedModel("base" if name == "base" else "reasoner", **set_options)


def _openai(name: str, options: ModelOptions, settings: Settings, servers: dict[str, Limits]) -> Model:
    from safemlrm.models.limits import Limits
    from safemlrm.models.openai import OpenAIModel

    model, _, address = name.partition("@")
    server = find_server(address, settings, options.base_url)
    limits = servers.setdefault(
        server.url,
        Limits(
            options.concurrency,
            requests_per_minute=server.requests_per_minute,
            tokens_per_minute=server.tokens_per_minute,
        ),
    )
    return OpenAIModel(
        model,
        base_url=server.url,
        key=server.key,
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        system=options.system,
        extra=options.extra,
        timeout=options.timeout,
        retries=options.retries,
        limits=limits,
        label=f"openai/{name}",
    )
