"""Operations without literals: what becomes a span's operation is a template, whoever named it.

    GET https://h/orders/17?x=1          GET /orders/{id}
    send mail to jane@mail.example       send mail to {id}
    SELECT * FROM books WHERE id = 17    SELECT books

Each text is judged by itself, so the same text has the same template in every order of arrival, in every
slice and on every machine: templates merge as ids do.  Three grades of trust: a span's name may hold
anything; what an instrumentation declares (a route, a method, a task, a table) may carry a short number
in its name; a raw path's segments are judged as wholes too.

Source: OpenTelemetry semantic conventions, span names ("low cardinality") and "Generating query
summaries"; the structures of SQL are those of SQL:2016 and the dialects of common databases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

#: What stands where a text told one thing from others.
ID: Final = "{id}"
#: Characters of a query and of a name that are looked at, and of an operation.
LOOKED_AT, NAME_LOOKED_AT, LONGEST = 4096, 1024, 200
#: So often a text is looked through, should each time leave something.
_PASSES: Final = 5
#: Names whose templates are remembered: spans name the same things over and over.
_REMEMBERED: Final = 16_384

# -- words --------------------------------------------------------------------------------------

#: Words with digits that name kinds of things, not things.
_NAMES_WITH_DIGITS: Final = frozenset((
    "s3", "ec2", "h2", "h3", "http1", "http2", "http3", "oauth1", "oauth2", "log4j", "log4j2", "k8s",
    "p2p", "b2b", "b2c", "c2c", "i18n", "l10n", "a11y", "md4", "md5", "sha1", "sha2", "sha3", "sha224",
    "sha256", "sha384", "sha512", "hs256", "rs256", "es256", "aes128", "aes256", "x509", "ed25519", "p256",
    "utf8", "utf16", "utf32", "base16", "base32", "base58", "base64", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "float32", "float64", "ipv4", "ipv6", "mp3", "mp4", "h264",
    "h265", "vp8", "vp9", "av1", "db2", "neo4j", "web2", "web3", "d3", "k3s", "r2", "route53", "f5",
    "c3p0", "2fa", "3ds", "3d", "2d", "1st", "2nd", "3rd", "4th", "pm25", "co2", "log10", "log2", "x86",
    "x64", "win32", "gpt2", "gpt3", "gpt4", "llama2", "llama3", "e2e", "o11y", "m2m", "v8", "net6", "net7",
    "net8",
))  # fmt: skip
#: The same within a word, such as ``getX509Certificate``: long ones anywhere, all at its beginning.
_KIND_INSIDE = re.compile(
    "|".join(
        name if len(name) > 3 else f"^{name}" for name in sorted(_NAMES_WITH_DIGITS, key=len, reverse=True)
    )
)
_VERSION = re.compile(r"v\d{1,3}(?:(?:alpha|beta|rc)\d{0,2})?$", re.IGNORECASE)
_CAMEL_VERSION = re.compile(r"[a-z]V\d{1,2}$")
_DIGIT_RUN = re.compile(r"\d+")
_HEX = re.compile(r"[0-9a-fA-F]{8,}$")
_CAMEL_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_NO_VOWEL = re.compile(r"[bcdfghjklmnpqrstvwxz]{8,}$", re.IGNORECASE)


def _looks_drawn(word: str) -> bool:
    """Whether letters without digits are no word: base64 changes case at every second letter."""
    if _HEX.match(word) or _NO_VOWEL.match(word):
        return True
    if len(word) < 16 or not word.isascii():
        return False
    parts = _CAMEL_PART.findall(word)
    return len(word) / max(len(parts), 1) < 2.6


def _is_mixed(word: str) -> bool:
    """Whether letters around a number change case as drawn ones do: ``M7kHq``, but not ``Neo4jClient``."""
    parts = _CAMEL_PART.findall(re.sub(r"V\d+", "", word))
    letters = sum(map(len, parts))
    if word.isupper():
        return len(word) > 4 and len(word) - letters > 1
    return len(word) > 4 and letters / max(len(parts), 1) < (2.0 if len(word) < 12 else 2.7)


def _template_word(word: str, declared: bool) -> str:
    """A word of letters and digits, or what is left of it."""
    digits = _DIGIT_RUN.findall(word)
    if not digits:
        return ID if len(word) >= 8 and _looks_drawn(word) else word
    if word.lower() in _NAMES_WITH_DIGITS or _VERSION.match(word):
        return word
    kind = _KIND_INSIDE.search(word.lower())
    if kind is not None and not _DIGIT_RUN.search(rest := word[: kind.start()] + word[kind.end() :]):
        return ID if len(rest) >= 8 and _looks_drawn(rest) else word
    count = sum(map(len, digits))
    if declared and count <= 2 and not (len(digits) > 1 and len(word) >= 8):
        return word
    stem = word.rstrip("0123456789")
    if count == len(word) or _HEX.match(word) or len(digits) > 1 or len(word) >= 32:
        return word if len(digits) > 1 and stem.lower() in _NAMES_WITH_DIGITS else ID
    if word[-1].isdigit():
        if _CAMEL_VERSION.search(word):
            return word
        return ID if _looks_drawn(stem) else stem + ID
    if word[0].isdigit():
        return ID
    return word if count <= 2 and len(word) < 20 and not _is_mixed(word) else ID  # `Neo4jClient`


_QUOTED = re.compile(r"""(?<![^\W_])(?:'[^']*'|"[^"]*"|`[^`]*`)(?![^\W_])""")
_TYPOGRAPHIC = re.compile(
    "“[^”]*”|„[^“”]*[“”]|«[^»]*»|»[^«]*«|‹[^›]*›|‘[^’]*’|‚[^‘’]*[‘’]|「[^」]*」|『[^』]*』"
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s'\"<>]*")
_EMAIL = re.compile(r"[^\s@/:<>\"'(),;=]{1,64}@[^\s@/:<>\"'(),;=]{1,255}\.[A-Za-z]{2,}")
_UUID = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?![0-9a-fA-F])")
_TIME = re.compile(
    r"(?<!\d)\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)?(?:Z\b|[+-]\d{2}:?\d{2}(?!\d))?"
)
_IPV6 = re.compile(r"(?<![\w:])(?=[^\s\d]{0,40}\d)\[?(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}\]?(?![\w:])")
_TOKEN = re.compile(r"(?<![\w+/=.-])[A-Za-z0-9_+-]{8,}(?:\.[A-Za-z0-9_+-]{8,}){2}(?![\w+/=])")  # JWT
_BASE64 = re.compile(r"(?<![\w+/=])(?=[A-Za-z+/]*\d)(?=[a-z0-9+/]*[A-Z])[A-Za-z0-9+/]{16,}={0,2}(?![\w+/=])")
_PADDED = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{6,}={1,2}(?![\w=])")
_PAIR = re.compile(r"(?<=[A-Za-z0-9_\])-])=(?!=|\{id\})[^\s&;,/|)}\]>]+")
_WORDS = re.compile(r"[^\W_]+")
_CLUSTER_SUFFIX = re.compile(r"(?<=\{id\}-)[bcdfghjklmnpqrstvwxz2456789]{5}(?![^\W_])")
_RUN = re.compile(r"\{id\}(?:[-_.:,+~]*(?:\{id\}|\d+(?![^\W_])))+")
_SPACES = re.compile(r"\s+")
_SPACED = re.compile(r"\{id\}(?: \{id\})+")  # groups of a phone's, a card's or an account's number
_MONTHS = (
    r"(?:Jan(?:uary|uar|vier)?|Feb(?:ruary|ruar)?|[Ff]évrier|Mar(?:ch|s)?|März|Apr(?:il)?|Ma[yi]|June?|Juni|Juin"
    r"|July?|Juli|Juillet|Aug(?:ust)?|Août|Sept?(?:ember|embre)?|O[ck]t(?:ober|obre)?|Nov(?:ember|embre)?"
    r"|De[cz](?:ember)?|Décembre)"
)
_DATE = re.compile(
    rf"\b(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? )?(?:\{{id\}}\.?[ -])?{_MONTHS}\.?[ -]\{{id\}}"
    rf"(?:,? \{{id\}})*|\{{id\}}\.?[ -]{_MONTHS}(?![^\W_])"
)
#: An id of letters of both cases, digits, dashes and underscores: most of it is no word.
_DRAWN_PARTS = re.compile(
    r"(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[A-Za-z0-9_-]{16,64}(?![\w-])"
)
_KIND_OF_ID = re.compile(r"[a-z]{2,5}_(?=[A-Za-z0-9]+$)")  # `cus_NffrFeUfNV2Hib`
_HANDLE = re.compile(r"(?<![\w@/.}])@[a-z][\w.-]*(?![\w/])")
#: Who or what something belongs to: a value that follows is one of many.
_OWNERS = (
    r"(?:users?|username|customers?|accounts?|tenants?|sessions?|sess|email|login|owner|member|token|[us]id)"
)
_OWNED = re.compile(rf"(?<![^\W_])({_OWNERS}:\s+)[^\s{{]\S*", re.IGNORECASE)
_OWNED_KEY = re.compile(rf"(?<![^\W_])({_OWNERS}:)[^\s:{{]+", re.IGNORECASE)
_CACHES = re.compile(
    r"(?:\S*(?:cache|redis|valkey)\S*|[HML]?[GS]ET(?:ALL|EX|NX|DEL|SET)?|[HZS]?(?:DEL|REM|ADD|SCAN)|H?INCRBY?|DECRBY?"
    r"|P?EXPIRE(?:AT)?|H?EXISTS|P?TTL|[LR]PUSH|[LR]POP|[LZ]RANGE|SMEMBERS|SISMEMBER|UNLINK|TOUCH|TYPE|DUMP)(?=[\s:])",
    re.IGNORECASE,
)
#: A folder of somebody's, in a path of files.
_HOME = re.compile(r"((?:^|(?<=[\s:'\"(=]))(?:[A-Za-z]:)?[/\\](?:home|Users)[/\\])[^\s/\\{]+")
_METHOD = re.compile(r"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|HTTP)\s")
_SIGNED = re.compile(r"(?<![\w}])[-+#$]+\{id\}")


def _is_token(match: re.Match[str]) -> str:
    """Base64 with padding, letters and digits mixed; else the text as it was."""
    text = match.group()
    return ID if text.endswith("==") or any(c.isdigit() or c.isupper() for c in text) else text


#: A literal's form, and a character that every such literal has.
_LITERALS: Final = ((_QUOTED, "'"), (_QUOTED, '"'), (_QUOTED, "`"), (_EMAIL, "@"), (_UUID, "-"), (_TIME, "-"),
                    (_IPV6, ":"), (_TOKEN, "."))  # fmt: skip


def _is_base64(match: re.Match[str]) -> str:
    """An id, unless a name of letters with a number in it: ``UserV2Controller``."""
    text = match.group()
    return text if text.isalnum() and _template_word(text, declared=False) == text else ID


def _is_drawn(match: re.Match[str]) -> str:
    """An id, where most characters of a token are of parts that are no words; else the token as it was."""
    parts = re.split("[-_]+", match.group())
    drawn = sum(len(part) for part in parts if _template_word(part, declared=False) == ID)
    if 2 * drawn <= sum(map(len, parts)):
        return match.group()
    kind = _KIND_OF_ID.match(match.group())
    return f"{kind.group()}{ID}" if kind is not None else ID


def _template(text: str, declared: bool) -> str:
    """A text's template, and that of the template: what a literal leaves may be another's end."""
    if "  " in text or not text.isprintable():
        text = _SPACES.sub(" ", text)  # as in the answer, whose template is to be itself
    for _ in range(_PASSES):
        once = _template_once(text, declared)
        if once == text:
            break
        text = once
    return text


def _template_once(text: str, declared: bool) -> str:
    for literal, mark in _LITERALS:
        if mark in text:
            text = literal.sub(ID, text)
    if not text.isascii():
        text = _TYPOGRAPHIC.sub(ID, text)
    if not declared:
        text = _DRAWN_PARTS.sub(_is_drawn, text)
        if ":" in text:
            text = _OWNED.sub(rf"\g<1>{ID}", text)
            text = _OWNED_KEY.sub(rf"\g<1>{ID}", text) if _CACHES.match(text) else text
        text = _PADDED.sub(_is_token, _BASE64.sub(_is_base64, text))
        text = _PAIR.sub("=" + ID, text)
    text = _WORDS.sub(lambda found: _template_word(found.group(), declared), text)
    text = _CLUSTER_SUFFIX.sub(ID, text)
    text = _SPACED.sub(ID, _SIGNED.sub(ID, _RUN.sub(ID, text)))
    return text if ID not in text else _DATE.sub(ID, text)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"


def template_declared(text: str) -> str:
    """A name that an instrumentation declares, such as a route, a method, a task or a table."""
    return _short(_template(text[:LOOKED_AT], declared=True))


_SEGMENT_IS_ID = re.compile(
    r"""^(?: \d+ | [0-9a-fA-F]{8}-[0-9a-fA-F-]{27} | [0-9a-fA-F]{16,} | (?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{20,}
           | [^@/]+@[^@/]+\.[a-z]+ | \d[\d.,:;_-]*\d | .*%[0-9A-Fa-f]{2}.* | (?:[^-]+-){5,}[^-]+ )$""",
    re.VERBOSE,
)


def template_path(path: str) -> str:
    """Replace what identifies one thing in a raw path: ``/orders/17?x=1`` -> ``/orders/{id}``.

    A URL is its path; queries, fragments and parameters after ``;`` go.
    """
    path = re.split(r"[?#;]", path[:LOOKED_AT], maxsplit=1)[0]
    if "://" in path:
        path = "/" + path.split("://", 1)[1].partition("/")[2]
    parts = [part.strip() for part in path.split("/")]
    return _short("/".join(ID if _SEGMENT_IS_ID.match(part) else _template(part, False) for part in parts))


_PATTERN_IN_ROUTE = re.compile(r"\(\?|\\[dws]|\[\^")
_QUERY = re.compile(r"\?[^\s]*")


def template_route(route: str) -> str:
    """A route as declared; raw paths that some frameworks give as routes are templated."""
    if _PATTERN_IN_ROUTE.search(route):
        return _short(route[:LOOKED_AT])
    return "/".join(ID if _SEGMENT_IS_ID.match(p) else template_declared(p) for p in route.split("/"))


def template_name(name: str, database: bool = False) -> str:
    """The operation that a span's name stands for.

    Parameters
    ----------
    name
        As sent.
    database
        The span is a database's, whose names are statements more often than sentences are.
    """
    return _template_name(name[:NAME_LOOKED_AT], database)


@lru_cache(maxsize=_REMEMBERED)
def _template_name(text: str, database: bool) -> str:
    begin = _statement_at(text, database)
    if begin >= 0:
        return summarise_query(text[begin:])
    if "://" in text:
        text = _URL.sub(lambda found: template_path(found.group()), text)
    if "@" in text:
        text = _HANDLE.sub(ID, text)
    if ("/" in text or "\\" in text) and not _METHOD.match(text):
        text = _HOME.sub(rf"\g<1>{ID}", text)
    if "/" in text:
        words = (template_path(word) if "/" in word else word for word in re.split(r"(\s+)", text))
        text = "".join(words)
    return _short(_template(_QUERY.sub("", text), declared=False))


# -- queries ------------------------------------------------------------------------------------


class _Lexeme(NamedTuple):
    """A word (upper case in `key`), a quoted identifier (`key` empty), or a mark; literals are ``?``."""

    text: str
    key: str


_LEXEME = re.compile(
    r"""
      (?P<skip> /\*.*?(?:\*/|$) | --[^\n]* | (?:(?<=\s)|^)\#[^\n]* | \s+ )
    | (?P<literal> [NnXxBbEe]?'(?:[^'\\]|''|\\.)*(?:'|$) | \$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|$)
                 | \d[\w.]* | [:@$%]\w+ | \? )
    | (?P<quoted> "(?:[^"]|"")*(?:"|$) | `[^`]*(?:`|$) | \[[A-Za-z_][^\]\[,']*\] )
    | (?P<word> [^\W\d][\w$\#]* )
    | (?P<mark> . )
    """,
    re.VERBOSE | re.DOTALL,
)


def _lexemes(text: str) -> Iterator[_Lexeme]:
    for found in _LEXEME.finditer(text):
        kind = found.lastgroup if found.lastgroup != "tag" else "literal"
        if kind == "skip":
            continue
        if kind == "literal":
            yield _Lexeme("?", "?")
        elif kind == "quoted":
            yield _Lexeme(found.group()[1:].rstrip('"`]'), "")
        else:
            yield _Lexeme(found.group(), found.group().upper())


#: Verbs that a collection follows, and the words after which it stands.
_READS: Final = frozenset(
    {"SELECT", "DELETE", "WITH", "COPY", "SHOW", "DESCRIBE", "EXPLAIN", "TABLE", "VALUES"}
)
_WRITES: Final = frozenset({"INSERT", "REPLACE", "UPSERT", "MERGE"})
_NAMES_FIRST: Final = frozenset({"UPDATE", "TRUNCATE", "CALL", "EXEC", "EXECUTE", "COPY", "TABLE", "LOCK"})
_DEFINES: Final = frozenset({"CREATE", "DROP", "ALTER", "ANALYZE", "VACUUM", "REFRESH", "REINDEX"})
_VERBS: Final = _READS | _WRITES | _NAMES_FIRST | _DEFINES
#: Words between a verb and the name it is about: of statements that read and write, and of those that define.
_FILLERS: Final = frozenset((
    "ONLY", "LATERAL", "TABLE", "INTO", "LOW_PRIORITY", "HIGH_PRIORITY", "IGNORE", "DELAYED", "QUICK",
))  # fmt: skip
_DEFINE_FILLERS: Final = _FILLERS | frozenset((
    "OVERWRITE", "IF", "NOT", "EXISTS", "OR", "REPLACE", "ABORT", "FAIL", "ROLLBACK", "TEMP",
    "TEMPORARY", "UNIQUE", "MATERIALIZED", "VIEW", "INDEX", "COLUMN", "CONCURRENTLY", "PROCEDURE",
    "FUNCTION", "SCHEMA", "DATABASE", "KEYSPACE", "SEQUENCE", "TRIGGER", "TYPE", "USER", "ROLE",
    "EXTENSION", "CLUSTERED", "NONCLUSTERED", "FULL", "VERBOSE", "GLOBAL", "LOCAL", "UNLOGGED",
    "EXTERNAL",
))  # fmt: skip
_WRITE_FILLERS: Final = _FILLERS | {"OVERWRITE", "OR", "REPLACE", "ROLLBACK", "ABORT", "FAIL"}
#: Functions whose arguments have a FROM of their own.
_FROM_INSIDE: Final = frozenset({"EXTRACT", "SUBSTRING", "TRIM", "OVERLAY", "POSITION"})
_ENDS_NAME: Final = frozenset(
    {"SELECT", "WHERE", "SET", "VALUES", "ON", "USING", "AS", "WITH", "DUAL", "UNNEST"}
)


def _name_at(lexemes: list[_Lexeme], at: int) -> tuple[str, int]:
    """A name, perhaps with its schema, at `at`, and where it ends; empty when none stands there."""
    parts: list[str] = []
    while at < len(lexemes):
        one = lexemes[at]
        is_name = not one.key or one.key[0].isalpha() or one.key[0] in "_#"
        if not is_name or one.key in _ENDS_NAME:
            break
        parts.append(one.text)
        if at + 1 < len(lexemes) and lexemes[at + 1].key == "." and at + 2 < len(lexemes):
            at += 2
            continue
        return ".".join(parts), at + 1
    return ".".join(parts), at


def _after_fillers(lexemes: list[_Lexeme], at: int, fillers: frozenset[str] = _FILLERS) -> int:
    while at < len(lexemes) and lexemes[at].key in fillers:
        at += 1
    return at


def _with_names(lexemes: list[_Lexeme]) -> tuple[frozenset[str], int]:
    """Names that a WITH defines, and where its statement's own verb stands."""
    names: set[str] = set()
    depth = 0
    for at, one in enumerate(lexemes):
        if one.key == "(":
            depth += 1
        elif one.key == ")":
            depth -= 1
        elif depth == 0 and at:
            if one.key in _VERBS - {"WITH", "TABLE", "VALUES"}:
                return frozenset(names), at
            if one.key not in ("AS", "NOT", "MATERIALIZED", "RECURSIVE", ",", "?"):
                names.add(one.text.lower())
    return frozenset(names), len(lexemes)


def _first_table(lexemes: list[_Lexeme], begin: int, with_names: frozenset[str]) -> str:
    """The first collection that something is read from, joined or written to; not one of a WITH's own."""
    opened: list[bool] = []
    for at in range(begin, len(lexemes)):
        key = lexemes[at].key
        if key == "(":
            opened.append(at > 0 and lexemes[at - 1].key in _FROM_INSIDE)
        elif key == ")" and opened:
            opened.pop()
        elif key in ("FROM", "JOIN", "INTO"):
            if any(opened) or (at > 0 and lexemes[at - 1].key == "DISTINCT"):
                continue
            start = _after_fillers(lexemes, at + 1)
            name, end = _name_at(lexemes, start)
            called = key != "INTO" and end < len(lexemes) and lexemes[end].key == "("
            if name and not called and name.lower() not in with_names:
                return name
    return ""


def _collection(verb: str, lexemes: list[_Lexeme], begin: int, with_names: frozenset[str]) -> str:
    """The collection of a statement whose verb stands at `begin`."""
    if verb in _NAMES_FIRST | _DEFINES:
        start = _after_fillers(lexemes, begin + 1, _DEFINE_FILLERS if verb in _DEFINES else _FILLERS)
        if verb == "CREATE" or verb == "DROP":
            on = next((at for at in range(start, len(lexemes)) if lexemes[at].key == "ON"), None)
            index = any(one.key == "INDEX" for one in lexemes[begin:start])
            if index and on is not None:
                start = _after_fillers(lexemes, on + 1)
        name, _ = _name_at(lexemes, start)
        return name
    if verb in _WRITES:
        name, _ = _name_at(lexemes, _after_fillers(lexemes, begin + 1, _WRITE_FILLERS))
        return name
    return _first_table(lexemes, begin, with_names)


#: Commands that are told by their first word, beside the verbs above; any other first word may be a literal.
COMMANDS: Final = _VERBS | frozenset((
    "ABORT", "ADD", "APPEND", "APPLY", "ATTACH", "AUTH", "BATCH", "BEGIN", "BGREWRITEAOF", "BGSAVE",
    "BITCOUNT", "BITFIELD", "BITOP", "BITPOS", "BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH",
    "BZMPOP", "BZPOPMAX", "BZPOPMIN", "CAS", "CHECKPOINT", "CLIENT", "CLOSE", "CLUSTER", "COMMAND",
    "COMMENT", "COMMIT", "CONFIG", "COPY", "DBSIZE", "DEALLOCATE", "DECLARE", "DECR", "DECRBY", "DEL",
    "DELETE", "DETACH", "DISCARD", "DO", "DUMP", "ECHO", "END", "EVAL", "EVALSHA", "EXEC", "EXISTS",
    "EXPIRE", "EXPIREAT", "EXPIRETIME", "FCALL", "FETCH", "FLUSH", "FLUSHALL", "FLUSHDB", "GAT", "GATS",
    "GEOADD", "GEODIST", "GEOHASH", "GEOPOS", "GEORADIUS", "GEOSEARCH", "GET", "GETBIT", "GETDEL",
    "GETEX", "GETRANGE", "GETS", "GETSET", "GRANT", "HANDLER", "HDEL", "HELLO", "HEXISTS", "HEXPIRE",
    "HGET", "HGETALL", "HINCRBY", "HINCRBYFLOAT", "HKEYS", "HLEN", "HMGET", "HMSET", "HRANDFIELD",
    "HSCAN", "HSET", "HSETNX", "HSTRLEN", "HVALS", "IMPORT", "INCR", "INCRBY", "INCRBYFLOAT", "INFO",
    "KEYS", "KILL", "LINDEX", "LINSERT", "LISTEN", "LLEN", "LMOVE", "LMPOP", "LOAD", "LPOP", "LPOS",
    "LPUSH", "LPUSHX", "LRANGE", "LREM", "LSET", "LTRIM", "MATCH", "MEMORY", "MGET", "MIGRATE",
    "MONITOR", "MOVE", "MSET", "MSETNX", "MULTI", "NOTIFY", "OBJECT", "OPEN", "OPTIMIZE", "PERSIST",
    "PEXPIRE", "PEXPIREAT", "PFADD", "PFCOUNT", "PFMERGE", "PING", "PRAGMA", "PREPARE", "PREPEND",
    "PSETEX", "PSUBSCRIBE", "PTTL", "PUBLISH", "PUBSUB", "PUNSUBSCRIBE", "QUIT", "RANDOMKEY", "RELEASE",
    "RENAME", "RENAMENX", "RESET", "RESTORE", "RETURN", "REVOKE", "ROLE", "ROLLBACK", "RPOP",
    "RPOPLPUSH", "RPUSH", "RPUSHX", "SADD", "SAVE", "SAVEPOINT", "SCAN", "SCARD", "SCRIPT", "SDIFF",
    "SDIFFSTORE", "SELECT", "SET", "SETBIT", "SETEX", "SETNX", "SETRANGE", "SIGNAL", "SINTER",
    "SINTERCARD", "SINTERSTORE", "SISMEMBER", "SMEMBERS", "SMISMEMBER", "SMOVE", "SORT", "SPOP",
    "SRANDMEMBER", "SREM", "SSCAN", "SSUBSCRIBE", "START", "STATS", "STRLEN", "SUBSCRIBE", "SUNION",
    "SUNIONSTORE", "TIME", "TOUCH", "TTL", "TYPE", "UNLINK", "UNLISTEN", "UNSUBSCRIBE", "UNWATCH",
    "UNWIND", "USE", "WAIT", "WATCH", "XACK", "XADD", "XAUTOCLAIM", "XCLAIM", "XDEL", "XGROUP", "XINFO",
    "XLEN", "XPENDING", "XRANGE", "XREAD", "XREADGROUP", "XREVRANGE", "XTRIM", "ZADD", "ZCARD", "ZCOUNT",
    "ZDIFF", "ZINCRBY", "ZINTER", "ZINTERSTORE", "ZMSCORE", "ZPOPMAX", "ZPOPMIN", "ZRANDMEMBER",
    "ZRANGE", "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZRANGESTORE", "ZRANK", "ZREM", "ZREMRANGEBYLEX",
    "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE", "ZREVRANGE", "ZREVRANGEBYSCORE", "ZREVRANK", "ZSCAN",
    "ZSCORE", "ZUNION", "ZUNIONSTORE",
))  # fmt: skip
#: Commands of document databases, as documents and as calls of their shell.
_DOCUMENT_COMMANDS: Final = frozenset((
    "aggregate", "bulkWrite", "collStats", "count", "countDocuments", "create", "createIndex",
    "createIndexes", "delete", "deleteMany", "deleteOne", "distinct", "drop", "dropDatabase",
    "dropIndexes", "estimatedDocumentCount", "explain", "find", "findAndModify", "findOne",
    "findOneAndDelete", "findOneAndReplace", "findOneAndUpdate", "findandmodify", "getMore", "insert",
    "insertMany", "insertOne", "killCursors", "listCollections", "listIndexes", "mapReduce", "remove",
    "replaceOne", "update", "updateMany", "updateOne",
))  # fmt: skip

_JSON_COMMAND = re.compile(r"""^\{\s*["']?(\$?[A-Za-z_]\w*)["']?\s*:\s*(?:["']([\w.$-]+)["'])?""")
_JSON = re.compile(r"""\{\s*(?:["']|\$?[A-Za-z_]\w*["']?\s*:)""")
_REQUEST = re.compile(r"^(GET|HEAD|POST|PUT|PATCH|DELETE)\s+(/\S*)$")  # of databases that speak HTTP
_FOLDED = re.compile(r"\?(?=[/.]|$)")  # what stands for a number of such a path
_SHELL = re.compile(r"^db\.([\w.$-]+?)\.(\w+)\(")
_ESCAPE = re.compile(r"^\{\s*(?:\?\s*=\s*)?call\s+", re.IGNORECASE)
_CYPHER = re.compile(r"^(?:OPTIONAL\s+)?(MATCH|MERGE|CREATE)\s*\(\s*\w*\s*:\s*`?([^\W\d]\w*)", re.IGNORECASE)


def summarise_query(text: str) -> str:
    """Reduce a query to its verb and first collection: ``SELECT orders``; never a literal.

    Names that a WITH defines are looked through to the first real collection, and the verb is the
    statement's own; an INSERT ... SELECT is an INSERT.
    """
    text = text[:LOOKED_AT].strip()
    if found := _REQUEST.match(text):
        path = _FOLDED.sub(ID, found.group(2))
        return f"{found.group(1)} {template_path(path)}"
    if found := _ESCAPE.match(text):
        text = "CALL " + text[found.end() :]
    if text.startswith("{"):
        found = _JSON_COMMAND.match(text)
        if found is None or found.group(1) not in _DOCUMENT_COMMANDS:
            return "query"
        return template_declared(f"{found.group(1)} {found.group(2) or ''}".strip())
    if (found := _SHELL.match(text)) and found.group(2) in _DOCUMENT_COMMANDS:
        return template_declared(f"{found.group(2)} {found.group(1)}")
    if found := _CYPHER.match(text):
        return template_declared(f"{found.group(1).upper()} {found.group(2)}")
    lexemes = list(_lexemes(text))
    begin = next((at for at, one in enumerate(lexemes) if one.key not in ("(", ";")), len(lexemes))
    lexemes = lexemes[begin:]
    if not lexemes or lexemes[0].key not in COMMANDS:
        return "query"
    own: frozenset[str] = frozenset()
    at, verb = 0, lexemes[0].key
    if verb == "EXPLAIN":
        return verb
    if verb == "WITH":
        own, at = _with_names(lexemes)
        verb = lexemes[at].key if at < len(lexemes) else "WITH"
        at = min(at, len(lexemes) - 1)
    if verb not in _VERBS:
        return verb
    name = _collection("SELECT" if verb == "WITH" else verb, lexemes, at, own)
    if not name and own:  # nothing but what the WITH reads
        name = _first_table(lexemes, 0, own)
    return _short(f"{verb} {template_declared(name)}") if name else verb


#: What begins a statement wherever it stands in a text, and what must follow one of the first two.
_OPENING = re.compile(
    r"""(?:^|(?<=[\s:;(\[\"'>/*=]))(?:
        (?P<select> SELECT\s) | (?P<update> UPDATE\s+(?:\w+\s+)?[\w."`\[\]]+\s)
      | INSERT\s+(?:\w+\s+){0,2}INTO\s | REPLACE\s+INTO\s | DELETE\s+FROM\s | MERGE\s+INTO\s
      | WITH\s+(?:RECURSIVE\s+)?[\w"`]+\s*(?:\([^)]*\)\s*)?AS\s+(?:(?:NOT\s+)?MATERIALIZED\s*)?\(
      | TRUNCATE\s+TABLE\s | (?:CREATE|ALTER|DROP)\s+(?:\w+\s+){0,3}(?:TABLE|INDEX|VIEW|SCHEMA|DATABASE)\s
      | EXEC(?:UTE)?\s+[\w.\[\]]+\s+[@'\d] | CALL\s+[\w."`]+\s*\( | (?:OPTIONAL\s+)?MATCH\s*\(\s*\w*\s*[:)]
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_FOLLOWS: Final = {
    "select": re.compile(r"\bFROM\s", re.IGNORECASE), "update": re.compile(r"\bSET\s", re.IGNORECASE),
}  # fmt: skip
_DATABASE_STATEMENT = re.compile(
    r"""(?:/\*.*?\*/|--[^\n]*\n|[\s(])*
        (?:SELECT|INSERT|UPDATE|DELETE|MERGE|REPLACE|WITH|CALL|EXEC|EXECUTE|TRUNCATE|CREATE|ALTER|DROP|SET|SHOW
          |EXPLAIN|COPY|UPSERT|MATCH|BEGIN|COMMIT|DECLARE|FETCH|VALUES|LOCK|GRANT|REVOKE|PREPARE|DEALLOCATE
          |SAVEPOINT|RELEASE|ROLLBACK|START|USE|ANALYZE|VACUUM)
        \b(?P<rest>.*)$""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_ONE_NAME = re.compile(r"\s+[\w$.\"`\[\]-]*[^\W\d][\w$.\"`\[\]-]*\s*$")


def _statement_at(text: str, database: bool) -> int:
    """Where a query's text begins in a span's name; -1 where there is none."""
    begun: set[str] = set()  # whatever follows a later one follows the first
    for found in _OPENING.finditer(text):
        verb = found.lastgroup
        if verb is None:
            return found.start()
        if verb not in begun and _FOLLOWS[verb].search(text, found.end() - 1):
            return found.start()
        begun.add(verb)
    if not database:
        return -1
    if _JSON.match(text) or _ESCAPE.match(text) or _SHELL.match(text):
        return 0
    found = _DATABASE_STATEMENT.match(text)
    whole = found is not None and found.group("rest").strip() and not _ONE_NAME.match(found.group("rest"))
    return 0 if whole else -1
