"""``vidface access``: decide on events, and open doors. ``vidface access check``: find mistakes before it matters."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from vidface.access.action import Opening
from vidface.access.assemble import actions_of, feed_of, load_doors, place_of, site_of
from vidface.access.audit import AuditLog, decision_entry
from vidface.access.check import Finding, check
from vidface.access.clock import WatchedClock
from vidface.access.guard import Guard
from vidface.access.ledger import Ledger, Outcome
from vidface.access.opener import Opener
from vidface.access.replay import replay
from vidface.access.rules import Decision
from vidface.access.summary import Summary
from vidface.cli.options import JsonOption
from vidface.cli.output import complain, local_time, note, say, show, show_json, show_json_line, show_table, warn
from vidface.config.document import dotted
from vidface.config.doors import DoorsConfig
from vidface.config.schema import doors_schema
from vidface.errors import UsageError
from vidface.place import find_place

DoorsOption = Annotated[Path, typer.Option("--config", metavar="FILE", help="The file of doors.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Open doors for people who are recognised.")
    group.callback(invoke_without_command=True)(access)
    group.command(name="check")(check_doors)
    group.command(name="schema")(schema)
    app.add_typer(group, name="access")


def access(
    context: typer.Context,
    *,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="The file of doors.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Decide and write the audit log, and open nothing.")
    ] = False,
    replay: Annotated[
        Path | None,
        typer.Option("--replay", metavar="EVENTS", help="Put recorded events through the rules, and open nothing."),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="With --replay: print each decision as well.")] = False,
    accept_clock: Annotated[
        bool,
        typer.Option("--accept-clock", help="The clock is right now, although it was set back since the last start."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Open doors for people who are recognised, as a file of doors says.

    Runs until stopped by SIGINT (Ctrl-C) or SIGTERM. Whatever is unknown, too old or contradictory opens nothing. Each
    decision is in audit.jsonl in the file's data folder before anything opens.
    """
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise UsageError("--config is missing; it names the file of doors")
    loaded, _ = load_doors(config, opens=replay is None and not dry_run)
    if replay is not None:
        if dry_run or accept_clock:
            raise UsageError("--replay opens nothing and judges no clock: leave --dry-run and --accept-clock out")
        _replay(loaded, replay, each=each, as_json=as_json)
        return
    if each:
        raise UsageError("--each has no use without --replay: decisions are printed as they come")
    _guard(loaded, dry_run=dry_run, accept_clock=accept_clock, as_json=as_json)


def _guard(config: DoorsConfig, *, dry_run: bool, accept_clock: bool, as_json: bool) -> None:
    summary = Summary()
    tell = _Teller(summary, as_json=as_json, dry_run=dry_run)
    feed = feed_of(config.events)
    clock = WatchedClock()
    with ExitStack() as stack:
        name = "audit-dry-run.jsonl" if dry_run else "audit.jsonl"
        audit = stack.enter_context(AuditLog(config.data_dir / name))
        ledger = stack.enter_context(Ledger(None if dry_run else config.data_dir / "ledger.db"))
        if accept_clock:
            ledger.accept_clock(clock.look().now_ns)
        opener = None
        if not dry_run:
            opener = Opener(actions_of(config), ledger, audit, on_outcome=tell.outcome, on_failure=feed.stop)
            stack.enter_context(opener)
        guard = Guard(site_of(config), ledger, audit, opener, on_decision=tell.decision, look=clock.look)
        unknown = guard.begin()
        if unknown:
            warn(f"{unknown} actions ran when the last run ended: whether they opened a door is not known")
        for door in config.doors:
            if door.action is None and not dry_run:
                warn(f"the door {door.id!r} has no action: what opens it is only written to the audit log")
        stack.enter_context(_stop_on_signals(feed.stop))
        doors = f"{len(config.doors)} door{'s' * (len(config.doors) != 1)}"
        how = "a dry run, nothing opens; " if dry_run else ""
        note(f"guarding {doors}; {how}events come from {place_of(config.events)}; stop with Ctrl-C")
        feed.run(guard.handle, guard.malformed)
    if as_json:
        show_json_line({"kind": "summary", **summary.to_json()})
    else:
        say()
        _say_summary(summary)


class _Teller:
    """Tells decisions and outcomes at the terminal as they come; outcomes come from the doors' threads."""

    def __init__(self, summary: Summary, *, as_json: bool, dry_run: bool) -> None:
        self._summary = summary
        self._as_json = as_json
        self._dry_run = dry_run
        self._lock = threading.Lock()

    def decision(self, decision: Decision) -> None:
        """One decision, which is in the audit log."""
        with self._lock:
            self._summary.add(decision)
            if self._as_json:
                show_json_line(decision_entry(decision, dry_run=self._dry_run))
            elif not decision.reason.is_passed_over:
                say(describe(decision, dry_run=self._dry_run))

    def outcome(self, opening: Opening, outcome: Outcome, words: str) -> None:
        """What became of an action."""
        if outcome is Outcome.DONE:
            return
        with self._lock:
            complain(f"door {opening.door!r}, event {opening.event_id}: {outcome.value.replace('_', ' ')}: {words}")


def describe(decision: Decision, *, dry_run: bool = False) -> str:
    """One line for people: time, door, what was decided, why."""
    verdict = ("would open" if dry_run else "open") if decision.opens else f"shut ({decision.reason.value})"
    who = " and ".join(person.name for person in decision.people)
    subject = f"{who}: " if who and who not in decision.words else ""
    when = local_time(decision.decided_ns) if decision.decided_ns else "-"
    return f"{when}  {decision.door or '-'}  {verdict}  {subject}{decision.words}"


@contextmanager
def _stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let SIGINT and SIGTERM stop it in order; a second one ends the process."""

    def on_signal(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _replay(config: DoorsConfig, path: Path, *, each: bool, as_json: bool) -> None:
    summary = Summary()
    entries: list[dict[str, Any]] = []
    for decision in replay(site_of(config), path):
        summary.add(decision)
        if as_json:
            entries.append(dict(decision_entry(decision)))
        elif each and not decision.reason.is_passed_over:
            say(describe(decision))
    if each and not as_json:
        say()
    show({"summary": summary.to_json(), "decisions": entries}, lambda: _say_summary(summary), as_json=as_json)


def _say_summary(summary: Summary) -> None:
    refused = summary.refused.total()
    say(f"opened {_times(summary.opened)}, refused {_times(refused)}")
    if summary.tallies():
        rows = [
            (
                tally.door or "(no door)",
                tally.name or "(nobody named)",
                tally.opened,
                tally.refused.total(),
                ", ".join(f"{reason.value} {count}" for reason, count in tally.refused.most_common()),
            )
            for tally in summary.tallies()
        ]
        say()
        show_table(("door", "who", "opened", "refused", "why not"), rows)
    if refused:
        reasons = [(reason.value, count, reason.meaning) for reason, count in summary.refused.most_common()]
        say()
        show_table(("refused because", "times", "meaning"), reasons)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def check_doors(
    config: DoorsOption,
    gallery_of: Annotated[
        Path | None, typer.Option("--cameras", metavar="FILE", help="The configuration whose gallery knows the people.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="The data folder whose gallery knows the people.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find mistakes in a file of doors: unknown people, doors that nobody can open, rules that overlap."""
    loaded, document = load_doors(config, opens=False)
    people = None
    if gallery_of is not None or data_dir is not None:
        place = find_place(gallery_of, data_dir)
        if not place.gallery_path.exists():
            raise UsageError(f"there is no gallery in {place.data_dir}; 'vidface enroll' makes one")
        with place.open_gallery() as gallery:
            people = gallery.identities()
    findings = check(loaded, people, datetime.now(UTC).date())
    told = [
        {
            "code": each.code,
            "level": "error" if each.is_error else "warning",
            "message": each.words,
            "field": dotted(each.at),
            "line": document.place(each.at).line,
        }
        for each in findings
    ]
    errors = sum(each.is_error for each in findings)
    result = {"ok": not errors, "file": str(config), "gallery_checked": people is not None, "findings": told}
    show(result, lambda: _say_check(config, loaded, findings, is_checked=people is not None), as_json=as_json)
    for each in findings:
        line = document.place(each.at).line
        (complain if each.is_error else warn)(f"{config}:{line}: {dotted(each.at)}: {each.words}")
    if errors:
        raise typer.Exit(1)


def schema(
    _as_json: Annotated[bool, typer.Option("--json", help="No difference: a schema is JSON.")] = False,
) -> None:
    """Print the JSON Schema of files of doors, for editors that know YAML."""
    show_json(doors_schema())


def _say_check(path: Path, config: DoorsConfig, findings: Sequence[Finding], *, is_checked: bool) -> None:
    errors = sum(each.is_error for each in findings)
    verdict = f"{errors} mistake{'s' * (errors != 1)}" if errors else "OK"
    say(f"{path}: {verdict}, {len(config.doors)} door{'s' * (len(config.doors) != 1)}")
    for door in config.doors:
        action = "no action" if door.action is None else door.action.type
        rules = ", ".join(rule.name for rule in door.rules)
        say(f"  door {door.id}: cameras {', '.join(door.cameras)}; rules {rules}; {action}")
    if not is_checked:
        note("whether the people are enrolled was not checked: name a gallery by --cameras or --data-dir")
