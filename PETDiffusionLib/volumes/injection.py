"""When the tracer was injected, told by a header whose dates and times may contradict each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from PETDiffusionLib.volumes.headers import tag_name
from PETDiffusionLib.volumes.nuclides import HOUR, MINUTE
from PETDiffusionLib.volumes.radiopharmacy import Administration
from PETDiffusionLib.volumes.times import combine, has_zone, parse_datetime, parse_offset, shown

MOST_HALF_LIVES = 10  # from injection to scan: more is a mistake in a date
LATEST_AFTER_START_S = 1.0 * HOUR  # a dynamic scan is started before the injection
SAME_CLOCK_S = 1.0 * MINUTE
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Injection:
    """The moment of injection and the tag that it is from; warnings, or why it cannot be known."""

    moment: datetime | None = None
    source: str | None = None
    warnings: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Scan:
    """What is known of the scan when an injection is looked for: its start, its end, the half-life in seconds."""

    start: datetime | None
    end: datetime | None
    half_life_s: float | None

    def may_follow(self, injection: datetime) -> bool:
        """Whether the scan can be of that injection: it began an hour before it at most, ten half-lives after it."""
        if self.start is None:
            return True
        seconds = (self.start - injection).total_seconds()
        longest = 24 * HOUR if self.half_life_s is None else MOST_HALF_LIVES * self.half_life_s
        return -LATEST_AFTER_START_S <= seconds <= longest


def find_injection(headers: Sequence[Dataset], given: Administration, scan: Scan) -> Injection:
    """The injection by its full date and time; where that is absent or cannot be, by its time of day.

    A time of day is of the one day on which the scan can be of it; for a long-lived tracer there are several, and then
    it is not known. Tags that contradict each other are said with both values.
    """
    if given.start_problem:
        return Injection(problem=given.start_problem)
    clock = combine("20000101", given.start_time)
    full = parse_datetime(given.start_datetime, headers[0].get("TimezoneOffsetFromUTC"))
    full = full or combine(given.start_datetime, given.start_time)  # a date alone
    if full is None and clock is None:
        return Injection(problem=_unreadable(given))
    if full is None:
        return _by_time_of_day(clock, scan, headers, tag_name("RadiopharmaceuticalStartTime"))
    said, warnings = f"{given.start_datetime_source} {given.start_datetime}", []
    moment, source = full, given.start_datetime_source
    apart = 0.0 if clock is None else _clocks_apart_s(full, clock)
    zone_unknown = has_zone(given.start_datetime) and parse_offset(headers[0].get("TimezoneOffsetFromUTC")) is None
    if abs(apart) > SAME_CLOCK_S:
        stated = f"{tag_name('RadiopharmaceuticalStartTime')} {given.start_time}"
        other = full + timedelta(seconds=apart)
        is_zone = zone_unknown and abs(apart) % (15 * MINUTE) < 1
        # With a zone that nobody explains, the time of day is the one of the scanner's clock.
        if is_zone and scan.may_follow(other):
            moment, source = other, tag_name("RadiopharmaceuticalStartTime")
        elif clock is not None and not scan.may_follow(full):
            by_clock = _by_time_of_day(clock, scan, headers, tag_name("RadiopharmaceuticalStartTime"))
            moment, source = by_clock.moment or full, by_clock.source or source
        taken = "the former" if moment == full else "the latter"
        warnings.append(f"{said} and {stated} disagree; {taken} was taken. Check it, or state --minutes.")
    elif zone_unknown and clock is None:
        warnings.append(
            f"{said} has a time zone, and the scanner's is not stated; it was taken as the scanner's clock. "
            "Check it, or state --minutes."
        )
    if scan.may_follow(moment):
        return Injection(moment, source, tuple(warnings))
    return _on_another_day(full, said, clock, scan, headers)


def _on_another_day(
    full: datetime, said: str, clock: datetime | None, scan: Scan, headers: Sequence[Dataset]
) -> Injection:
    """A date that cannot be (one of two that were shifted to hide the patient, say), but a time of day that can.

    With such a date its time of day is doubtful too: that of the other tag comes first.
    """
    tag = "its time of day" if clock is None else tag_name("RadiopharmaceuticalStartTime")
    found = _by_time_of_day(clock or full, scan, headers, tag)
    is_blank = clock is None and (full.hour, full.minute, full.second) == (0, 0, 0)
    if found.moment is None or is_blank or not scan.may_follow(found.moment):
        return Injection(full, said)  # as it stands: the minutes show that it cannot be
    started = shown(scan.start) if scan.start else "another day"
    sentence = (
        f"{said} cannot be the injection of a scan that started on {started}; {shown(found.moment)}, {found.source}, "
        "was taken. Check it, or state --minutes."
    )
    return replace(found, warnings=(sentence,))


def _unreadable(given: Administration) -> str | None:
    """What is written instead of a time of injection; None where nothing is."""
    written = {
        given.start_datetime_source: given.start_datetime,
        tag_name("RadiopharmaceuticalStartTime"): given.start_time,
    }
    found = [f"{tag} '{value}'" for tag, value in written.items() if value]
    return f"{' and '.join(found)} {'is' if len(found) == 1 else 'are'} no time of day" if found else None


def _by_time_of_day(clock: datetime | None, scan: Scan, headers: Sequence[Dataset], tag: str) -> Injection:
    """The injection on the one day that suits the scan."""
    if clock is None:
        return Injection()
    day = scan.start.strftime("%Y%m%d") if scan.start else headers[0].get("SeriesDate")
    moment = combine(day, clock.strftime("%H%M%S.%f"))
    if moment is None or scan.start is None:
        return Injection(moment, f"{tag} on the day of the scan" if moment else None)
    days = {"the day before the scan": moment - DAY, "the day of the scan": moment, "the day after": moment + DAY}
    possible = {name: one for name, one in days.items() if scan.may_follow(one)}
    if not possible:
        return Injection(moment, f"{tag} on the day of the scan")
    if len(possible) == 1:
        ((name, moment),) = possible.items()
        return Injection(moment, f"{tag} on {name}")
    during = {name: one for name, one in possible.items() if scan.end and scan.start < one <= scan.end}
    time_of_day = f"{clock:%H:%M:%S}"
    if len(during) == 1:
        ((name, moment),) = during.items()
        sentence = (
            f"The header has no date of injection; {time_of_day} lies within the scan, so it was taken for {name}. "
            "If it was another day, state --minutes."
        )
        return Injection(moment, f"{tag} on {name}", (sentence,))
    assert scan.half_life_s is not None  # without it only one day is possible
    return Injection(
        problem=f"{tag} {time_of_day} has no date, and with a half-life of {scan.half_life_s / HOUR:.3g} hours its day "
        "counts"
    )


def _clocks_apart_s(full: datetime, clock: datetime) -> float:
    """From the time of day of one to that of the other, between half a day before and after."""
    seconds = (datetime.combine(full.date(), clock.time()) - full).total_seconds()
    return (seconds + 12 * HOUR) % (24 * HOUR) - 12 * HOUR
