"""What folders and names tell of a corpus."""

import difflib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from vocalremix.check.findings import Finding, Severity, SongFiles
from vocalremix.corpus import (
    AUDIO_SUFFIXES,
    HOUSEKEEPING,
    LEFTOVERS,
    count_audio,
    holds_stem,
    is_song,
    listed,
    parts_of,
    spelled,
)
from vocalremix.util.errors import counted
from vocalremix.util.values import STEMS

MIXTURE = "mixture"
NAMES = (*STEMS, MIXTURE)


def find_songs(root: Path) -> tuple[list[SongFiles], list[Finding]]:
    """The songs of `<part>/<song>/<stem>.*` or `<song>/<stem>.*`, and what is wrong with folders and names."""
    parts = parts_of(root)
    findings = list(_strays(root, root, "", set(parts))) if parts else []
    songs: list[SongFiles] = []
    for part in parts or [""]:
        n_songs = len(songs)
        try:
            paths = listed(root / part)
        except OSError as error:
            findings.append(_unreadable(root, root / part, part, "", error))
            continue
        others = set()
        for path in paths:
            try:
                if path.is_dir() and is_song(path):
                    song, found = _find_files(root, part, path)
                    songs.append(song)
                    findings += found
                    others.add(path.name)
            except OSError as error:
                findings.append(_unreadable(root, path, part, path.name, error))
                others.add(path.name)
        findings += _strays(root, root / part, part, others)
        if len(songs) == n_songs:
            detail = f"expected {part or '{train,valid,test}'}/<song>/{{{','.join(STEMS)}}}.wav"
            findings.append(Finding("error", part, "", part or ".", "no songs", 0, detail))
    return songs, [*findings, *_in_two_parts(songs), *_missing_mixtures(songs)]


def _unreadable(root: Path, folder: Path, part: str, song: str, error: OSError) -> Finding:
    """Of a folder that may hold a song; what systems keep to themselves is none of them."""
    severity: Severity = "warning" if HOUSEKEEPING.fullmatch(folder.name) else "error"
    detail = f"the folder cannot be read ({error.strerror}); nothing in it was checked"
    return Finding(severity, part, song, folder.relative_to(root).as_posix(), "unreadable", None, detail)


def _find_files(root: Path, part: str, folder: Path) -> tuple[SongFiles, list[Finding]]:
    named: dict[str, list[Path]] = defaultdict(list)
    for path in listed(folder):
        if path.suffix.lower() in AUDIO_SUFFIXES and path.stem.lower() in NAMES and not path.is_dir():
            named[path.stem.lower()].append(path)
    files = {name: named[name][0] for name in NAMES if name in named and named[name][0].exists()}
    song = SongFiles(root, part, folder.name, folder, files)
    findings = list(_strays(root, folder, part, {path.name for path in files.values()}, folder.name))
    missing = [stem for stem in STEMS if stem not in named]
    if len(missing) == len(STEMS):
        return song, [song.finding(folder, "empty song", 0, "holds no stem"), *findings]
    suffix = next(iter(named.values()))[0].suffix
    strays = {Path(finding.file).stem.lower(): Path(finding.file).name for finding in findings}
    for stem in missing:
        close = difflib.get_close_matches(stem, strays, n=1)
        detail = f"no {stem} in any format" + (f"; is it {strays[close[0]]}?" if close else "")
        findings.append(song.finding(folder / f"{stem}{suffix}", "missing stem", None, detail))
    return song, findings


def _strays(root: Path, folder: Path, part: str, known: set[str], song: str = "") -> Iterator[Finding]:
    """What else lies in `folder`; hidden files are nobody's business unless a download left them."""
    for path in listed(folder):
        place = (part, song, path.relative_to(root).as_posix())
        if path.name in known:
            continue
        if path.is_symlink() and not path.exists():
            yield Finding("error", *place, "broken link", None, f"leads to {path.readlink()}, which is not there")
        elif path.name.endswith(LEFTOVERS):
            yield Finding("error", *place, "leftover", None, "of an unfinished download or copy; remove it")
        elif path.is_dir():
            yield from _stray_folder(root, path, part, song)
        elif path.name.startswith("."):
            continue
        elif path.suffix.lower() not in AUDIO_SUFFIXES:
            yield Finding("warning", *place, "unknown file", None, "not audio")
        elif song and path.stem.lower() in NAMES:
            yield Finding("error", *place, "second file", None, f"for {path.stem.lower()}; keep one")
        else:
            detail = f"audio, but not {', '.join(STEMS)} or {MIXTURE}" if song else "audio outside of a song's folder"
            yield Finding("error", *place, "unknown file", None, detail)


def _stray_folder(root: Path, folder: Path, part: str, song: str) -> Iterator[Finding]:
    """A folder that is no song; of those that systems keep, only what might be missed is told."""
    is_housekeeping = HOUSEKEEPING.fullmatch(folder.name) is not None
    try:
        n_audio, is_beside = count_audio(folder), not song and holds_stem(folder)
    except OSError as error:
        yield _unreadable(root, folder, part, song, error)
        return
    if n_audio or not is_housekeeping:
        severity: Severity = "error" if is_beside or (n_audio and not is_housekeeping) else "warning"
        detail = f"{counted(n_audio, 'audio file')} in it, where no folder is expected"
        if not song:
            detail += "; move the song into one of the parts" if is_beside else ", and no stem: not taken for a song"
        yield Finding(severity, part, song, folder.relative_to(root).as_posix(), "unknown folder", n_audio, detail)


def _in_two_parts(songs: Sequence[SongFiles]) -> Iterator[Finding]:
    first: dict[str, SongFiles] = {}
    for song in songs:
        same = first.setdefault(spelled(song.name).casefold().strip(), song)
        if same.part != song.part:
            yield song.finding(song.folder, "song in two parts", None, f"also in {same.part}: {same.place()}")


def _missing_mixtures(songs: Sequence[SongFiles]) -> Iterator[Finding]:
    """A mixture is no must, unless most songs have one."""
    without = [song for song in songs if MIXTURE not in song.files and song.files]
    n_with = sum(MIXTURE in song.files for song in songs)
    for song in without if n_with > len(without) else []:
        yield song.finding(song.folder, "missing mixture", None, f"{counted(n_with, 'other song')} with a mixture")
