"""Bring the shards and objects of a build to where they are published: by hard links, or by copies on another disk."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from catalog.errors import ChecksumError, OutputExistsError
from catalog.items import objects_href
from catalog.objects import objects_path
from catalog.shard import missing_files, shard_path, shard_ref


def bring_shard(build: Path, folder: Path, shard: int, *, verify: bool = False) -> None:
    """Make a shard of a build stand in a collection's folder, whole.

    Args:
        verify: compare bytes by checksum even where names, sizes and times are equal.

    Raises:
        ChecksumError: files of the build's shard are missing.
        OutputExistsError: another shard of this number, or a damaged copy, stands there.
    """
    if missing := missing_files(build, shard):
        raise ChecksumError(
            f"{shard_path(build, shard)} has lost the pixels of {', '.join(missing)}, which would read as nodata; "
            "restore its files, or remove the shard and run the build again"
        )
    source, final = shard_path(build, shard), shard_path(folder, shard)
    if not final.exists():
        _copy_tree(source, final)
    elif not source.samefile(final) and not _same_shard(build, folder, shard, verify=verify):
        raise OutputExistsError(
            f"{final} is another shard than {source}, or damaged; "
            "publish to a new folder, or remove it and publish again"
        )


def bring_objects(build: Path, folder: Path, shard: int) -> Path | None:
    """Make the objects of a shard stand in a collection's folder; None where the build has none."""
    source, final = objects_path(build, shard), folder / objects_href(shard)
    if not source.is_file():
        return None
    if not final.exists() or not (source.samefile(final) or _stamp(source) == _stamp(final)):
        final.parent.mkdir(parents=True, exist_ok=True)
        aside = final.with_name(f".{final.name}.{os.getpid()}")
        aside.unlink(missing_ok=True)
        _link_or_copy(str(source), str(aside))
        aside.replace(final)
    return final


def newest_ns(path: Path) -> int:
    """When a file under a folder was last written, nanoseconds since 1970."""
    return max(file.stat().st_mtime_ns for file in _files(path))


def nbytes_of(path: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(file.stat().st_size for file in _files(path))


def _same_shard(build: Path, folder: Path, shard: int, *, verify: bool) -> bool:
    """Whether two shards hold the same bytes; checksums are compared only where the cheap signs do not agree."""
    source, copy = ({str(f.relative_to(p)): f for f in _files(p)} for p in _paths(build, folder, shard))
    if source.keys() != copy.keys():
        return False
    if all(source[name].samefile(copy[name]) for name in source):
        return True
    stamps = [{name: _stamp(file) for name, file in files.items()} for files in (source, copy)]
    if stamps[0] == stamps[1] and not verify:
        return True
    return shard_ref(build, shard) == shard_ref(folder, shard)


def _paths(build: Path, folder: Path, shard: int) -> tuple[Path, Path]:
    return shard_path(build, shard), shard_path(folder, shard)


def _files(path: Path) -> Iterator[Path]:
    return (file for file in path.rglob("*") if file.is_file())


def _stamp(file: Path) -> tuple[int, int]:
    """Size and time of writing: a copy keeps both, a shard that was built again changes at least the time."""
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


def _copy_tree(source: Path, final: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    aside = final.with_name(f".{final.name}.{os.getpid()}")
    try:
        shutil.copytree(source, aside, copy_function=_link_or_copy)
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without hard links
        shutil.copy2(source, target)
