"""MUSDB18-HQ, MUSDB18 or its 7-second excerpts, fetched where they are missing, with the official validation songs."""

import socket
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from tqdm import tqdm

from vocalremix.audio.writing import map_pcm16, write_pcm16
from vocalremix.corpus import equal_length, songs
from vocalremix.corpus.archive import has_data, obtain
from vocalremix.corpus.folder import assign_parts, import_folder
from vocalremix.util.errors import InputError
from vocalremix.util.files import publish
from vocalremix.util.lock import only_one
from vocalremix.util.values import STEMS

# MUSDB18-HQ's 10 hours, five stereo files a song, come from 22.7 GB; a copy is made of four stems of 100 songs of 150
UNPACKED_SIZE = 1.5
COPY_SIZE = 0.8
EXCERPTS_TIMEOUT_S = 60


def obtain_musdb(path: Path, url: str, sha256: str, scratch: Path, keep_archive: bool, n_copies: int) -> None:
    """Fetch MUSDB18-HQ to `path`, if nothing is there; `archive.obtain` tells how, and what InputError it raises.

    Every WAV header and the stems' lengths are checked before it appears. `n_copies` static copies of the training
    songs count among what has to fit on disk.
    """
    obtain(
        path,
        url,
        sha256,
        scratch,
        pattern="train/*/vocals.wav",
        check=songs,
        keep_archive=keep_archive,
        unpacked=UNPACKED_SIZE,
        later=n_copies * COPY_SIZE,
    )


def obtain_excerpts(path: Path) -> None:
    """Have the musdb package fetch its 7-second excerpts of MUSDB18 to `path`, if nothing is there.

    Raises InputError where that fails; nothing is left of it then.
    """
    if has_data(path):  # perhaps in a folder that takes no lock
        return
    timeout_s = socket.getdefaulttimeout()
    socket.setdefaulttimeout(EXCERPTS_TIMEOUT_S)
    try:
        with only_one(path.with_name(f".{path.name}.lock"), "fetching MUSDB18's excerpts"):
            if not has_data(path):
                with publish(path) as partial:
                    _database(partial, download=True)
    except (OSError, RuntimeError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: the musdb package cannot fetch the excerpts ({reason}); run again") from error
    finally:
        socket.setdefaulttimeout(timeout_s)


def import_musdb(source: Path, destination: Path, valid: Sequence[str] | None = None, jobs: int = -1) -> None:
    """Bring MUSDB18 at `source`, in folders train and test, to our layout at `destination`.

    `source` holds either WAV folders (MUSDB18-HQ) or .stem.mp4 files (MUSDB18 and its 7-second set). `valid` takes
    the place of the official validation songs; of those, the ones present are used. Raises InputError as
    `import_folder` does, and where `source` is not there, saying where to get it.
    """
    if not (source / "train").is_dir() or not (source / "test").is_dir():
        raise InputError(
            f"{source}: MUSDB18 has to be here, unpacked, with its folders train and test; set corpus.music.download, "
            "as profiles/thesis.yaml and profiles/musdb7s.yaml do, or get it at https://zenodo.org/records/3338373"
        )
    database = _database(source)
    files = sorted(source.glob("*/*.stem.mp4"))
    present = {file.name.removesuffix(".stem.mp4") for file in files} | {path.name for path in source.glob("*/*/")}
    if valid is None:
        valid = [name for name in database.setup["validation_tracks"] if name in present]
        if not valid:
            raise InputError(f"{source}: none of MUSDB18's 14 validation songs is here; fetch the data again")
    if not files:
        import_folder(source, destination, valid, link=True, jobs=jobs)
        return
    parts = assign_parts([(track.subset, track.name) for track in database], source, valid, ())
    with publish(destination) as partial:
        tasks = [
            delayed(_decode)(track, partial / part / track.name) for part, track in zip(parts, database, strict=True)
        ]
        decoded = Parallel(n_jobs=jobs, return_as="generator")(tasks)
        for _ in tqdm(decoded, total=len(tasks), desc="decode", unit="song"):
            pass


def _database(source: Path, download: bool = False) -> Any:
    """The musdb package's view of `source`, for which it opens every file."""
    try:
        import ffmpeg  # type: ignore[import-untyped]
        import musdb
    except RuntimeError as error:
        raise InputError("MUSDB18: the musdb package needs the programs ffmpeg and ffprobe; install ffmpeg") from error
    try:
        return musdb.DB(root=str(source), download=download)
    except ffmpeg.Error as error:
        # names no file
        raise InputError(f"{_unreadable(source)}: damaged or truncated; fetch it again") from error


def _unreadable(source: Path) -> Path:
    import ffmpeg

    for file in sorted(source.glob("*/*.stem.mp4")):
        try:
            ffmpeg.probe(str(file))
        except ffmpeg.Error:
            return file
    return source


def _decode(track: Any, destination: Path) -> None:
    # the package decodes to 16 bits, as for all who publish results of MUSDB18: nothing is beyond full scale
    destination.mkdir(parents=True)
    for stem in STEMS:
        write_pcm16(destination / f"{stem}.wav", track.sources[stem].audio.T)
    equal_length({stem: len(map_pcm16(destination / f"{stem}.wav")) for stem in STEMS}, Path(track.path))
