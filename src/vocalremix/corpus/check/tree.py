"""What folders and names tell of a corpus."""

import difflib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from vocalremix.audio import STEMS
from vocalremix.corpus import AUDIO_SUFFIXES, PARTS, spelled, subfolders
from vocalremix.corpus.check.findings import Finding, SongFiles, counted

MIXTURE = "mixture"
NAMES = (*STEMS, MIXTURE)
LEFTOVERS = (".partial", ".part", ".crdownload", ".download", ".tmp", ".aria2")


def find_songs(root: Path) -> tuple[list[SongFiles], list[Finding]]:
    """The songs of `<part>/<song>/<stem>.*` or `<song>/<stem>.*`, and what is wrong with folders and names."""
    parts = [part for part in PARTS if (root / part).is_dir()]
    findings = list(_strays(root, root, "", set(parts))) if parts else []
    songs = []
    for part in parts or [""]:
        folders = subfolders(root / part)
        findings += _strays(root, root / part, part, {folder.name for folder in folders})
        if not folders:
            detail = f"expected {part or '{train,valid,test}'}/<song>/{{{','.join(STEMS)}}}.wav"
            findings.append(Finding("error", part, "", part or ".", "no songs", 0, detail))
        for folder in folders:
            song, found = _find_files(root, part, folder)
            songs.append(song)
            findings += found
    return songs, [*findings, *_in_two_parts(songs), *_missing_mixtures(songs)]


def _find_files(root: Path, part: str, folder: Path) -> tuple[SongFiles, list[Finding]]:
    named: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
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
    for path in sorted(folder.iterdir()):
        place = (part, song, path.relative_to(root).as_posix())
        if path.name in known:
            continue
        if path.is_symlink() and not path.exists():
            yield Finding("error", *place, "broken link", None, f"leads to {path.readlink()}, which is not there")
        elif path.name.endswith(LEFTOVERS):
            yield Finding("error", *place, "leftover", None, "of an unfinished download or copy; remove it")
        elif path.name.startswith((".", "__MACOSX")):
            continue
        elif path.is_dir():
            n_audio = sum(below.suffix.lower() in AUDIO_SUFFIXES for below in path.rglob("*"))
            detail = f"{counted(n_audio, 'audio file')} in it, where no folder is expected"
            yield Finding("error" if n_audio else "warning", *place, "unknown folder", n_audio, detail)
        elif path.suffix.lower() not in AUDIO_SUFFIXES:
            yield Finding("warning", *place, "unknown file", None, "not audio")
        elif song and path.stem.lower() in NAMES:
            yield Finding("error", *place, "second file", None, f"for {path.stem.lower()}; keep one")
        else:
            detail = f"audio, but not {', '.join(STEMS)} or {MIXTURE}" if song else "audio outside of a song's folder"
            yield Finding("error", *place, "unknown file", None, detail)


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
