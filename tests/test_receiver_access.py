"""Who may send: TLS, client certificates, bearer tokens; and what is refused at start."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from pathlib import Path

import grpc
import httpx2 as httpx
import pytest
from authority import Authority
from grpc_health.v1 import health_pb2, health_pb2_grpc
from receivers import Running, eventually, request

from tracescope import config
from tracescope.errors import ConfigError
from tracescope.ingest.access import MOST_FAILED, Attempts, Tokens, client_name
from tracescope.serving.descriptors import RESERVED, connections_of
from tracescope.serving.listen import bind, bound
from tracescope.serving.runtime import open_sockets, prepare, refuse_exposed


def test_clients_without_a_certificate_of_the_ca_are_turned_away(tmp_path) -> None:
    """GRPC and HTTPS alike; with one they are served."""
    ours, other = Authority(tmp_path), Authority(tmp_path, "other")
    cert, key = ours.issue("server")
    good, bad = ours.issue("client"), other.issue("stranger")

    def credentials(pair: tuple[str, str] | None) -> grpc.ChannelCredentials:
        chain = [Path(path).read_bytes() for path in pair] if pair else [None, None]
        return grpc.ssl_channel_credentials(ours.path.read_bytes(), chain[1], chain[0])

    def context(pair: tuple[str, str] | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(ours.path))
        if pair:
            made.load_cert_chain(*pair)
        return made

    used = {"tls_cert": cert, "tls_key": key, "tls_client_ca": str(ours.path)}
    with Running(tmp_path / "store", used, credentials=credentials(good)) as receiver:
        assert not receiver.send(request(0, 3)).HasField("partial_success")
        url = f"https://{receiver.http}/v1/traces"
        kind = {"content-type": "application/x-protobuf"}
        data = request(10, 3).SerializeToString()
        assert httpx.post(url, content=data, headers=kind, verify=context(good)).status_code == 200
        for pair in (None, bad):
            with grpc.secure_channel(receiver.grpc, credentials(pair)) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                with pytest.raises(grpc.RpcError) as failure:
                    stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
                assert failure.value.code() in (
                    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED,
                )  # fmt: skip
            with pytest.raises(httpx.TransportError):
                httpx.post(url, content=data, headers=kind, verify=context(pair))
        with pytest.raises(httpx.TransportError):
            httpx.post(url.replace("https", "http"), content=data, headers=kind)
        assert receiver.counts() == (6, 6)


def test_without_a_token_of_the_file_nothing_is_taken_and_the_file_may_change(tmp_path) -> None:
    """401 and UNAUTHENTICATED; probes need none; the file is read again when it changes."""
    path = tmp_path / "tokens"
    path.write_text("# senders\nfirst-token\nsecond-token\n")
    data = request(0, 2).SerializeToString()
    with Running(tmp_path / "store", {"token_file": str(path)}) as receiver:

        def sent(token: str | None) -> tuple[int, grpc.StatusCode]:
            header = {} if token is None else {"authorization": f"Bearer {token}"}
            try:
                receiver.send(data, metadata=tuple(header.items()))
                code = grpc.StatusCode.OK
            except grpc.RpcError as failure:
                code = failure.code()
            answer = receiver.post(data, **header)
            if answer.status_code == 401:
                assert answer.headers["www-authenticate"] == "Bearer"
            return answer.status_code, code

        no, yes = (401, grpc.StatusCode.UNAUTHENTICATED), (200, grpc.StatusCode.OK)
        assert [sent(token) for token in (None, "first", "first-tokenx", "# senders")] == [no] * 4
        assert sent("first-token") == sent("second-token") == yes
        assert receiver.post(data, authorization="Basic first-token").status_code == 401
        assert httpx.get(f"http://{receiver.http}/readyz").status_code == 200
        assert httpx.get(f"http://{receiver.http}/metrics").status_code == 401
        health = health_pb2_grpc.HealthStub(receiver.channel)
        assert health.Check(health_pb2.HealthCheckRequest()).status == 1
        path.write_text("third-token\n")
        eventually(lambda: sent("third-token") == yes, "the new token is taken")
        receiver.runtime.access.attempts.forget()  # of the polling above
        assert sent("first-token") == no
        path.write_text("\n")  # an editor that has not finished
        eventually(lambda: "tokens_not_reloaded" in receiver.log.getvalue(), "the problem is told")
        assert sent("third-token") == yes


@pytest.mark.parametrize(
    "given", [("tls_cert",), ("tls_key",), ("tls_client_ca",), ("tls_cert", "tls_client_ca")]
)
def test_half_a_tls_configuration_is_refused_with_a_sentence(tmp_path, given) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("server")
    files = {"tls_cert": cert, "tls_key": key, "tls_client_ca": str(authority.path)}
    settings, _ = config.load({name: files[name] for name in given})
    with pytest.raises(ConfigError, match="half a TLS configuration: --tls-"):
        prepare(settings)


def test_tls_files_that_do_not_fit_are_refused(tmp_path) -> None:
    """A key of another certificate, a missing file, a file of junk."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("server")
    _, foreign = authority.issue("other")
    (tmp_path / "junk.pem").write_text("junk")
    for pair in ((cert, foreign), (cert, str(tmp_path / "none")), (str(tmp_path / "junk.pem"), key)):
        settings, _ = config.load({"tls_cert": pair[0], "tls_key": pair[1]})
        with pytest.raises(ConfigError, match="the TLS files cannot be used"):
            prepare(settings)


def test_a_token_file_without_tokens_or_that_is_missing_is_refused(tmp_path) -> None:
    (tmp_path / "empty").write_text("# nothing\n")
    with pytest.raises(ConfigError, match="holds no token"):
        Tokens.read(str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match="cannot be read"):
        Tokens.read(str(tmp_path / "missing"))


def test_a_taken_http_port_fails_at_start_and_leaves_none_bound(tmp_path) -> None:
    taken = bind("127.0.0.1:0", "--http")
    try:
        settings, _ = config.load({"http": "127.0.0.1:0", "web": bound(taken)})
        with pytest.raises(ConfigError, match="another program listens there"):
            open_sockets(settings)
    finally:
        taken.close()
    for wrong in ("nonsense", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999"):
        with pytest.raises(ConfigError):
            bind(wrong, "--http")


def test_defaults_listen_on_loopback_only(monkeypatch) -> None:
    """Whoever wants more must say so."""
    for name in ("TRACESCOPE_GRPC", "TRACESCOPE_HTTP", "TRACESCOPE_WEB"):
        monkeypatch.delenv(name, raising=False)
    settings = config.Settings()
    assert [settings.grpc, settings.http, settings.web] == [
        "127.0.0.1:4317", "127.0.0.1:4318", "127.0.0.1:8317",
    ]  # fmt: skip


def asked(address: str, path: str, *, method: str = "GET") -> int:
    """Status of one request on a connection of its own; 0 when it is closed without an answer."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except (ConnectionError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def test_a_port_full_of_idle_connections_still_answers_who_watches(tmp_path) -> None:
    """Senders are told to come again, health and readiness are told, and places become free again."""
    with Running(tmp_path, {"max_connections": 5, "slow_client_s": 4}) as receiver:
        where = receiver.runtime.addresses["http"]
        host, _, port = where.rpartition(":")
        idle = [socket.create_connection((host, int(port))) for _ in range(5)]
        try:
            eventually(lambda: asked(where, "/v1/traces", method="POST") == 503, "it is full")
            assert asked(where, "/healthz") == 200
            assert asked(where, "/readyz") == 200
            eventually(lambda: asked(where, "/v1/traces", method="POST") == 415, "they were ended")
        finally:
            for one in idle:
                one.close()


def test_half_a_tls_handshake_is_ended_and_does_not_keep_others_out(tmp_path) -> None:
    """A client that begins one and says no more is gone after the time that a slow client has."""
    cert, key = Authority(tmp_path).issue("server")
    used = {"tls_cert": cert, "tls_key": key, "slow_client_s": 2}
    with Running(tmp_path / "store", used) as receiver:
        host, _, port = receiver.runtime.addresses["http"].rpartition(":")
        half = socket.create_connection((host, int(port)), timeout=30)
        half.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        begin = time.monotonic()
        assert half.recv(1) == b""
        assert time.monotonic() - begin < 20  # asyncio's own patience is a minute
        half.close()


@pytest.mark.parametrize(
    ("limit", "asked_for", "ports", "each"), [(1024, 2048, 3, 288), (65_536, 2048, 3, 2048), (161, 9, 1, 1)]
)
def test_connections_leave_files_for_the_store(limit: int, asked_for: int, ports: int, each: int) -> None:
    """All ports full, a receiver can still write its journal."""
    assert connections_of(limit, asked_for, ports) == each
    assert ports * each + RESERVED <= max(limit, RESERVED + ports)


def test_a_limit_that_leaves_nothing_is_refused_with_what_to_do() -> None:
    """Better than a receiver that cannot open its journal."""
    with pytest.raises(ConfigError, match=r"may open 160 files") as refused:
        connections_of(160, 10, 1)
    assert "ulimit" in str(refused.value.hint)


def test_who_shows_many_wrong_tokens_must_wait(tmp_path) -> None:
    """Over HTTP, gRPC and for the figures alike; the right one is not looked at then either, and later is."""
    (tmp_path / "tokens").write_text("right\n")
    used = {"token_file": str(tmp_path / "tokens")}
    with Running(tmp_path / "store", used) as receiver:
        data = request(0, 1).SerializeToString()
        assert receiver.post(data).status_code == 401  # no token is no guess
        answers = [receiver.post(data, authorization=f"Bearer {n}").status_code for n in range(MOST_FAILED)]
        assert set(answers) == {401}
        late = receiver.post(data, authorization="Bearer right")
        assert (late.status_code, late.headers["retry-after"]) == (429, "60")
        assert httpx.get(f"http://{receiver.http}/metrics").status_code == 429
        assert httpx.get(f"http://{receiver.http}/healthz").status_code == 200
        with pytest.raises(grpc.RpcError, match="too many wrong tokens"):
            receiver.export(data, metadata=(("authorization", "Bearer right"),))
        receiver.runtime.access.attempts.now = lambda: time.monotonic() + 61
        assert receiver.post(data, authorization="Bearer right").status_code == 200


def test_attempts_are_remembered_for_some_thousand_clients_only() -> None:
    """Many addresses cannot fill the memory; a port is no other client."""
    attempts = Attempts()
    for number in range(5000):
        attempts.note(f"10.0.{number // 256}.{number % 256}")
    assert len(attempts._failed) <= 4096
    names = [client_name(peer) for peer in ("ipv4:10.0.0.7:4711", "ipv6:[::1]:9", "10.0.0.7", "unix:")]
    assert names == ["10.0.0.7", "[::1]", "10.0.0.7", "unix:"]


def test_a_receiver_on_loopback_answers_to_names_of_loopback_only(tmp_path) -> None:
    """A page of another site that lets its name point here can neither read figures nor send spans."""
    with Running(tmp_path) as receiver:
        evil = {"host": "evil.example"}
        for path in ("/metrics", "/healthz"):
            assert httpx.get(f"http://{receiver.http}{path}", headers=evil).status_code == 421
        sent = httpx.post(
            f"http://{receiver.http}/v1/traces",
            content=request(0, 1).SerializeToString(),
            headers={**evil, "content-type": "application/x-protobuf"},
        )
        assert sent.status_code == 421
        assert receiver.counts() == (0, 0)
        kind = httpx.get(f"http://{receiver.http}/healthz").headers
        assert (kind["x-content-type-options"], kind["cache-control"]) == ("nosniff", "no-store")


@pytest.mark.parametrize("which", ["grpc", "http", "web"])
def test_what_others_can_reach_asks_them_who_they_are_or_is_meant_to_be_open(which: str, tmp_path) -> None:
    """Beyond loopback, without TLS and tokens, only in so many words."""
    cert, key = Authority(tmp_path).issue("server")
    (tmp_path / "tokens").write_text("one\n")
    for more in (
        {"tls_cert": cert, "tls_key": key}, {"token_file": str(tmp_path / "tokens")}, {"insecure": True},
        {which: "127.0.0.1:0"}, {which: "[::1]:0"}, {which: "off"},
    ):  # fmt: skip
        settings = config.Settings(**{which: "0.0.0.0:0", **more})
        refuse_exposed(settings, prepare(settings)[0])
    settings = config.Settings(**{which: "0.0.0.0:0"})
    with pytest.raises(ConfigError, match=f"--{which} 0.0.0.0:0 can be reached") as refused:
        refuse_exposed(settings, prepare(settings)[0])
    assert "--insecure" in str(refused.value.hint)
