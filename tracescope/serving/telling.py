"""`serve` tells of its verdict: the digest to a webhook, and an alert a finding to an Alertmanager.

    every LOOK_EVERY_S ─► the page's process makes the digest ─┬─ verdict changed, or due ─► webhook
                                                               └─ findings ─► Alertmanager, resolved
                                                                  when they go

Nothing of it waits for, or is waited for by, those that receive.  What was told is remembered in the
store's folder, so that a restart repeats nothing.  An alert ends by itself when nobody renews it: where
there is too little data, or no receiver, nobody knows whether the finding still holds.

Source: Alertmanager's API v2 (`postAlerts`; `endsAt` in the past resolves).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from tracescope import schedule
from tracescope.analysis.report import State
from tracescope.config import shown_address
from tracescope.periods import zone_of
from tracescope.serving.posting import post
from tracescope.store import checked
from tracescope.store.landing import write_durably

if TYPE_CHECKING:
    from tracescope.config import Settings
    from tracescope.ingest.meters import Meters
    from tracescope.serving.events import Events

#: Where the page's process makes the digest; outside nobody can ask for it, as no path begins so.
DIGEST: Final = "-/digest"
FILE: Final = "told.json"
#: The first look comes so long after the start, and further ones so long after each other.
FIRST_LOOK_S: Final = 5.0
LOOK_EVERY_S: Final = 300.0
#: A verdict that comes and goes is told of no more often.
AGAIN_S: Final = 3600.0
#: A finding that was away no longer is no new one when it returns.
FORGET_S: Final = 7 * 86_400.0
#: An alert that is not renewed ends after so many looks.
_LOOKS_LEFT: Final = 4
_ALERTS: Final = "/api/v2/alerts"


@dataclass(slots=True)
class Sent:
    """What was sent, kept in the store's folder.

    Attributes
    ----------
    state
        The verdict that was last told.
    at_s, scheduled_s
        When the webhook was last told, and when it last was due by the clock.
    findings
        Findings that were told, and when each was last there.
    alerts
        Alerts that an Alertmanager holds, as they were sent, by finding.
    """

    state: str = ""
    at_s: float = 0.0
    scheduled_s: float = 0.0
    findings: dict[str, float] = field(default_factory=dict[str, float])
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])

    @classmethod
    def read(cls, root: Path) -> Sent:
        """What was sent before; nothing where that cannot be read."""
        try:
            return cls(**checked.load((root / FILE).read_bytes(), required=True))
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, root: Path) -> None:
        """Keep it."""
        write_durably(root / FILE, checked.dump(asdict(self)))


def is_configured(settings: Settings) -> bool:
    """Whether a webhook or an Alertmanager is configured."""
    return bool(settings.webhook_url or settings.alertmanager_url)


class Teller:
    """Looks at the verdict again and again, and tells of it.

    Parameters
    ----------
    settings
        Whom to tell, and when.
    ask
        Gives the body that the page's process answers a path with; empty where there is none.
    events
        Says what could not be sent, and where to: the host, no more.
    meters
        Count what was sent, and what was given up.
    first_pause_s
        Before a message is tried a second time.
    """

    def __init__(
        self,
        settings: Settings,
        ask: Callable[[str], Awaitable[bytes]],
        events: Events,
        meters: Meters,
        *,
        first_pause_s: float = 1.0,
    ) -> None:
        self._settings = settings
        self._ask = ask
        self._events = events
        self._meters = meters
        self._first_pause_s = first_pause_s
        self._root = Path(settings.one_store)
        self._schedule = schedule.parse(settings.digest_every) if settings.digest_every else None
        self._zone = zone_of(settings.tz)

    async def run(self) -> None:
        """Look until cancelled."""
        await asyncio.sleep(FIRST_LOOK_S)
        while True:
            try:
                await self.look(time.time())
            except Exception as error:  # noqa: BLE001 - it must outlive one look; its text may hold an address
                self._events("telling_failed", level="error", error=type(error).__name__)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self, now_s: float) -> None:
        """Look once, at `now_s` since 1970, and send what is due."""
        body = await self._ask(DIGEST)
        if not body:
            self._events("digest_not_made", level="warning")
            return
        digest = orjson.loads(body)
        sent = await asyncio.to_thread(Sent.read, self._root)
        if self._settings.webhook_url:
            await self._tell_webhook(digest, sent, now_s)
        if self._settings.alertmanager_url and digest["state"] != State.INSUFFICIENT:
            await self._tell_alertmanager(digest["findings"], sent, now_s)
        await asyncio.to_thread(sent.write, self._root)

    async def _tell_webhook(self, digest: dict[str, Any], sent: Sent, now_s: float) -> None:
        here = [found["id"] for found in digest["findings"]]
        due = self._is_due(sent, now_s)
        if not (due or (self._changed(digest["state"], here, sent) and now_s - sent.at_s >= AGAIN_S)):
            sent.findings |= {name: now_s for name in here if name in sent.findings}
            return
        if await self._post(self._settings.webhook_url, digest["message"], "webhook"):
            sent.state, sent.at_s = digest["state"], now_s
            kept = {name: at for name, at in sent.findings.items() if now_s - at < FORGET_S}
            sent.findings = kept | dict.fromkeys(here, now_s)
            if due:
                sent.scheduled_s = now_s

    def _is_due(self, sent: Sent, now_s: float) -> bool:
        """Whether the clock asks for it; from the first look on."""
        if self._schedule is None:
            return False
        if not sent.scheduled_s:
            sent.scheduled_s = now_s
        return self._schedule.due(sent.scheduled_s, now_s, self._zone)

    @staticmethod
    def _changed(state: str, here: list[str], sent: Sent) -> bool:
        """Whether the verdict differs from the one sent last; insufficient data at first does not count."""
        if not sent.state and state == State.INSUFFICIENT:
            return False
        return state != sent.state or any(name not in sent.findings for name in here)

    async def _tell_alertmanager(self, findings: list[dict[str, Any]], sent: Sent, now_s: float) -> None:
        ends = _rfc3339(now_s + _LOOKS_LEFT * LOOK_EVERY_S)
        firing: dict[str, dict[str, Any]] = {}
        for found in findings:
            before = sent.alerts.get(found["id"], {})
            begun = before.get("startsAt") or found["since"] or _rfc3339(now_s)
            firing[found["id"]] = {**found["alert"], "startsAt": begun, "endsAt": ends}
        gone = [
            {**alert, "endsAt": _rfc3339(now_s)} for name, alert in sent.alerts.items() if name not in firing
        ]
        alerts = [*firing.values(), *gone]
        if not alerts:
            return
        address = self._settings.alertmanager_url.rstrip("/")
        if await self._post(
            address if address.endswith(_ALERTS) else address + _ALERTS, alerts, "alertmanager"
        ):
            sent.alerts = firing
        else:  # what is gone is resolved with the next look
            sent.alerts = firing | {name: sent.alerts[name] for name in sent.alerts if name not in firing}

    async def _post(self, url: str, message: Any, to: str) -> bool:
        outcome = await post(url, orjson.dumps(message), first_pause_s=self._first_pause_s)
        self._meters.messages.labels(to, "sent" if outcome.accepted else "failed").inc()
        if not outcome.accepted:
            self._events(
                "not_sent",
                level="error",
                what="digest" if to == "webhook" else "alerts",
                to=shown_address(url),
                tries=outcome.tries,
                reason=outcome.said,
            )
        return outcome.accepted


def _rfc3339(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
