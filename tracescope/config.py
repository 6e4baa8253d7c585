"""Settings: flags, then TRACESCOPE_*, then ./tracescope.toml, then the user's tracescope.toml.

One frozen object; an unknown key is an error with the place it stands in.  A flag that is None was
not given.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tracescope import schedule
from tracescope.conventions.keeping import Policy
from tracescope.errors import ConfigError, UsageError, in_words
from tracescope.places import STORES, masked, not_a_store, scheme_of
from tracescope.places.buckets import store_folder

PREFIX = "TRACESCOPE_"
FILE = "tracescope.toml"
#: Where a value comes from that the caller gives.
_FLAG = "flag"
#: The largest whole number of a setting that has no limit of its own: what C takes.
_MOST = 2**31 - 1
#: What a webhook may take.
WEBHOOK_FORMS: tuple[str, ...] = ("json", "slack", "teams")


def _in_home(variable: str, *below: str) -> Path | None:
    """The folder that a variable names, or one in the home folder; None where neither is known."""
    if named := os.environ.get(variable):
        return Path(named) / "tracescope"
    try:
        return Path.home().joinpath(*below, "tracescope")
    except RuntimeError:  # HOME is not set, and the system knows no such user
        return None


def _data_folder() -> Path | None:
    return _in_home("XDG_DATA_HOME", ".local", "share")


def _data_home() -> Path:
    """Folder of what the user has made; raises ConfigError where nobody says where that is."""
    found = _data_folder()
    if found is None:
        raise ConfigError(
            "no folder for data: HOME is not set, and the system knows no home of this user",
            "name one with --store DIR, or set HOME or XDG_DATA_HOME",
        )
    return found


def default_store() -> Path:
    """The default folder of the store."""
    return _data_home() / "store"


def default_demo() -> Path:
    """Where `tracescope demo` keeps its shop."""
    return _data_home() / "demo"


def _default(name: str) -> str:
    """A folder for data by its name; empty where there is no home, which `load` refuses if it is needed."""
    found = _data_folder()
    return "" if found is None else str(found / name)


def system_zone() -> str:
    """The system's time zone; UTC where it is not known."""
    if name := os.environ.get("TZ"):
        return name.removeprefix(":")
    try:
        target = os.readlink("/etc/localtime")
    except OSError:
        return "UTC"
    _, found, zone = target.partition("zoneinfo/")
    return zone if found else "UTC"


def _doc(
    text: str,
    default: Any = None,
    factory: Any = None,
    *,
    least: float | None = None,
    most: int = _MOST,
    open_unit: bool = False,
    secret: bool = False,
) -> Any:
    """A setting, what it is for, and what it may be: from `least` to `most`, or between 0 and 1.

    A `secret` one is an address whose user, path and query nobody is shown.
    """
    metadata = {"doc": text, "least": least, "most": most, "open_unit": open_unit, "secret": secret}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting; its documentation stands in the field's metadata."""

    store: str | tuple[str, ...] = _doc(
        "folder of the store, or its URL in object storage (`s3://bucket/prefix`, `gs://...`, `az://...`); a "
        "list of several is read together and never written to (in the variable, with commas between)",
        factory=lambda: _default("store"),
    )
    mirrors: str = _doc(
        "folder for what this machine holds of stores in object storage: copies, and a receiver's journal",
        factory=lambda: _default("mirrors"),
    )
    group_access: bool = _doc("let the group of a store's folder read a store that is made now", False)
    env: str = _doc("environment to compare; the busiest when empty", "")
    tz: str = _doc("time zone of calendar words and of the hour of the week", factory=system_zone)
    alpha: float = _doc("false discovery rate at which a change counts as significant", 0.05, open_unit=True)
    min_effect: float = _doc(
        "smallest change in ms, of a request or a message, that is tested for; "
        "when 0, 0.5 % of base's clock of the entries that are as slow as those an edge stands in",
        0.0,
        least=0,
    )
    top: int = _doc("edges listed", 10, least=1)
    include: str = _doc("only entries whose operation matches this regular expression", "")
    exclude: str = _doc("no entries whose operation matches this regular expression", "")
    workers: int = _doc(
        "slices and files worked on at once", factory=lambda: min(os.cpu_count() or 1, 8), least=1
    )
    memory_mb: int = _doc(
        "memory of an import, the program included (it takes 600 at least), and what sealing may use, in MiB",
        768,
        least=64,
    )
    grpc: str = _doc("address of the OTLP gRPC receiver; `off` for none", "127.0.0.1:4317")
    http: str = _doc("address of the OTLP HTTP receiver; `off` for none", "127.0.0.1:4318")
    web: str = _doc("address of the web page; `off` for none", "127.0.0.1:8317")
    kafka: str = _doc(
        "URL of a Kafka topic of OTLP that `serve` follows, as `kafka://broker:9092/otlp_spans`; "
        "none when empty; its user and options are shown nowhere",
        "",
        secret=True,
    )
    retain_spans_days: int = _doc("days that raw spans are kept after they arrived", 14, least=0)
    retain_rollups_days: int = _doc("days that rollups are kept, back from the newest hour", 800, least=1)
    drop_attributes: tuple[str, ...] = _doc(
        "attributes never stored, as patterns of their keys with `*`; wins over what is built in and kept", ()
    )
    keep_attributes: tuple[str, ...] = _doc(
        "attributes stored although they are cut otherwise, as patterns of their keys; `all` for all", ()
    )
    seal_grace_minutes: int = _doc("minutes after which an hour without new spans is sealed", 15, least=0)
    max_memory_mb: int = _doc(
        "memory of `serve` in MiB before it asks senders to wait; 0: no limit", 1024, least=0
    )
    max_disk_mb: int = _doc("the store's disk in MiB: the oldest raw spans go first; 0: no limit", 0, least=0)
    max_request_mb: int = _doc("largest request in MiB, as sent and inflated", 64, least=1, most=2047)
    max_connections: int = _doc("connections open at once, for gRPC and for each HTTP port", 2048, least=1)
    max_streams: int = _doc("requests at once on one gRPC connection", 128, least=1)
    slow_client_s: int = _doc("seconds that a client may take to send a request", 30, least=1, most=86_400)
    stop_grace_s: int = _doc("seconds that stopping waits for requests and for the drain", 15, least=0)
    tls_cert: str = _doc("certificate chain of the receivers, PEM", "")
    tls_key: str = _doc("private key of that certificate, PEM", "")
    tls_client_ca: str = _doc("clients must show a certificate that this CA signed, PEM", "")
    token_file: str = _doc("file of bearer tokens, one a line; read again when it changes", "")
    insecure: bool = _doc(
        "let other machines reach receivers and page without TLS and without a token", False
    )
    cors_allowed_origins: str = _doc(
        "web pages that may send OTLP over HTTP, as `https://*.shop.example, http://localhost:*`; `*`: all",
        "",
    )
    cors_allowed_headers: str = _doc(
        "headers that such pages may send beside the usual ones; `*` for all", ""
    )
    cors_max_age_s: int = _doc("seconds that a browser may remember what is allowed", 0, least=0)
    self_tracing: str = _doc("address of a Collector that gets traces of `serve` itself; none when empty", "")
    log_format: str = _doc("form of `serve`'s event lines on stderr: `logfmt` or `json`", "logfmt")
    trace_url: str = _doc(
        "address of a trace elsewhere, as `https://jaeger.example/trace/{trace_id}`; linked on its page", ""
    )
    webhook_url: str = _doc(
        "address that `serve` sends the digest to: an incoming webhook; what follows its host is secret, "
        "and shown nowhere",
        "",
        secret=True,
    )
    webhook_form: str = _doc("what that webhook takes: `json`, `slack` or `teams`", "json")
    alertmanager_url: str = _doc(
        "address of an Alertmanager that gets an alert for each finding, as `http://alertmanager:9093`",
        "",
        secret=True,
    )
    digest_every: str = _doc(
        "when the digest is sent although the verdict stayed: `12h`, `1d`, `1w`, or `09:00`, `mon 09:00` "
        "in `tz`; when empty, only when the verdict changes",
        "",
    )
    page_url: str = _doc("address at which readers of the digest reach the page; linked in it", "")
    slo: dict[str, float] = _doc(  # noqa: RUF009
        'a table of entries and the mean ms that is their wall, as `"gateway POST /checkout" = 250`',
        factory=dict,
    )

    owners: dict[str, str] = _doc(  # noqa: RUF009
        'a table of services and who owns them, as `"orders" = "team-a"`, `*` for any characters; '
        "shown on findings",
        factory=dict,
    )
    names: dict[str, str] = _doc(  # noqa: RUF009
        'a table of addresses and what they are, as `"10.0.3.7:5432" = "orders-db"`; spans that arrive from '
        "then on go by it, and after `tracescope rebuild` those that are held",
        factory=dict,
    )

    @property
    def stores(self) -> tuple[str, ...]:
        """Folders of the stores that are read together; usually there is one."""
        return (self.store,) if isinstance(self.store, str) else self.store

    @property
    def one_store(self) -> str:
        """The store's folder, for whoever writes to it or looks after it.

        Raises
        ------
        UsageError
            There are several.
        """
        if len(self.stores) == 1:
            return self.stores[0]
        raise UsageError(
            f"this works on one store, and {len(self.stores)} are given: {', '.join(self.stores)}",
            "give one with --store; several are read together by what answers, such as diff and report",
        )

    sources: dict[str, str] = _doc(  # noqa: RUF009
        "a table of URLs that `import` reads and options of what begins so, as "
        '`"s3://traces" = "endpoint=http://127.0.0.1:9000&region=eu-central-1"`; options are secret, and '
        "shown nowhere",
        factory=dict,
    )

    @property
    def policy(self) -> Policy:
        """Which attributes are stored, beside what is built in, and what addresses are called."""
        keep = ("*",) if "all" in self.keep_attributes else self.keep_attributes
        return Policy(self.drop_attributes, keep, tuple(sorted(self.names.items())))


_TYPES = {f.name: f.type for f in fields(Settings)}
_ABOUT = {f.name: f.metadata for f in fields(Settings)}
_SWITCH = {"true": True, "yes": True, "on": True, "1": True} | {
    "false": False, "no": False, "off": False, "0": False, "": False
}  # fmt: skip
_KINDS = {str: "a text", float: "a number", int: "a whole number"}


def _placed(name: str, value: Any, place: str) -> Any:
    """`value` as the setting's type; what is wrong with it is told with the place where it stands."""
    try:
        return _coerce(name, value, place)
    except ConfigError as error:
        hint = error.hint or f"`tracescope config show` tells what {name} is for"
        raise ConfigError(error.message if place == _FLAG else f"{place}: {error.message}", hint) from error


def _coerce(name: str, value: Any, place: str) -> Any:
    """`value` as the setting's type; of a store it counts whether `place` is the variable."""
    if name == "slo":
        return _coerce_slo(value)
    if name == "owners":
        return _coerce_owners(value)
    if name == "names":
        return _coerce_names(value)
    if name == "sources":
        return _coerce_sources(value)
    if _TYPES[name] == "tuple[str, ...]":
        return _coerce_patterns(name, value)
    if _ABOUT[name]["secret"] or name == "page_url":
        return _coerce_address(name, value)
    if name == "store":
        return _coerce_store(value, place)
    if _TYPES[name] == "bool":
        return _coerce_bool(name, value)
    wanted = {"str": str, "float": float, "int": int}[str(_TYPES[name])]
    if isinstance(value, bool) or (wanted is str and not isinstance(value, str)):
        raise ConfigError(f"{name} is {value!r}, not {_KINDS[wanted]}")
    try:
        found: Any = wanted(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{name} is {value!r}, not {_KINDS[wanted]}") from error
    if wanted is int and isinstance(value, float) and value != found:
        raise ConfigError(f"{name} is {value!r}, not {_KINDS[int]}")
    if name == "trace_url" and found and not re.match(r"https?://[^\s{}]+.*\{trace_id\}", found):
        raise ConfigError(
            f"trace_url is {value!r}, no address of a trace",
            "write {trace_id} where the id belongs, as in https://jaeger.example/trace/{trace_id}",
        )
    if name == "webhook_form" and found not in WEBHOOK_FORMS:
        raise ConfigError(f"webhook_form is {found!r}, none of {', '.join(WEBHOOK_FORMS)}")
    if name == "digest_every" and found:
        try:
            schedule.parse(found)
        except ConfigError as error:
            raise ConfigError(f"digest_every: {error.message}", error.hint) from error
    about = _ABOUT[name]
    if about["least"] is not None and not found >= about["least"]:
        raise ConfigError(f"{name} is {found}; it must be at least {about['least']}")
    if wanted is int and found > about["most"]:
        raise ConfigError(f"{name} is {found}; it must be at most {about['most']}")
    if about["open_unit"] and not 0 < found < 1:
        raise ConfigError(f"{name} is {found}; it must be between 0 and 1")
    return found


def _coerce_bool(name: str, value: Any) -> bool:
    """Either of two, of a file as they are and of a variable as text."""
    found = _SWITCH.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise ConfigError(f"{name} is {value!r}, neither true nor false")
    return found


def _coerce_store(value: Any, place: str) -> str | tuple[str, ...]:
    """One folder, or several as a list; in a variable with commas between."""
    given: Any = value
    if isinstance(value, str) and place == f"{PREFIX}STORE":
        given = [part.strip() for part in value.split(",") if part.strip()]
    given = [value] if isinstance(given, str) else given
    if not isinstance(given, list | tuple) or not given:
        raise ConfigError(f"store is {value!r}, neither a folder nor a list of folders")
    for one in given:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(one, str) or not one:
            raise ConfigError(f"store has {one!r}, which is not the name of a folder")
    return given[0] if len(given) == 1 else tuple(given)  # pyright: ignore


def _coerce_address(name: str, value: Any) -> str:
    """An address; what is wrong is told without it, because it may be secret."""
    if value == "":
        return ""
    hint = f'write it whole, as in {name} = "https://host.example/path"'
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigError(f"{name} is not an address (its value is not shown)", hint)
    try:
        parts = urlsplit(value)
        if name == "kafka":  # brokers with commas between have no one port
            whole = parts.scheme in ("kafka", "kafkas") and bool(parts.netloc and parts.path.strip("/"))
        else:
            whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole and name == "kafka":
        raise ConfigError(
            "kafka is not the address of a topic (its value is not shown)",
            "write it whole, as in kafka://broker.example:9092/otlp_spans",
        )
    if not whole:
        raise ConfigError(f"{name} is not an HTTP address (its value is not shown)", hint)
    return value


def shown_address(url: str) -> str:
    """An address without its user, path and query: ``https://hooks.example/…``."""
    if not url:
        return ""
    parts = urlsplit(url)
    if parts.scheme in ("kafka", "kafkas"):
        return masked(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}" + ("/…" if parts.path.strip("/") or parts.query else "")


def shown(settings: Settings) -> dict[str, Any]:
    """Every setting as it may be shown."""
    values = asdict(settings)
    secret = (name for name in values if _ABOUT[name]["secret"])
    values |= {name: shown_address(values[name]) for name in secret}
    return values | {"sources": dict.fromkeys(settings.sources, "…")}


def _coerce_patterns(name: str, value: Any) -> tuple[str, ...]:
    """A list of texts, or one text with commas between."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{name} is {value!r}, not a list of patterns")
    for one in value:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(one, str) or not one or any(c.isspace() for c in one):
            raise ConfigError(
                f"{name} has {one!r}, which is not a pattern of an attribute's key",
                'write keys in which * stands for any characters, as in ["app.*", "*.note"]',
            )
    return tuple(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _coerce_slo(value: Any) -> dict[str, float]:
    """A table of entries, or the text ``ENTRY=MS; ENTRY=MS``."""
    if isinstance(value, str):
        pairs = [part.rpartition("=") for part in value.split(";") if part.strip()]
        value = {entry.strip(): limit.strip() for entry, _, limit in pairs}
    if not isinstance(value, dict):
        raise ConfigError(f"slo is {value!r}, not a table of entries and milliseconds")
    out: dict[str, float] = {}
    for entry, limit in value.items():
        try:
            out[str(entry)] = float(limit)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"slo of {entry!r} is {limit!r}, not milliseconds") from error
        if not 0 < out[str(entry)] < float("inf"):
            raise ConfigError(f"slo of {entry!r} is {limit!r}, not milliseconds above 0")
    return out


def _coerce_owners(value: Any) -> dict[str, str]:
    """A table of services and teams, or the text ``SERVICE=TEAM; SERVICE=TEAM``."""
    if isinstance(value, str):
        pairs = [part.rpartition("=") for part in value.split(";") if part.strip()]
        value = {service.strip(): team.strip() for service, _, team in pairs}
    if not isinstance(value, dict):
        raise ConfigError(f"owners is {value!r}, not a table of services and who owns them")
    out: dict[str, str] = {}
    for service, team in value.items():  # pyright: ignore[reportUnknownVariableType]
        if not service or not isinstance(team, str) or not team.strip():
            raise ConfigError(f"owners of {service!r} is {team!r}, which is not a name")
        out[str(service)] = team.strip()  # pyright: ignore[reportUnknownArgumentType]
    return out


def _coerce_names(value: Any) -> dict[str, str]:
    """A table of addresses, or the text ``ADDRESS=NAME; ADDRESS=NAME``."""
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(";") if part.strip()]
        value = {address.strip(): name.strip() for address, _, name in pairs}
    if not isinstance(value, dict):
        raise ConfigError(f"names is {value!r}, not a table of addresses and names")
    out: dict[str, str] = {}
    for address, called in value.items():  # pyright: ignore[reportUnknownVariableType]
        text = str(address).strip().lower()  # pyright: ignore[reportUnknownArgumentType]
        if not text or "/" in text or any(c.isspace() for c in text):
            raise ConfigError(
                f"names has {address!r}, expected a host or host:port",
                'write addresses as spans have them, as in "10.0.3.7:5432" or "[fd00::7]:5432"',
            )
        if not isinstance(called, str) or not called.strip():
            raise ConfigError(f"names calls {address!r} {called!r}, which is not a name")
        out[text] = called.strip()
    return out


def _coerce_sources(value: Any) -> dict[str, str]:
    """A table of URLs and options, or the text ``URL=OPTIONS; URL=OPTIONS``; no option is told."""
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(";") if part.strip()]
        value = {url.strip(): options.strip() for url, _, options in pairs}
    hint = 'write it as in "s3://traces" = "endpoint=http://127.0.0.1:9000&region=eu-central-1"'
    if not isinstance(value, dict):
        raise ConfigError("sources is not a table of URLs and their options", hint)
    out: dict[str, str] = {}
    for url, options in value.items():  # pyright: ignore[reportUnknownVariableType]
        name = str(url)  # pyright: ignore[reportUnknownArgumentType]
        if scheme_of(name) is None or "?" in name or "@" in name:
            raise ConfigError(f"sources has {masked(name)!r}, which is not a URL alone", hint)
        if not isinstance(options, str) or not all("=" in each for each in options.split("&")):
            raise ConfigError(f"sources of {name} are not options (not shown)", hint)
        out[name.rstrip("/")] = options
    return out


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError as error:
        raise ConfigError(
            f"{path} cannot be read: {in_words(error)}",
            "let this user read it, or set XDG_CONFIG_HOME to a folder of settings of its own",
        ) from error
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {in_words(error)}", "correct it, or move it away; it is TOML"
        ) from error
    return {
        _known(key, str(path)): _placed(_known(key, str(path)), value, str(path))
        for key, value in found.items()
    }


def _known(key: str, place: str) -> str:
    name = key.replace("-", "_")
    if name not in _TYPES:
        raise ConfigError(f"{place}: unknown setting {key!r}", "`tracescope config show` lists them all")
    return name


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for variable, value in environ.items():
        if variable.startswith(PREFIX) and value:
            name = _known(variable.removeprefix(PREFIX).lower(), variable)
            out[name] = _placed(name, value, variable)
    return out


def user_file() -> Path | None:
    """The user's own settings file; None where no home folder is known."""
    folder = _in_home("XDG_CONFIG_HOME", ".config")
    return None if folder is None else folder / FILE


def load(flags: Mapping[str, Any] | None = None) -> tuple[Settings, dict[str, str]]:
    """Settings in force, and where each comes from.

    Parameters
    ----------
    flags
        Values given on the command line; None where not given.

    Raises
    ------
    ConfigError
        An unknown or ill-typed setting, or a store that is no folder.
    """
    layers = [
        (str(user_file()), _from_file(user_file())),
        (f"./{FILE}", _from_file(Path(FILE))),
        ("environment", _from_environment(os.environ)),
        (_FLAG, {key: value for key, value in (flags or {}).items() if value is not None}),
    ]
    settings, origin = Settings(), dict.fromkeys(_TYPES, "default")
    for place, values in layers:
        for name, value in values.items():
            settings = replace(settings, **{_known(name, place): _placed(name, value, place)})
            origin[name] = place
    if not all(settings.stores):
        default_store()  # says what is missing
    for store in settings.stores:
        if (wrong := not_a_store(store)) is not None:
            named = "" if origin["store"] == _FLAG else f"{origin['store']}: "
            raise ConfigError(named + wrong.message, wrong.hint)
    folders: list[str] = [
        str(store_folder(store, _mirrors(settings.mirrors))) if scheme_of(store) in STORES else store
        for store in settings.stores
    ]
    settings = replace(settings, store=tuple(folders) if len(folders) > 1 else folders[0])
    return settings, origin


def _mirrors(named: str) -> Path:
    """The folder of mirrors; raises ConfigError where it is in a home folder that is not known."""
    try:
        return Path(named).expanduser() if named else _data_home() / "mirrors"
    except RuntimeError as error:
        raise ConfigError(
            f"mirrors is {named!r}, and no such home folder is known", "write the folder's path from / on"
        ) from error


def documentation() -> dict[str, str]:
    """Setting -> what it is for."""
    return {f.name: f.metadata["doc"] for f in fields(Settings)}
