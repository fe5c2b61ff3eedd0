"""MUSDB18-HQ, or the 7-second set of the musdb package, with the official validation songs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from tqdm import tqdm

from vocalremix.audio import STEMS, write_pcm16
from vocalremix.corpus.folder import assign_parts, import_folder
from vocalremix.errors import InputError
from vocalremix.files import publish


def import_musdb(source: Path, destination: Path, valid: Sequence[str] | None = None, jobs: int = -1) -> None:
    """Bring MUSDB18 at `source`, in folders train and test, to our layout at `destination`.

    `source` holds either WAV folders (MUSDB18-HQ) or .stem.mp4 files (MUSDB18 and its 7-second set). `valid` takes
    the place of the official validation songs; of those, the ones present are used. Raises InputError as
    `import_folder` does, and where `source` is not there, saying where to get it.
    """
    if not (source / "train").is_dir() or not (source / "test").is_dir():
        raise InputError(
            f"{source}: MUSDB18 has to be here, unpacked, with its folders train and test; get MUSDB18-HQ at "
            "https://zenodo.org/records/3338373, or the 7-second set with: "
            f"python -c \"import musdb; musdb.DB(root='{source}', download=True)\""
        )
    database = _database(source)
    files = sorted(source.glob("*/*.stem.mp4"))
    present = {file.name.removesuffix(".stem.mp4") for file in files} | {path.name for path in source.glob("*/*/")}
    if valid is None:
        valid = [name for name in database.setup["validation_tracks"] if name in present]
        if not valid:
            raise InputError(f"{source}: none of MUSDB18's 14 validation songs is here; fetch the data again")
    if not files:
        import_folder(source, destination, valid, jobs=jobs)
        return
    parts = assign_parts([(track.subset, track.name) for track in database], source, valid, ())
    with publish(destination) as partial:
        tasks = [
            delayed(_decode)(track, partial / part / track.name) for part, track in zip(parts, database, strict=True)
        ]
        decoded = Parallel(n_jobs=jobs, return_as="generator")(tasks)
        for _ in tqdm(decoded, total=len(tasks), desc="decode", unit="song"):
            pass


def _database(source: Path) -> Any:
    try:
        import musdb
    except RuntimeError as error:
        raise InputError("MUSDB18: the musdb package needs the programs ffmpeg and ffprobe; install ffmpeg") from error
    return musdb.DB(root=str(source))


def _decode(track: Any, destination: Path) -> None:
    destination.mkdir(parents=True)
    for stem in STEMS:
        write_pcm16(destination / f"{stem}.wav", track.sources[stem].audio.T)
