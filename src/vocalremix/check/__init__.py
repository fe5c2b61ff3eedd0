"""Is a corpus whole? Everything that is wrong with a folder of songs, by file and fault."""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from tqdm import tqdm

from vocalremix.check.copies import Copy, Recording, compare, find_copies
from vocalremix.check.findings import Finding, Severity
from vocalremix.check.official import SALIENT_WINDOWS
from vocalremix.check.sound import SongFacts, examine
from vocalremix.check.tree import find_songs
from vocalremix.corpus import PARTS, unreadable
from vocalremix.util.errors import InputError, counted
from vocalremix.util.values import SAMPLE_RATE, STEMS

# MUSDB18's seven-second excerpts have the names of the whole songs
EXCERPT_S = (6.0, 8.0)
# which songs of MUSDB18 are trained on or tested is a study's own choice
CHOICES = {"missing song", "wrong part"}


@dataclass(frozen=True)
class Inspection:
    """The result: every song's facts, and all findings, errors first."""

    root: Path
    quick: bool
    songs: list[SongFacts]
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """What is wrong; the other findings are warnings."""
        return [finding for finding in self.findings if finding.severity == "error"]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: no number in it is infinite or NaN."""
        return {
            "root": str(self.root),
            "quick": self.quick,
            "n_songs": dict(Counter(facts.song.part for facts in self.songs)),
            "n_errors": len(self.errors),
            "n_warnings": len(self.findings) - len(self.errors),
            "songs": [
                {
                    "part": facts.song.part,
                    "song": facts.song.name,
                    "duration_s": facts.duration_s(),
                    "salient_windows": facts.salient_windows,
                    "mixture_db": None if facts.mixture_db == -math.inf else facts.mixture_db,
                }
                for facts in self.songs
            ],
            "findings": [asdict(finding) for finding in self.findings],
        }

    def __str__(self) -> str:
        """The findings as a table, and what they are about."""
        rows = [(finding.severity, finding.file, finding.fault, finding.detail) for finding in self.findings]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
        table = ["  ".join([*map(str.ljust, row, widths), row[-1]]) for row in rows]
        return "\n".join([*table, *([""] if table else []), *self._summary()])

    def _summary(self) -> Iterator[str]:
        n_songs = Counter(facts.song.part for facts in self.songs)
        parts = f" ({', '.join(f'{part} {n}' for part, n in n_songs.items())})" if n_songs.keys() - {""} else ""
        hours = sum(facts.duration_s() for facts in self.songs) / 3600
        read = "headers only" if self.quick else "every sample read"
        yield f"{self.root}: {counted(len(self.songs), 'song')}{parts}, {hours:.2f} h, {read}"
        windows: Counter[str] = Counter()
        for facts in self.songs:
            if facts.salient_windows is not None:
                windows[facts.song.part] += facts.salient_windows
        if windows:
            yield f"salient windows of vocals: {', '.join(f'{part} {n:,}'.strip() for part, n in windows.items())}"
        mixtures = [(facts.mixture_db, facts.song.name) for facts in self.songs if facts.mixture_db is not None]
        if mixtures:
            worst_db, name = max(mixtures)
            yield (
                f"mixture minus sum of stems, relative to the mixture, {counted(len(mixtures), 'song')}: "
                f"at most {worst_db:.1f} dB ({name})"
            )
        n_errors = len(self.errors)
        yield f"{counted(n_errors, 'error')}, {counted(len(self.findings) - n_errors, 'warning')}"


def check(root: Path, jobs: int | None = None) -> Inspection:
    """Read every sample of the corpus at `root`: `<part>/<song>/<stem>.*` or `<song>/<stem>.*`, and any `mixture.*`.

    Songs are read in `jobs` processes (default: half of the cores), in blocks. Raises InputError where `root` is not
    a folder or `jobs` is below 1; everything else is a finding.
    """
    return _inspect(root, jobs, quick=False)


def check_quick(root: Path, jobs: int | None = 1) -> Inspection:
    """What folders, names and headers tell of the corpus at `root`, in seconds. Raises InputError as `check` does."""
    return _inspect(root, jobs, quick=True)


def refuse_faults(root: Path) -> None:
    """Raise InputError where `check_quick` finds a fault, unless it is that MUSDB18's split was not kept."""
    faults = [finding for finding in check_quick(root).errors if finding.fault not in CHOICES]
    if faults:
        first = faults[0]
        others = f"; {counted(len(faults) - 1, 'more fault')}" if len(faults) > 1 else ""
        raise InputError(
            f"{root / first.file}: {first.fault}: {first.detail}{others}; "
            f"list them with `vocalremix check --quick {root}`, mend the source and run "
            "`dvc repro --force download_music`"
        )


def _inspect(root: Path, jobs: int | None, quick: bool) -> Inspection:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; name a folder of <part>/<song>/<stem>.wav or <song>/<stem>.wav")
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs {jobs}: give a number of processes of at least 1")
    # as compute.choose_threads, which would import torch
    n_jobs = jobs or max(1, joblib.cpu_count() // 2)
    try:
        songs, findings = find_songs(root)
    except OSError as error:
        raise unreadable(root, error) from error
    tasks = [joblib.delayed(examine)(song, quick) for song in songs]
    examined = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    facts: list[SongFacts] = list(tqdm(examined, total=len(tasks), desc="check", unit="song", disable=quick))
    findings += itertools.chain.from_iterable(song.findings for song in facts)
    findings += [*_check_formats(facts), *_check_official(facts), *_check_copies(facts, n_jobs)]
    order = (*PARTS, "")
    findings.sort(key=lambda finding: (finding.severity, order.index(finding.part), finding.file))
    return Inspection(root, quick, facts, findings)


def _check_formats(songs: Sequence[SongFacts]) -> Iterator[Finding]:
    """A file that differs from most is wrong; where most differ from 44.1 kHz stereo, that is what import is for."""
    headers = [(facts.song, name, header) for facts in songs for name, header in facts.headers.items()]
    for fault, expected, unit, numbers in (
        ("sample rate", SAMPLE_RATE, "Hz", [header.sample_rate for *_, header in headers]),
        ("channels", 2, "channel(s)", [header.channels for *_, header in headers]),
    ):
        counts = Counter(numbers)
        usual = max(sorted(counts), key=counts.__getitem__, default=expected)
        if counts[expected] == counts[usual]:
            usual = expected
        if usual != expected:
            detail = f"{usual} {unit} in {counted(counts[usual], 'file')}, not {expected}"
            severity: Severity = "error" if fault == "channels" and usual > expected else "warning"
            yield Finding(severity, "", "", ".", fault, usual, detail)
        for (song, name, _), number in zip(headers, numbers, strict=True):
            if number != usual:
                detail = f"{number} {unit}, but {usual} in {counted(counts[usual], 'other file')}"
                yield song.finding(song.files[name], fault, number, detail)


def _check_official(songs: Sequence[SongFacts]) -> Iterator[Finding]:
    """Compare with MUSDB18-HQ's split and windows, where at least half of its songs are here."""
    official = {name: part for part, windows in SALIENT_WINDOWS.items() for name in windows}
    here = {facts.song.name: facts for facts in songs if facts.song.name in official}
    if 2 * len(here) < len(official):
        return
    has_valid = any(facts.song.part == "valid" for facts in songs)
    is_excerpts = EXCERPT_S[0] < float(np.median([facts.duration_s() for facts in here.values()])) < EXCERPT_S[1]
    severity: Severity = "warning" if is_excerpts else "error"
    for part, windows in SALIENT_WINDOWS.items():
        folder = part if has_valid or part != "valid" else "train"
        for name in windows.keys() - here.keys():
            yield Finding(severity, folder, name, f"{folder}/{name}", "missing song", None, "one of MUSDB18's")
    for name, facts in here.items():
        # which songs validate is up to the user
        if facts.song.part != official[name] and "test" in (facts.song.part, official[name]) and facts.song.part:
            detail = f"MUSDB18 has it in {official[name]}"
            yield facts.song.finding(facts.song.folder, "wrong part", None, detail)
    if not is_excerpts:
        yield from _check_windows(here)


def _check_windows(here: dict[str, SongFacts]) -> Iterator[Finding]:
    for part, windows in SALIENT_WINDOWS.items():
        counts = {name: here[name].salient_windows for name in windows.keys() & here.keys()}
        known = {name: n for name, n in counts.items() if n is not None}
        for name, n_windows in known.items():
            if n_windows != windows[name]:
                song = here[name].song
                detail = f"{n_windows} salient windows, where MUSDB18-HQ's vocals have {windows[name]}"
                yield song.finding(song.files["vocals"], "salient windows", n_windows, detail)
        total, published = sum(known.values()), sum(windows.values())
        if known and total != published:
            detail = f"{total:,} in vocals of {len(known)} of MUSDB18-HQ's {len(windows)} {part} songs, "
            detail += f"published are {published:,}"
            yield Finding("error", part, "", part, "salient windows", total, detail)


def _check_copies(songs: Sequence[SongFacts], jobs: int) -> Iterator[Finding]:
    copies: dict[tuple[int, int], dict[str, Copy]] = defaultdict(dict)
    for stem in STEMS:
        holders = [index for index, facts in enumerate(songs) if len(facts.envelopes.get(stem, ()))]
        for (first, second), copy in find_copies([_recording(songs[index], stem) for index in holders], jobs).items():
            copies[holders[first], holders[second]][stem] = copy
    for (first, second), stems in copies.items():
        a, b = songs[first], songs[second]
        # a stem whose envelope has too little shape to be found by it
        lag_s = next(iter(stems.values())).lag_s
        for stem in STEMS:
            if stem not in stems and stem in a.envelopes and stem in b.envelopes:
                also = compare(_recording(a, stem), _recording(b, stem), lag_s)
                stems |= {stem: also} if also else {}
        is_whole = stems.keys() == a.envelopes.keys() | b.envelopes.keys()
        best = max(stems.values(), key=lambda copy: copy.correlation)
        what = "the same recording as" if is_whole else f"{', '.join(stem for stem in STEMS if stem in stems)} as in"
        detail = f"{what} {b.song.place()} (correlation {best.correlation:.3f}, shift {best.lag_s:.3f} s)"
        # a loop may be in two songs; a voice, or two stems at once, are not there twice by chance
        severity: Severity = "error" if is_whole or "vocals" in stems or len(stems) > 1 else "warning"
        yield a.song.finding(a.song.folder, "duplicate", best.correlation, detail, severity)


def _recording(facts: SongFacts, stem: str) -> Recording:
    return Recording(facts.song.files[stem], facts.headers[stem].sample_rate, facts.envelopes[stem])
