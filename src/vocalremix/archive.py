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
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

from vocalremix.disk import Need, require_space
from vocalremix.download import Patience, fetch
from vocalremix.errors import InputError
from vocalremix.files import publish
from vocalremix.lock import only_one

ZIP, GZIP = b"PK\x03\x04", b"\x1f\x8b"
BLOCK_BYTES = 4096


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
    archive = work / (PurePosixPath(unquote(urlsplit(url).path)).name or "archive")

    def needs(n_bytes: int) -> Sequence[Need]:
        return [
            Need("its content", path.parent, int(unpacked * n_bytes)),
            Need("later stages", scratch, int(later * n_bytes)),
        ]

    with _disk_faults_said(path), only_one(lock, f"fetching {url}"):
        if not has_data(path):
            work.mkdir(parents=True, exist_ok=True)
            if not archive.exists():
                fetch(url, sha256, archive, (ZIP, GZIP), needs, patience)
            with publish(path) as partial:
                extract(archive, partial, pattern)
                check(partial)
        if keep_archive and archive.exists():
            with publish(path.with_name(archive.name)) as partial:
                shutil.move(archive, partial)
        shutil.rmtree(work, ignore_errors=True)


def extract(archive: Path, destination: Path, pattern: str) -> None:
    """Unpack a .zip or .tar.gz into the new folder `destination`, from the folder on in which `pattern` matches files.

    With the pattern `train/*/vocals.wav`, an archive of `x/train/a/vocals.wav` and `x/test/b/vocals.wav` becomes
    `train/a/vocals.wav` and `test/b/vocals.wav`. Nothing is written before all names, kinds and sizes are known.

    Raises InputError for an archive that is truncated, damaged or encrypted, names a path outside of itself, a link,
    a device or a file twice, does not fit on the disk, or matches `pattern` in no folder or in several.
    """
    with _damage_said(archive), _members(archive) as members:
        for member in members:
            _refuse(archive, member)
        root = _root(archive, [member.path for member in members], pattern)
        inside = [member for member in members if member.path.is_relative_to(root)]
        _refuse_doubles(archive, [member.path for member in inside])
        n_bytes = sum(-(-member.n_bytes // BLOCK_BYTES) * BLOCK_BYTES + BLOCK_BYTES for member in inside)
        require_space([Need(f"the content of {archive.name}", destination, n_bytes)])
        destination.mkdir()
        total = sum(member.n_bytes for member in inside)
        with tqdm(total=total, desc="unpack", unit="B", unit_scale=True) as bar:
            for member in inside:
                target = destination / member.path.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                with member.open() as content, target.open("xb") as file:
                    while piece := content.read(1 << 20):
                        file.write(piece)
                        bar.update(len(piece))
                if target.stat().st_size != member.n_bytes:
                    raise EOFError(f"{member.path} is cut off")


def has_data(path: Path) -> bool:
    """Whether there is a folder at `path` with anything in it."""
    return path.is_dir() and any(path.iterdir())


@dataclass(frozen=True)
class _Member:
    """A file, or something else, in an archive; folders are made as files need them."""

    name: str
    n_bytes: int
    is_plain: bool
    open: Callable[[], IO[bytes]]

    @property
    def path(self) -> PurePosixPath:
        return PurePosixPath(self.name)


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
    is_encrypted = info.flag_bits & 1
    is_plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG) and not is_encrypted
    return _Member(info.filename, info.file_size, is_plain, lambda: packed.open(info))


def _of_tar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    def content() -> IO[bytes]:
        file = tar.extractfile(info)
        assert file is not None  # as for every member that is a file
        return file

    return _Member(info.name, info.size, info.isfile(), content)


def _refuse(archive: Path, member: _Member) -> None:
    if member.path.is_absolute() or ".." in member.path.parts or "\\" in member.name or not member.path.parts:
        raise InputError(f"{archive}: {member.name!r} would be unpacked outside of its folder; do not use this archive")
    if not member.is_plain:
        raise InputError(f"{archive}: {member.name!r} is a link, a device or encrypted; do not use this archive")


def _root(archive: Path, paths: Sequence[PurePosixPath], pattern: str) -> PurePosixPath:
    depth = len(PurePosixPath(pattern).parts) - 1
    # macOS adds a shadow of every file
    roots = {path.parents[depth] for path in paths if path.match(pattern) and "__MACOSX" not in path.parts}
    if len(roots) != 1:
        found = f"{pattern} in {len(roots)} folders" if roots else f"no {pattern}"
        raise InputError(f"{archive}: holds {found}; it is not the archive that is expected here")
    return roots.pop()


def _refuse_doubles(archive: Path, paths: Sequence[PurePosixPath]) -> None:
    taken = {parent for path in paths for parent in path.parents}
    for path in paths:
        if path in taken:
            raise InputError(f"{archive}: holds {path} twice; do not use this archive")
        taken.add(path)


@contextmanager
def _damage_said(archive: Path) -> Iterator[None]:
    try:
        yield
    # NotImplementedError: packed by a method that zipfile does not know
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
    ) as error:
        raise InputError(
            f"{archive}: not a whole .zip or .tar.gz archive ({error}); delete it to have it fetched again"
        ) from error


@contextmanager
def _disk_faults_said(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"{error.filename or path}: the disk is full; make room and run again, what was fetched is kept"
            ) from error
        raise InputError(f"{error.filename or path}: {error.strerror or error}") from error
