"""A published archive of data: fetched, unpacked without trust, checked, and only then at its place."""

import errno
import gzip
import hashlib
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

from vocalremix.corpus.download import Patience, fetch
from vocalremix.util.errors import InputError
from vocalremix.util.files import publish, require_part
from vocalremix.util.lock import only_one

ZIP, GZIP = b"PK\x03\x04", b"\x1f\x8b"
BLOCK_BYTES = 4096
# NotImplementedError: packed by a method that zipfile does not know
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError)


def obtain(
    path: Path,
    url: str,
    sha256: str,
    scratch: Path,
    pattern: str,
    check: Callable[[Path], object],
    keep_archive: bool = False,
    unpacked: float = 1.5,
    later: float = 0.0,
    patience: Patience | None = None,
) -> None:
    """See to it that there is data at `path`: what is there already, or what `url` holds.

    The archive comes to a folder in `scratch` of its own, which the next call finds however this one ends. It is
    unpacked beside `path` (see `extract` for `pattern`), given to `check`, which raises InputError where it is not
    what it should be, and moved to `path`. Then the archive is deleted, or moved beside `path` (`keep_archive`). A
    second process waits for the first. `unpacked` and `later` tell how much room the content and the work that
    follows (in the file system of `scratch`) need, as multiples of the archive's size.

    Raises InputError as `fetch` and `extract` do, and where the disk is full or cannot be written to.
    """
    digest = hashlib.sha256(f"{path.absolute()} {url} {sha256}".encode()).hexdigest()[:16]
    work, lock = scratch / digest, scratch / f"{digest}.lock"
    if has_data(path) and not work.exists() and not lock.exists():
        return
    name = PurePosixPath(unquote(urlsplit(url).path)).name or "archive"
    archive = work / require_part(name, f"{url}: cannot be stored")

    def make_room(n_bytes: int, n_to_come: int) -> None:
        content, more = int(unpacked * n_bytes), int(later * n_bytes)
        require_space([("the archive", work, n_to_come), ("its content", path, content), ("later stages", work, more)])

    try:
        with only_one(lock, f"fetching {url}"):
            if not has_data(path):
                work.mkdir(parents=True, exist_ok=True)
                if not archive.exists():
                    fetch(url, sha256, archive, (ZIP, GZIP), make_room, patience)
                with publish(path) as unfinished:
                    extract(archive, unfinished, pattern)
                    check(unfinished)
            if keep_archive and archive.exists():
                with publish(path.with_name(archive.name)) as unfinished:
                    shutil.move(archive, unfinished)
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full; make room and run again, what was fetched is kept" if is_full else error.strerror
        raise InputError(f"{error.filename or path}: {reason or error}") from error


def extract(archive: Path, destination: Path, pattern: str) -> None:
    """Unpack a .zip or .tar.gz into the new folder `destination`, from the folder on in which `pattern` matches files.

    With the pattern `train/*/vocals.wav`, an archive of `x/train/a/vocals.wav` and `x/test/b/vocals.wav` becomes
    `train/a/vocals.wav` and `test/b/vocals.wav`. Nothing is written before all names, kinds and sizes are known.

    Raises InputError for an archive that is truncated, damaged or encrypted, names a path outside of itself, a link,
    a device or a file twice, does not fit on the disk, or matches `pattern` in no folder or in several.
    """
    try:
        with _members(archive) as members:
            root, inside = _chosen(archive, members, pattern)
            n_bytes = sum((member.n_bytes // BLOCK_BYTES + 2) * BLOCK_BYTES for member in inside)
            require_space([(f"the content of {archive.name}", destination, n_bytes)])
            with tqdm(total=sum(member.n_bytes for member in inside), desc="unpack", unit="B", unit_scale=True) as bar:
                for member in inside:
                    name = str(member.path.relative_to(root))
                    member.unpack(name, destination)
                    if (destination / name).stat().st_size != member.n_bytes:
                        raise EOFError(f"{name!r} is cut off")
                    bar.update(member.n_bytes)
    except (*DAMAGE, OSError) as error:
        if not isinstance(error, DAMAGE) and error.errno != errno.EINVAL:  # a place in the archive that cannot be
            raise
        raise InputError(
            f"{archive}: not a whole .zip or .tar.gz archive ({error}); delete it to fetch it anew"
        ) from error


def has_data(path: Path) -> bool:
    """Whether there is a folder at `path` with anything in it."""
    return path.is_dir() and any(path.iterdir())


def require_space(needs: Sequence[tuple[str, Path, int]]) -> None:
    """Raise InputError where a file system has less room than all (what, folder or file, bytes) in it together."""
    on_device: dict[int, tuple[Path, list[tuple[str, int]]]] = {}
    for what, path, n_bytes in needs:
        folder = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
        on_device.setdefault(folder.stat().st_dev, (folder, []))[1].append((what, n_bytes))
    for folder, together in on_device.values():
        free, wanted = shutil.disk_usage(folder).free, sum(n_bytes for _, n_bytes in together)
        if wanted > free:
            listed = ", ".join(f"{what} {n_bytes / 1e9:.3g} GB" for what, n_bytes in together)
            room = f"{wanted / 1e9:.3g} GB needed ({listed}), {free / 1e9:.3g} GB free"
            raise InputError(f"{folder}: {room}; make room there, or name a path on another disk")


class _Member(NamedTuple):
    """A file, or something else that is no folder, in an archive."""

    path: PurePosixPath
    n_bytes: int
    is_plain: bool
    unpack: Callable[[str, Path], object]  # under another name, into a folder


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    with archive.open("rb") as file:
        is_zip = file.read(len(ZIP)) == ZIP
    if is_zip:
        with zipfile.ZipFile(archive) as packed:
            yield [_of_zip(packed, info) for info in packed.infolist() if not info.is_dir()]
        return
    with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        members = [_of_tar(tar, info) for info in tar.getmembers() if not info.isdir()]
        while stream.read(1 << 20):  # up to gzip's own checksum
            pass
        yield members


def _of_zip(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    def unpack(name: str, folder: Path) -> None:
        info.filename = name
        packed.extract(info, folder)

    is_plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG) and not info.flag_bits & 1
    return _Member(PurePosixPath(info.filename), info.file_size, is_plain, unpack)


def _of_tar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    def unpack(name: str, folder: Path) -> None:
        tar.extract(info.replace(name=name, deep=False), folder, filter="data")

    return _Member(PurePosixPath(info.name), info.size, info.isfile(), unpack)


def _chosen(archive: Path, members: Sequence[_Member], pattern: str) -> tuple[PurePosixPath, list[_Member]]:
    """The folder in which `pattern` matches, and what is in it, if nothing in the archive is suspect."""
    for path, _, is_plain, _ in members:
        if path.is_absolute() or ".." in path.parts or {"\\", "\0"} & set(str(path)) or not path.parts:
            raise InputError(
                f"{archive}: {str(path)!r} would be unpacked outside of its folder; do not use this archive"
            )
        if not is_plain:
            raise InputError(f"{archive}: {str(path)!r} is a link, a device or encrypted; do not use this archive")
    depth = len(PurePosixPath(pattern).parts) - 1
    matching = [member.path for member in members if member.path.match(pattern)]
    # macOS adds a shadow of every file
    roots = {path.parents[depth] for path in matching if "__MACOSX" not in path.parts}
    if len(roots) != 1:
        found = f"{pattern} in {len(roots)} folders" if roots else f"no {pattern}"
        raise InputError(f"{archive}: holds {found}; it is not the archive that is expected here")
    (root,) = roots
    inside = [member for member in members if member.path.is_relative_to(root)]
    taken = {parent for member in inside for parent in member.path.parents}
    for member in inside:
        if member.path in taken:
            raise InputError(f"{archive}: holds {str(member.path)!r} twice; do not use this archive")
        taken.add(member.path)
    return root, inside
