"""`safemlrm.toml`: servers, keys' variables, limits and prices; and which server a model is asked on."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from safemlrm.errors import UsageError
from safemlrm.models.openai import OpenAIModel
from safemlrm.models.providers import ModelOptions, open_model
from safemlrm.runs.budget import needed_prices
from safemlrm.runs.options import RunOptions
from safemlrm.settings import Server, Settings, find_server, load_settings

WHOLE = """
[servers.lab]
url = "http://127.0.0.1:8000/v1"
key_env = "LAB_KEY"
requests_per_minute = 600
tokens_per_minute = 2e5

[servers.plain]
url = "https://example.org/v1"

[prices."openai/NAME"]
input = 0.5
output = 1.5
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, and a user's configuration folder beside it."""
    (tmp_path / "work").mkdir()
    (tmp_path / "config").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(platformdirs, "user_config_path", lambda name: tmp_path / "config")
    return tmp_path / "work"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "safemlrm.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_no_file_is_no_settings(folder: Path) -> None:
    assert load_settings() == Settings()


def test_all_parts_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, WHOLE)
    found = load_settings()
    assert found.servers["lab"] == Server("http://127.0.0.1:8000/v1", "LAB_KEY", 600, 200_000)
    assert found.servers["plain"].key_env == "OPENAI_API_KEY"
    assert (found.prices["openai/NAME"].input, found.prices["openai/NAME"].output) == (0.5, 1.5)
    assert found.servers["lab"].key == ""
    monkeypatch.setenv("LAB_KEY", "secret")
    assert found.servers["lab"].key == "secret"


def test_the_working_folder_comes_before_the_users(folder: Path) -> None:
    write(folder.parent / "config", '[servers.theirs]\nurl = "http://a"')
    assert list(load_settings().servers) == ["theirs"]
    write(folder, '[servers.mine]\nurl = "http://b"')
    assert list(load_settings().servers) == ["mine"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("servers = ", "Invalid value"),
        ("[server.lab]\nurl = 'http://a'", "unknown field `server`"),
        ("[servers.lab]", "missing required field `url`"),
        ("[servers.lab]\nurl = 'http://a'\nkey = 'sk-1'", "unknown field `key`"),
        ("[servers.lab]\nurl = '127.0.0.1:8000'", "`$.servers[...].url`"),
        ("[servers.lab]\nurl = 'http://a'\nrequests_per_minute = 0", "`$.servers[...].requests_per_minute`"),
        ("[servers.lab]\nurl = 'http://a'\ntokens_per_minute = 'many'", "`$.servers[...].tokens_per_minute`"),
        ("[prices.'openai/m']\ninptu = 1", "unknown field `inptu`"),
        ("[prices.'openai/m']\ninput = -1", "`$.prices[...].input`"),
        (b"a = '\xff'", "can't decode byte"),
    ],
)
def test_a_wrong_file_is_one_line_with_file_and_field(text: str | bytes, wanted: str, folder: Path) -> None:
    path = write(folder, text)
    with pytest.raises(UsageError) as error:
        load_settings()
    told = str(error.value)
    assert told.startswith(f"{path}: ")
    assert wanted in told
    assert told.endswith("; correct the file")
    assert "\n" not in told


LAB = Settings(servers={"lab": Server("http://lab/v1", "LAB_KEY")})


@pytest.mark.parametrize(
    ("name", "base_url", "url", "key_env"),
    [
        ("http://here/v1", None, "http://here/v1", "OPENAI_API_KEY"),
        ("http://here/v1", "http://there/v1", "http://here/v1", "OPENAI_API_KEY"),
        ("lab", None, "http://lab/v1", "LAB_KEY"),
        ("lab", "http://there/v1", "http://lab/v1", "LAB_KEY"),
        ("", "lab", "http://lab/v1", "LAB_KEY"),
        ("", "http://there/v1", "http://there/v1", "OPENAI_API_KEY"),
    ],
)
def test_the_server_is_found(name: str, base_url: str | None, url: str, key_env: str) -> None:
    assert find_server(name, LAB, base_url) == Server(url, key_env)


def test_the_environment_is_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert find_server("", Settings(), None).url == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://env/v1")
    assert find_server("", Settings(), None).url == "http://env/v1"
    assert find_server("", Settings(), "http://given/v1").url == "http://given/v1"


@pytest.mark.parametrize(
    ("name", "base_url", "wanted"),
    [
        ("", None, "which server? give its URL (--base-url,"),
        ("lba", None, "no server 'lba' in safemlrm.toml; it has: lab"),
        ("", "127.0.0.1:8000", "--base-url '127.0.0.1:8000' is not a URL; it must start with http:// or https://"),
        ("", "lba", "--base-url 'lba' is not a URL"),
    ],
)
def test_a_wrong_server_is_one_line(name: str, base_url: str | None, wanted: str) -> None:
    with pytest.raises(UsageError) as error:
        find_server(name, LAB, base_url)
    assert wanted in str(error.value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("gpt-x", "model 'gpt-x': no provider 'gpt-x'"),
        ("openia/m", "no provider 'openia' (did you mean 'openai'?)"),
        ("openai/", "model 'openai/'"),
        ("", "model ''"),
        ("embedded/resoner", "no model 'embedded/resoner' (did you mean 'reasoner'?)"),
        ("openai/m@lba", "no server 'lba' in safemlrm.toml; it has: lab"),
    ],
)
def test_a_wrong_model_is_one_line(text: str, wanted: str) -> None:
    with pytest.raises(UsageError) as error:
        open_model(text, ModelOptions(base_url="http://a"), LAB, {})
    assert wanted in str(error.value)
    assert "\n" not in str(error.value)


def test_a_models_server_stands_in_its_name() -> None:
    servers: dict[str, object] = {}
    model = open_model("openai/org/name@lab", ModelOptions(), LAB, servers)  # type: ignore[arg-type]
    assert isinstance(model, OpenAIModel)
    assert model.spec.name == "openai/org/name@lab"
    assert list(servers) == ["http://lab/v1"]


def test_a_cost_limit_needs_every_price(folder: Path) -> None:
    write(folder, WHOLE)
    prices = dict(load_settings().prices)
    given = {"benchmark": ["toy"], "max_cost": 1.0}
    found = needed_prices(RunOptions(**given, model=["openai/NAME@lab"], base=["embedded/base"]), prices)  # type: ignore[arg-type]
    assert set(found) == {"openai/NAME"}
    with pytest.raises(UsageError, match=r'add \[prices."openai/other"\] with input and output per million'):
        needed_prices(RunOptions(**given, model=["openai/NAME", "openai/other"]), prices)  # type: ignore[arg-type]
