"""The running receiver: starts what the package's docstring lists, watches it, and stops it in order.

stop:  listeners ─► running requests ─► journal closed ─► drained, or left for the next start
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracescope import config
from tracescope.engine.clock import Clock
from tracescope.engine.seal import quiet_hours
from tracescope.errors import ConfigError, sentence
from tracescope.ingest.access import Access, Tls, Tokens
from tracescope.ingest.cors import Cors
from tracescope.ingest.drain import drain, together
from tracescope.ingest.intake import Intake
from tracescope.ingest.limits import Limits
from tracescope.ingest.meters import Meters
from tracescope.ingest.scanned import Scanned
from tracescope.places import EXAMPLES, host_and_port
from tracescope.schema import HOUR_NS
from tracescope.serving.allocator import give_back
from tracescope.serving.descriptors import connections_of, raise_limit
from tracescope.serving.events import Events
from tracescope.serving.front import LOCAL_HOSTS, Front
from tracescope.serving.listen import Listener, bind, bound, is_loopback, listen
from tracescope.serving.pressure import Pressure
from tracescope.serving.sealing import Outcome, Plan, Sealer
from tracescope.serving.state import Figures, folder_bytes, free_bytes, resident_bytes
from tracescope.store import SpanStore
from tracescope.store.journal import Journal, born_ns, segments

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

    from tracescope.ingest.otlp_grpc import Receiver
    from tracescope.serving.following import Follower
    from tracescope.serving.routes import Series
    from tracescope.serving.tracing import SelfTracing

DRAIN_TICK_S: Final = 0.25
WATCH_EVERY_S: Final = 0.5
LOOK_EVERY_S: Final = 5.0
SEAL_EVERY_S: Final = 30.0
PRUNE_EVERY_S: Final = 3600.0
GIVE_BACK_EVERY_S: Final = 60.0
_MIB: Final = 1024 * 1024
#: Journal bytes as sent that a request inflates to, at most, for the bytes that may be in flight.
_IN_FLIGHT_SHARE: Final = 8


def gather_s(landed_batches: int) -> float:
    """How long a segment gathers before it is drained although it is not full.

    The more batches have landed the longer, so that a quiet hour has some hundreds of files and a
    young one shows its spans after a second.
    """
    return min(max(1.0, landed_batches / 50), 15.0)


@dataclass(slots=True)
class Runtime:
    """A receiver; `run` is all there is to call.

    Attributes
    ----------
    settings, store, journal
        Settings, the store, and its journal, opened for writing.
    events, meters, access, limits
        What is told, what is counted, who may send, and how much.
    intake
        Takes the requests of both transports.
    series
        Metrics that are made elsewhere.
    """

    settings: config.Settings
    store: SpanStore
    journal: Journal[Scanned]
    events: Events
    access: Access
    limits: Limits
    meters: Meters = field(default_factory=Meters)
    intake: Intake = field(init=False)
    addresses: dict[str, str] = field(default_factory=dict[str, str])
    series: Series | None = None
    _pressure: Pressure = field(init=False)
    _sealer: Sealer = field(default_factory=Sealer)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _journal_closed: threading.Event = field(default_factory=threading.Event)
    _deadline: float = float("inf")
    _drain_problem: str = ""
    _clock: Clock = field(init=False)
    _disk_bytes: int = 0
    _oldest_hour: int = -1
    _sealing_since: float = 0.0
    _decoded: int = 0
    _decode_s: float = 0.0
    _due: dict[str, float] = field(default_factory=dict[str, float])
    _grpc: Receiver | None = None
    _tracing: SelfTracing | None = None
    _follower: Follower | None = None
    _listeners: list[Listener] = field(default_factory=list[Listener])

    def __post_init__(self) -> None:
        memory = self.settings.max_memory_mb * _MIB
        in_flight = max(memory // _IN_FLIGHT_SHARE, self.limits.request_bytes) if memory else 2**31
        self.intake = Intake(self.journal, self.meters, self.limits, in_flight, policy=self.settings.policy)
        self._clock = Clock(self.store)
        self._pressure = Pressure(memory, self.settings.max_disk_mb * _MIB)
        self.meters.disk_limit.set(self.settings.max_disk_mb * _MIB)

    # -- what others see --

    def readiness(self) -> tuple[bool, tuple[str, ...]]:
        """Whether spans are accepted, and what is wrong if anything is."""
        refusing = [text for text in (self.intake.pressure,) if text]
        if self._stopping.is_set():
            refusing.append("stopping")
        missed = self._follower.problem if self._follower is not None else ""
        if missed and self.settings.grpc == self.settings.http == "off":
            refusing.append(missed)  # nothing else receives here
            missed = ""
        also = [text for text in (self._drain_problem, self._clock.doubt, missed) if text]
        return not refusing, (*refusing, *also)

    def figures(self) -> Figures:
        """One look at everything."""
        waiting = segments(self.journal.folder)
        sizes = 0
        for path in waiting:
            try:
                sizes += path.stat().st_size
            except FileNotFoundError:  # drained a moment ago
                continue
        oldest = born_ns(waiting[0]) if waiting else 0
        ready, reasons = self.readiness()
        return Figures(
            pid=os.getpid(),
            grpc=self.addresses.get("grpc", "off"),
            http=self.addresses.get("http", "off"),
            web=self.addresses.get("web", "off"),
            ready=ready,
            reasons=reasons,
            journal_bytes=sizes,
            journal_lag_s=max(0.0, (time.time_ns() - oldest) / 1e9) if oldest else 0.0,
            seal_lag_s=self._seal_lag_s(),
            disk_bytes=self._disk_bytes,
            memory_bytes=resident_bytes(),
            decoded_per_s=self._decoded / self._decode_s if self._decode_s else 0.0,
            kafka_lag=self._follower.lag if self._follower is not None else None,
        )

    def _seal_lag_s(self) -> float:
        if self._oldest_hour < 0:
            return 0.0
        ended_ns = (self._oldest_hour + 1) * HOUR_NS
        return max(0.0, (time.time_ns() - ended_ns) / 1e9 - self.settings.seal_grace_minutes * 60)

    # -- running --

    async def run(
        self,
        sockets: dict[str, socket.socket],
        page: ASGIApp | None,
        stop: asyncio.Event,
        started: Callable[[], None],
    ) -> None:
        """Serve until `stop` is set.

        Parameters
        ----------
        sockets
            Bound sockets of ``http`` and ``web``, where they are wanted.
        page
            What the web port shows behind health and metrics.
        stop
            Ends it, gracefully.
        started
            Called once everything listens.

        Raises
        ------
        ConfigError
            The gRPC address cannot be bound.
        """
        drainer = threading.Thread(target=self._drain_always, name="drain", daemon=True)
        try:
            await self._listen(sockets, page)
            drainer.start()
            self._follow()
            started()
            await self._watch(stop)
        finally:
            self._stopping.set()
            begin = time.monotonic()
            self._deadline = begin + self.settings.stop_grace_s
            await self._close_listeners()
            if self._follower is not None:
                await asyncio.to_thread(self._follower.stop)
            self.journal.close()
            self._journal_closed.set()
            self.intake.close()
            self._sealer.stop(2.0)
            if drainer.ident is not None:
                await asyncio.to_thread(drainer.join)
            if self._tracing is not None:
                await asyncio.to_thread(self._tracing.close)
        left = len(segments(self.journal.folder))
        self.events("stopped", journal_segments_left=left, seconds=time.monotonic() - begin)

    async def _listen(self, sockets: dict[str, socket.socket], page: ASGIApp | None) -> None:
        if self.settings.grpc != "off":
            from tracescope.ingest import otlp_grpc

            self._grpc = await otlp_grpc.serve(self.intake, self.settings.grpc, self.access, self.limits)
            self.addresses["grpc"] = self._grpc.address
        from tracescope.ingest.otlp_http import Traces
        from tracescope.serving import routes

        about = self.readiness, self.meters, self.access
        watched = routes.watch_app(*about, series=self.series)
        apps = {
            "http": Traces(self.intake, self.access, self.limits, watched),
            "web": routes.watch_app(*about, behind=page, series=self.series),
        }
        asking = {"http": None, "web": self.access.problem}
        for name, opened in sockets.items():
            local = LOCAL_HOSTS if is_loopback(bound(opened)) else None
            running = await listen(
                opened,
                Front(apps[name], local, asking[name]),
                tls=self.access.tls,
                limits=self.limits,
                meters=self.meters,
                grace_s=max(1, self.settings.stop_grace_s // 2),
            )
            self._listeners.append(running)
            self.addresses[name] = running.address
        for name, address in self.addresses.items():
            warn_if_exposed(self.events, name, address, self.access)
        if self.settings.self_tracing:
            from tracescope.serving.tracing import SelfTracing, otlp_exporter

            self._tracing = SelfTracing(otlp_exporter(self.settings.self_tracing, self.addresses))
        self.events(
            "listening",
            **self.addresses,
            store=self.settings.one_store,
            tls=self.access.tls is not None,
            connections=self.limits.connections,
        )
        if self.limits.connections < self.settings.max_connections:
            asked, left = self.settings.max_connections, self.limits.connections
            self.events("fewer_connections", level="warning", asked=asked, a_port=left, why="open files")

    def _follow(self) -> None:
        """Follow a topic, where one is named."""
        if not self.settings.kafka:
            return
        from tracescope.serving.following import Follower
        from tracescope.sources import Options
        from tracescope.sources.kafka import open_source

        topic = open_source(self.settings.kafka, Options())
        loop = asyncio.get_running_loop()
        self._follower = Follower(topic, self.intake, self.events, self.store.root, loop)
        self._follower.start()

    async def _close_listeners(self) -> None:
        grace = max(1.0, self.settings.stop_grace_s / 2)
        ends = [listener.stop() for listener in self._listeners]
        if self._grpc is not None:
            ends.append(self._grpc.stop(grace))
        await asyncio.gather(*ends)

    # -- watching --

    async def _watch(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await asyncio.to_thread(self._look)
            except Exception as error:  # noqa: BLE001 - the watch must outlive what it watches
                self._warn_once("watch", "watch_failed", sentence(error))
            if self._grpc is not None:
                await self._grpc.set_ready(self.readiness()[0])
            try:
                async with asyncio.timeout(WATCH_EVERY_S):
                    await stop.wait()
            except TimeoutError:
                continue

    def _is_due(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + every_s
        return True

    def _look(self) -> None:
        """One turn of the watch."""
        if self.journal.error is not None:
            self.journal.probe()
        if self._is_due("disk", LOOK_EVERY_S):
            self._disk_bytes = folder_bytes(self.store.root)
            self._oldest_hour = min(self.store.landing.here(), default=-1)
            self.meters.disk_free.set(free_bytes(self.store.root))
        was = self.intake.pressure
        now = self._pressure.reason(
            memory_bytes=self._memory_bytes(), disk_bytes=self._disk_bytes, journal_error=self.journal.error
        )
        self.intake.pressure = now
        if now and not was:
            self.events("refusing", level="error", reason=now)
        elif was and not now:
            self.events("accepting")
        self._reload_tokens()
        self._seal()
        figures = self.figures()
        self._show(figures)
        if self._is_due("figures", LOOK_EVERY_S):
            try:
                figures.write(self.store.root)
            except OSError as error:
                self._warn_once("figures", "figures_not_written", sentence(error))

    def _memory_bytes(self) -> int:
        """Memory in use; what the allocator keeps is given back first when that is too much."""
        used = resident_bytes()
        if self._is_due("give_back", GIVE_BACK_EVERY_S) or self._pressure.memory_is_short(used):
            give_back()
            used = resident_bytes()
        return used

    def _show(self, figures: Figures) -> None:
        self.meters.journal_bytes.set(figures.journal_bytes)
        self.meters.journal_lag.set(figures.journal_lag_s)
        self.meters.seal_lag.set(figures.seal_lag_s)
        self.meters.disk.set(figures.disk_bytes)
        self.meters.memory.set(figures.memory_bytes)
        self.meters.in_flight.set(self.intake.in_flight_bytes)
        self.meters.ready.set(int(figures.ready))
        if figures.kafka_lag is not None:
            self.meters.kafka_lag.set(figures.kafka_lag)

    def _warn_once(self, what: str, event: str, message: str) -> None:
        """An event a minute, however often it happens."""
        if self._is_due(what, 60.0):
            self.events(event, level="error", message=message)

    def _reload_tokens(self) -> None:
        if self.access.tokens is None or not self._is_due("tokens", 1.0):
            return
        try:
            if self.access.tokens.reload():
                self.access.attempts.forget()
                self.events("tokens_reloaded")
        except (OSError, ConfigError) as error:
            self._warn_once("tokens_problem", "tokens_not_reloaded", sentence(error))

    # -- sealing --

    def _seal(self) -> None:
        outcome = self._sealer.poll()
        if outcome is not None:
            self._note(outcome)
        if self._sealer.running:
            return
        excess = self._pressure.excess_bytes(self._disk_bytes)
        prune = self._clock_holds() and self._is_due("prune", PRUNE_EVERY_S)
        if not (self._is_due("seal", SEAL_EVERY_S) or prune):
            return
        now_ns = time.time_ns()
        grace_s = self.settings.seal_grace_minutes * 60.0
        quiet = quiet_hours(self.store.landing.written(), now_ns=now_ns, grace_s=grace_s)
        if not (quiet or prune or excess):
            return
        self._sealing_since = time.monotonic()
        self._sealer.start(
            Plan(
                root=str(self.store.root),
                now_ns=now_ns,
                grace_s=grace_s,
                memory_bytes=self.settings.memory_mb * _MIB,
                prune=prune,
                spans_days=self.settings.retain_spans_days,
                rollups_days=self.settings.retain_rollups_days,
                excess_bytes=excess,
            )
        )

    def _clock_holds(self) -> bool:
        """Whether spans may be removed by age; says so once when that changes."""
        was = self._clock.doubt
        self._clock.look(time.time_ns(), time.monotonic())
        if self._clock.doubt and not was:
            self.events("clock_doubted", level="error", reason=self._clock.doubt)
        elif was and not self._clock.doubt:
            self.events("clock_trusted")
        return not self._clock.doubt

    def _note(self, outcome: Outcome) -> None:
        if outcome.state == "failed":
            self.meters.seal_failures.inc()
            self.events("seal_failed", level="error", message=outcome.message)
            return
        self.meters.sealed_hours.inc(outcome.hours)
        if self._tracing is not None and outcome.hours:
            self._tracing.sealed(outcome.hours, outcome.spans, time.monotonic() - self._sealing_since)
        if outcome.hours or outcome.pruned_hours:
            self.events("sealed", hours=outcome.hours, spans=outcome.spans, pruned_hours=outcome.pruned_hours)

    # -- draining: a thread of its own --

    def _drain_always(self) -> None:
        # the kernel's own name of the thread, so that `top -H` and benchmarks tell it apart
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("drain")
        while not self._journal_closed.wait(DRAIN_TICK_S):
            while self._drained():
                pass
        self._drained(at_the_end=True)

    def _drained(self, *, at_the_end: bool = False) -> int:
        """Segments landed in one turn; a folder that cannot be looked at now may be later."""
        try:
            return self._drain(0.0 if at_the_end else gather_s(self.store.landing.count()))
        except OSError as error:
            self._not_drained(error, "")
            return 0

    def _drain(self, older_than_s: float) -> int:
        """Land what was acknowledged; segments landed.  What fails stays, and is tried again."""
        done, whole = 0, True
        for group in together(self.journal.segments_to_drain(older_than_s=older_than_s), self.journal):
            if time.monotonic() > self._deadline:
                return 0
            landed = self._land(group)
            # none of them holds the others up
            each = [self._land([segment]) for segment in group] if not landed and len(group) > 1 else [landed]
            whole = whole and all(each)
            done += len(group) if whole else 0
        if whole:
            self._drain_problem = ""
        return done

    def _land(self, segments: list[Path]) -> bool:
        """Land some segments together; whether that was possible."""
        begin = time.perf_counter()
        try:
            landed = drain(
                self.store, segments, self.journal, policy=self.settings.policy, damaged=self._damaged
            )
        except Exception as error:  # noqa: BLE001 - the thread must outlive any one segment
            self._not_drained(error, f"{segments[0].name}: ")
            return False
        taken = time.perf_counter() - begin
        self.meters.decoded.inc(landed)
        self.meters.decode_seconds.inc(taken)
        self._decoded += landed
        self._decode_s += taken
        if self._tracing is not None:
            self._tracing.drained(landed, taken)
        return True

    def _not_drained(self, error: Exception, where: str) -> None:
        """Tell that spans stay where they are, which loses none of them."""
        self.meters.drain_failures.inc()
        self._drain_problem = f"spans stay in the journal: {sentence(error)}"
        self._warn_once("drain", "drain_failed", f"{where}{sentence(error)}")

    def _damaged(self, aside: Path, requests: int) -> None:
        """Tell of acknowledged requests that cannot be read any more."""
        self.meters.lost_requests.inc(requests)
        self.events("journal_damaged", level="error", file=str(aside), lost_requests=requests)


def refuse_exposed(settings: config.Settings, access: Access) -> None:
    """Refuse to let others reach a port on which nobody asks who they are, unless that is wanted.

    Raises
    ------
    ConfigError
        Such an address, without TLS, tokens or `insecure`; or what is no address.
    """
    addresses = {name: getattr(settings, name) for name in ("grpc", "http", "web")}
    for name, address in addresses.items():
        if address != "off":
            host_and_port(address, f"--{name}", EXAMPLES[name])
    if access.asks or access.tls is not None or settings.insecure:
        return
    for name, address in addresses.items():
        if address != "off" and not is_loopback(address):
            raise ConfigError(
                f"--{name} {address} can be reached from other machines, without TLS and without a token",
                "give --token-file or --tls-cert and --tls-key, or say that it is meant: --insecure",
            )


def warn_if_exposed(events: Events, name: str, address: str, access: Access) -> None:
    """Tell that others can reach a port, and nobody asks them who they are."""
    if not (is_loopback(address) or access.asks):
        events("exposed", level="warning", port=name, address=address, tokens=False)


def prepare(settings: config.Settings) -> tuple[Access, Limits]:
    """Who may send and how much, of the settings.

    Raises
    ------
    ConfigError
        Half a TLS configuration, files that cannot be used, or an origin that is none.
    """
    tls = Tls.of(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    tokens = Tokens.read(settings.token_file) if settings.token_file else None
    ports = sum(address != "off" for address in (settings.grpc, settings.http, settings.web))
    limits = Limits(
        request_bytes=settings.max_request_mb * _MIB,
        connections=connections_of(raise_limit(), settings.max_connections, ports),
        streams=settings.max_streams,
        slow_client_s=settings.slow_client_s,
    )
    cors = Cors.of(settings.cors_allowed_origins, settings.cors_allowed_headers, settings.cors_max_age_s)
    return Access(tls, tokens, cors), limits


def open_sockets(settings: config.Settings) -> dict[str, socket.socket]:
    """Bind what the settings ask for; all or none.

    Raises
    ------
    ConfigError
        An address is taken, or none.
    """
    opened: dict[str, socket.socket] = {}
    if settings.grpc not in ("off", "") and not settings.grpc.endswith(":0"):
        bind(settings.grpc, "--grpc").close()  # gRPC itself does not say why it cannot
    try:
        for name, address in (("http", settings.http), ("web", settings.web)):
            if address != "off":
                opened[name] = bind(address, f"--{name}")
    except ConfigError:
        for one in opened.values():
            one.close()
        raise
    return opened
