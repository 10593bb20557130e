"""Dates and times of DICOM as datetimes of the scanner's clock."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_DATETIME = re.compile(r"^(\d{8})(\d{2})(\d{2})?(\d{2})?(\.\d+)?(?:([+-])(\d{2})(\d{2}))?$")
# "2024-01-05T10:00:00Z", "9:05:00 PM", "9:05 a.m.", "11.00.00": no DT and TM, but written.
_ISO = re.compile(r"^(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2})(?::(\d{2}(?:\.\d+)?))?(?:(Z)|([+-]\d{2}):?(\d{2}))?$")
_CLOCK = re.compile(r"^(\d{1,2})[:.](\d{2})(?:[:.](\d{2}(?:\.\d+)?))?\s*(?:([AP])\.?M\.?)?$", re.IGNORECASE)


def parse_datetime(value: object, clock_offset: object = None) -> datetime | None:
    """A DICOM DT (with at least the hour) as local time, None where it is absent or malformed.

    A zone suffix is turned into the scanner's clock where that is known (`clock_offset`, TimezoneOffsetFromUTC);
    otherwise the suffix is the scanner's own and is dropped.
    """
    found = _matched(value)
    if not found:
        return None
    day, hour, minute, second, fraction, sign, zone_hours, zone_minutes = found.groups()
    try:
        moment = datetime.strptime(f"{day}{hour}{minute or '00'}{second or '00'}", "%Y%m%d%H%M%S")
    except ValueError:
        return None
    moment += timedelta(seconds=float(fraction or 0))
    clock = parse_offset(clock_offset)
    if sign and clock is not None:
        moment += clock - _offset(sign, zone_hours, zone_minutes)
    return moment


def combine(date: object, time: object) -> datetime | None:
    """A DICOM DA and TM as one moment, None where either is absent or malformed."""
    day, clock = _text(date).replace(".", "").replace("-", ""), _text(time)
    if found := _CLOCK.match(clock):
        hour, minute, second, half = found.groups()
        hours = int(hour) if half is None else int(hour) % 12 + 12 * (half.upper() == "P")
        clock = f"{hours:02}{minute}{second or ''}"
    return parse_datetime(day + clock) if len(day) == 8 and clock else None


def parse_offset(value: object) -> timedelta | None:
    """TimezoneOffsetFromUTC, for example +0200."""
    found = re.match(r"^([+-])(\d{2})(\d{2})$", _text(value))
    return _offset(*found.groups()) if found else None


def shown(moment: datetime) -> str:
    """A moment as sentences say it, to the second."""
    return f"{moment + timedelta(milliseconds=500):%Y-%m-%d %H:%M:%S}"


def has_zone(value: object) -> bool:
    """Whether a DT ends with a time zone."""
    found = _matched(value)
    return bool(found and found.group(6))


def _matched(value: object) -> re.Match[str] | None:
    """The parts of a DT; ISO 8601 with its dashes and colons is read like one."""
    text = _text(value)
    if found := _ISO.match(text):
        *moment, is_utc, zone_hours, zone_minutes = found.groups("")
        text = "".join(moment) + ("+0000" if is_utc else zone_hours + zone_minutes)
    return _DATETIME.match(text)


def _offset(sign: str, hours: str, minutes: str) -> timedelta:
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return -offset if sign == "-" else offset


def _text(value: object) -> str:
    """A value as text; private tags of unknown representation come as bytes."""
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="ignore")
    return str(value if value is not None else "").strip("\0 ")
