"""Periods as people say them: every word and form, in zones with and without summer time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tracescope.errors import PeriodError
from tracescope.periods import Context, Period, first_and_last, format_utc, pair, parse

SECOND = 10**9
HOUR = 3600 * SECOND
DAY = 24 * HOUR


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


#: Thursday, 14:30 in London and UTC, 15:30 in Berlin, 20:00 in Calcutta.
NOW = at("2026-11-26T14:30:00")
MARKS = {"release-1.4": at("2026-11-20T09:00:00"), "release-1.3": at("2026-11-10T00:00:00")}


def context(
    zone: str = "UTC", now_ns: int = NOW, first: str = "2026-09-01", last: str = "2026-11-26"
) -> Context:
    return Context(now_ns, zone, at(f"{first}T00:00"), at(f"{last}T00:00"), MARKS)


UTC_CASES = {
    "today": "2026-11-26T00:00Z .. 2026-11-26T14:30Z",
    "yesterday": "2026-11-25T00:00Z .. 2026-11-26T00:00Z",
    "this-week": "2026-11-23T00:00Z .. 2026-11-26T14:30Z",
    "last-week": "2026-11-16T00:00Z .. 2026-11-23T00:00Z",
    "this-month": "2026-11-01T00:00Z .. 2026-11-26T14:30Z",
    "last-month": "2026-10-01T00:00Z .. 2026-11-01T00:00Z",
    "this-year": "2026-01-01T00:00Z .. 2026-11-26T14:30Z",
    "last-year": "2025-01-01T00:00Z .. 2026-01-01T00:00Z",
    "all": "2026-09-01T00:00Z .. 2026-11-26T00:00Z",
    "30d": "2026-10-27T14:30Z .. 2026-11-26T14:30Z",
    "2w": "2026-11-12T14:30Z .. 2026-11-26T14:30Z",
    "36h": "2026-11-25T02:30Z .. 2026-11-26T14:30Z",
    "90m": "2026-11-26T13:00Z .. 2026-11-26T14:30Z",
    "2026": "2026-01-01T00:00Z .. 2027-01-01T00:00Z",
    "2026-08": "2026-08-01T00:00Z .. 2026-09-01T00:00Z",
    "2025-12": "2025-12-01T00:00Z .. 2026-01-01T00:00Z",
    "2026-W40": "2026-09-28T00:00Z .. 2026-10-05T00:00Z",
    "2026-W01": "2025-12-29T00:00Z .. 2026-01-05T00:00Z",
    "2020-W53": "2020-12-28T00:00Z .. 2021-01-04T00:00Z",
    "2026-08-15": "2026-08-15T00:00Z .. 2026-08-16T00:00Z",
    "2026-08-01/2026-08-15": "2026-08-01T00:00Z .. 2026-08-15T00:00Z",
    "2026-08/2026-10": "2026-08-01T00:00Z .. 2026-10-01T00:00Z",
    "2026-W40/2026-W42": "2026-09-28T00:00Z .. 2026-10-12T00:00Z",
    "2026-11-26T10:00": "2026-11-26T10:00Z .. 2026-11-26T14:30Z",
    "2026-11-26T10:00:30Z/2026-11-26T12:00+01:00": "2026-11-26T10:00:30Z .. 2026-11-26T11:00Z",
    "release-1.4": "2026-11-20T09:00Z .. 2026-11-26T14:30Z",
    "release-1.3/release-1.4": "2026-11-10T00:00Z .. 2026-11-20T09:00Z",
    "2026-11-01/release-1.4": "2026-11-01T00:00Z .. 2026-11-20T09:00Z",
}


@pytest.mark.parametrize("text", UTC_CASES)
def test_every_form_means_what_the_documentation_says(text: str) -> None:
    """In UTC, on a Thursday afternoon."""
    found = parse(text, context())
    assert found.utc() == UTC_CASES[text]
    assert found.text == text


ZONES = {
    ("Europe/Berlin", "today"): "2026-11-25T23:00Z .. 2026-11-26T14:30Z",
    ("Asia/Kolkata", "yesterday"): "2026-11-24T18:30Z .. 2026-11-25T18:30Z",
    ("Pacific/Auckland", "today"): "2026-11-26T11:00Z .. 2026-11-26T14:30Z",
    # summer time ended on 25 October: the month has 31 days and an hour
    ("Europe/Berlin", "last-month"): "2026-09-30T22:00Z .. 2026-10-31T23:00Z",
    ("Europe/Berlin", "2026-10-25"): "2026-10-24T22:00Z .. 2026-10-25T23:00Z",
    ("Europe/Berlin", "2026-03-29"): "2026-03-28T23:00Z .. 2026-03-29T22:00Z",
    ("Europe/Berlin", "2026-W13"): "2026-03-22T23:00Z .. 2026-03-29T22:00Z",
    # half an hour of summer time, and a day whose midnight does not exist
    ("Australia/Lord_Howe", "2026-04-05"): "2026-04-04T13:00Z .. 2026-04-05T13:30Z",
    ("America/Sao_Paulo", "2018-11-04"): "2018-11-04T03:00Z .. 2018-11-05T02:00Z",
    # an instant with its own offset does not care
    ("Asia/Tokyo", "2026-11-01T00:00Z/2026-11-02T00:00-05:00"): "2026-11-01T00:00Z .. 2026-11-02T05:00Z",
    ("Asia/Tokyo", "2026-11-01T09:00/2026-11-02"): "2026-11-01T00:00Z .. 2026-11-01T15:00Z",
    # a length is a length, whatever the clocks on the walls did
    ("Europe/Berlin", "40d"): "2026-10-17T14:30Z .. 2026-11-26T14:30Z",
}


@pytest.mark.parametrize(("zone", "text"), ZONES)
def test_calendar_words_follow_the_midnights_of_the_zone(zone: str, text: str) -> None:
    """Summer time included."""
    assert parse(text, context(zone)).utc() == ZONES[zone, text]


def test_weeks_and_months_turn_over_at_the_ends_of_years_and_in_leap_years() -> None:
    """New Year's Day, and the 29th of February."""
    new_year = context(now_ns=at("2027-01-01T06:00:00"))
    assert parse("last-month", new_year).utc() == "2026-12-01T00:00Z .. 2027-01-01T00:00Z"
    assert parse("this-week", new_year).utc() == "2026-12-28T00:00Z .. 2027-01-01T06:00Z"
    assert parse("last-year", new_year).utc() == "2026-01-01T00:00Z .. 2027-01-01T00:00Z"
    leap = context(now_ns=at("2028-02-29T06:00:00"))
    assert parse("this-month", leap).utc() == "2028-02-01T00:00Z .. 2028-02-29T06:00Z"
    assert parse("last-year", leap).utc() == "2027-01-01T00:00Z .. 2028-01-01T00:00Z"


BAD = {
    "": "cannot read",
    "next-week": "cannot read the period 'next-week'",
    "last_month": "cannot read",
    "30": "cannot read",
    "0d": "is empty",
    "999999w": "before the calendar begins",
    "2026-13": "no such period '2026-13'",
    "2026-W54": "no such period",
    "2026-02-30": "no such period",
    "0000": "no such period",
    "9999": "no such period",
    "release-9": "cannot read",
    "2026-08-15/2026-08-01": "is empty: 2026-08-15T00:00Z is not before 2026-08-01T00:00Z",
    "release-1.4/release-1.4": "is empty",
    "2026-08-01/": "cannot read '' as an instant",
    "/2026-08-01": "cannot read '' as an instant",
    "2026-08-01/2026-08-02/2026-08-03": "as an instant",
    "2026-08-01/last-month": "cannot read 'last-month' as an instant",
    "2030-01-01T00:00": "is empty",
    "0001-01-01T00:00/2026-01-01": "before the calendar begins",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_period_is_a_usage_error_with_a_hint(text: str) -> None:
    """It names the text, and says what would do."""
    with pytest.raises(PeriodError, match=BAD[text].replace("(", r"\(")) as failure:
        parse(text, context("Asia/Tokyo" if text.startswith("0001") else "UTC"))
    assert failure.value.hint
    assert failure.value.exit_code == 2


def test_a_zone_that_is_none_is_named() -> None:
    """Also one that could be a path."""
    for zone in ("Mars/Olympus", "../etc/passwd", ""):
        with pytest.raises(PeriodError, match="no time zone"):
            parse("today", context(zone))


def test_all_of_an_empty_store_is_no_period() -> None:
    """There is nothing to take the halves of."""
    with pytest.raises(PeriodError, match="the store is empty"):
        parse("all", Context(NOW, "UTC"))


def both(base: str | None, head: str | None = None) -> tuple[str, str]:
    periods = pair(base, head, context())
    return periods[0].utc(), periods[1].utc()


PAIRS = {
    (None, None): (UTC_CASES["last-week"], UTC_CASES["this-week"]),
    ("last-month", None): (UTC_CASES["last-month"], "2026-11-01T00:00Z .. 2026-11-26T14:30Z"),
    ("2026-W40", None): (UTC_CASES["2026-W40"], "2026-10-05T00:00Z .. 2026-11-26T14:30Z"),
    ("2026-08", "2026-10"): (UTC_CASES["2026-08"], "2026-10-01T00:00Z .. 2026-11-01T00:00Z"),
    ("2026-08..2026-10", None): (UTC_CASES["2026-08"], "2026-10-01T00:00Z .. 2026-11-01T00:00Z"),
    ("last-month..", None): (UTC_CASES["last-month"], "2026-11-01T00:00Z .. 2026-11-26T14:30Z"),
    ("30d", None): ("2026-09-27T14:30Z .. 2026-10-27T14:30Z", UTC_CASES["30d"]),
    ("this-week", None): ("2026-11-19T09:30Z .. 2026-11-23T00:00Z", UTC_CASES["this-week"]),
    ("release-1.4", None): ("2026-11-14T03:30Z .. 2026-11-20T09:00Z", UTC_CASES["release-1.4"]),
    ("release-1.3/release-1.4", None): ("2026-11-10T00:00Z .. 2026-11-20T09:00Z", UTC_CASES["release-1.4"]),
    ("all", None): ("2026-09-01T00:00Z .. 2026-10-14T00:00Z", "2026-10-14T00:00Z .. 2026-11-26T00:00Z"),
}


@pytest.mark.parametrize(("base", "head"), PAIRS)
def test_base_and_head_are_read_as_git_reads_them(base: str | None, head: str | None) -> None:
    """What changed since BASE; what ends now is compared with the equal span before it."""
    assert both(base, head) == PAIRS[base, head]


def test_half_a_pair_is_an_error() -> None:
    """`..B` has no base."""
    for text in ("..2026-10", ".."):
        with pytest.raises(PeriodError):
            both(text)


def test_the_halves_of_a_short_store_meet_where_they_should() -> None:
    """To the nanosecond, not to the hour."""
    short = Context(NOW, "UTC", NOW - 2 * HOUR, NOW - 1)
    base, head = pair("all", None, short)
    assert base.end_ns == head.start_ns == NOW - HOUR
    assert head.end_ns == NOW


def test_instants_are_printed_with_seconds_only_where_there_are_any() -> None:
    """Both forms, and the period's own."""
    assert format_utc(at("2026-01-02T03:04:05")) == "2026-01-02T03:04:05Z"
    assert Period(0, HOUR, "x").utc() == "1970-01-01T00:00Z .. 1970-01-01T01:00Z"
    assert Period(0, HOUR, "x").length_ns == HOUR


def test_a_demo_compares_its_first_month_with_its_last() -> None:
    """Whole hours at both ends; a short one is halved."""
    end = at("2026-10-01T00:00")
    known = Context(NOW, "UTC", end - 91 * DAY + 5, end - 7, demo=True)
    base, head = first_and_last(known)
    assert (base.start_ns, base.end_ns) == (end - 91 * DAY, end - 61 * DAY)
    assert (head.start_ns, head.end_ns) == (end - 30 * DAY, end)
    short = Context(NOW, "UTC", end - 40 * DAY, end - 1, demo=True)
    assert first_and_last(short) == pair("all", None, short)


@pytest.mark.parametrize("digits", ["1", "123", "123456", "123456789", "1234567891"])
def test_an_instant_keeps_its_nanoseconds(digits: str) -> None:
    """What commands print can be given back: a period of spans ends at a nanosecond."""
    found = parse(f"2026-11-01T00:00:01.{digits}Z/2026-11-02", context())
    assert found.start_ns == at("2026-11-01T00:00:01") + int(digits[:9].ljust(9, "0"))
