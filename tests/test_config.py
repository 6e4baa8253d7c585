"""Settings: flags over TRACESCOPE_* over ./tracescope.toml over the user's file; nothing unknown."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from tracescope import config
from tracescope.errors import ConfigError


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty home and no TRACESCOPE_* of the shell that runs the tests."""
    import os

    for name in [name for name in os.environ if name.startswith(config.PREFIX)]:
        monkeypatch.delenv(name)
    for name in ("config", "data", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path / "here")


def user_file(text: str) -> None:
    config.user_file().parent.mkdir()
    config.user_file().write_text(text)


def test_each_layer_wins_over_the_one_below_and_says_where_it_comes_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the user's file up to the flag."""
    seen = [config.load()[0].top]
    user_file("top = 11\nmin-effect = 2\n")
    seen.append(config.load()[0].top)
    Path("tracescope.toml").write_text("top = 12\n")
    seen.append(config.load()[0].top)
    monkeypatch.setenv("TRACESCOPE_TOP", "13")
    seen.append(config.load()[0].top)
    settings, origin = config.load({"top": 14, "env": None})
    assert [*seen, settings.top] == [10, 11, 12, 13, 14]
    assert (settings.min_effect, origin["min_effect"]) == (2.0, str(config.user_file()))
    assert (origin["top"], origin["env"]) == ("flag", "default")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tpo = 3", "unknown setting 'tpo'"),
        ("[diff]\ntop = 3", "unknown setting 'diff'"),
        ("top = 'many'", "top is 'many', not a whole number"),
        ("top = true", "top is True, not a whole number"),
        ("top = 2.5", "top is 2.5, not a whole number"),
        ("store = 7", "store is 7, neither a folder nor a list of folders"),
        ("alpha = 'x'", "alpha is 'x', not a number"),
        ("top = 0", "top is 0; it must be at least 1"),
        ("workers = -2", "workers is -2; it must be at least 1"),
        ("memory_mb = 8", "memory_mb is 8; it must be at least 64"),
        ("retain_spans_days = -1", "it must be at least 0"),
        ("max_disk_mb = -1", "max_disk_mb is -1; it must be at least 0"),
        ("max_request_mb = 0", "max_request_mb is 0; it must be at least 1"),
        ("max_connections = 0", "max_connections is 0; it must be at least 1"),
        ("alpha = 1.0", "alpha is 1.0; it must be between 0 and 1"),
        ("insecure = 1", "insecure is 1, neither true nor false"),
        ("insecure = 'maybe'", "insecure is 'maybe', neither true nor false"),
        ("top = inf", "top is inf, not a whole number"),
        ("top = ", "tracescope.toml cannot be read: "),
        ("env = '\udcff'", "tracescope.toml cannot be read: it is not text in UTF-8 (byte 7)"),
    ],
)
def test_what_is_no_setting_is_an_error_with_its_place(text: str, message: str) -> None:
    """The file is named; nothing is guessed."""
    Path("tracescope.toml").write_text(text, errors="surrogateescape")
    with pytest.raises(ConfigError, match=r"tracescope\.toml") as failure:
        config.load()
    assert message in failure.value.message
    assert failure.value.exit_code == 2


def test_an_unknown_variable_is_an_error_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error in a deployment is told, not ignored; an empty one is not set."""
    monkeypatch.setenv("TRACESCOPE_STORE", "")
    assert config.load()[0].store == str(config.default_store())
    monkeypatch.setenv("TRACESCOPE_STROE", "/data")
    with pytest.raises(ConfigError, match="TRACESCOPE_STROE: unknown setting 'stroe'"):
        config.load()


def test_the_zone_is_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """TZ, with or without its colon."""
    monkeypatch.setenv("TZ", ":Asia/Tokyo")
    assert config.load()[0].tz == "Asia/Tokyo"
    monkeypatch.setenv("TZ", "Europe/Berlin")
    assert config.load()[0].tz == "Europe/Berlin"
    assert config.load({"tz": "UTC"})[0].tz == "UTC"


def test_names_of_addresses_are_a_table_or_a_text_and_nothing_else() -> None:
    """Hosts in any case, with or without a port; what is no address or no name is refused with its place."""
    wanted = {"10.0.3.7:5432": "orders-db", "[fd00::7]:80": "cart"}
    settings, _ = config.load({"names": "10.0.3.7:5432=orders-db; [FD00::7]:80 = cart"})
    assert settings.names == wanted
    for bad in ({"10.0.0.0/8": "x"}, {"a b": "x"}, {"a": ""}, {"a": 3}, 17):
        with pytest.raises(ConfigError, match="names"):
            config.load({"names": bad})


def test_options_of_sources_are_a_table_or_a_text_and_shown_nowhere() -> None:
    """What is no URL, or no options, is refused without what may be secret."""
    wanted = {
        "s3://traces": "endpoint=http://127.0.0.1:9000&secret_access_key=hush",
        "az://c/x": "account_name=a",
    }
    settings, _ = config.load({"sources": wanted})
    assert settings.sources == wanted
    assert (
        config.load({"sources": "; ".join(f"{url}/ = {said}" for url, said in wanted.items())})[0] == settings
    )
    assert config.shown(settings)["sources"] == {"s3://traces": "…", "az://c/x": "…"}
    for bad in (
        {"traces": "a=hush"},
        {"s3://b?a=hush": "a=b"},
        {"s3://k:hush@b": "a=b"},
        {"s3://b": "hush"},
        17,
        {"s3://b": 3},
    ):
        with pytest.raises(ConfigError, match="sources") as refused:
            config.load({"sources": bad})
        assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [("true", True), ("Yes", True), ("1", True), ("off", False), ("", False)],
)
def test_a_setting_that_is_on_or_off_is_read_from_a_file_and_from_a_variable(
    monkeypatch: pytest.MonkeyPatch, text: str, said: bool
) -> None:
    """A file has the word of TOML, a variable any of the usual ones."""
    for name in (one.name for one in fields(config.Settings) if one.type == "bool"):
        Path("tracescope.toml").write_text(f"{name} = {str(said).lower()}")
        assert getattr(config.load()[0], name) is said
        Path("tracescope.toml").unlink()
        monkeypatch.setenv(f"TRACESCOPE_{name.upper()}", text)
        assert getattr(config.load()[0], name) is said
        monkeypatch.delenv(f"TRACESCOPE_{name.upper()}")
