"""Checks the parts of a zip before any of them is read: what its directory says of them need not be so.

Python unpacks bzip2 and LZMA without a bound, unpacks up to 1 GiB of a part that announces eight bytes, and before
3.11.8 reads parts that lie inside each other. So a small file could fill the memory although it announces little.
"""

from __future__ import annotations

import zipfile

# A part's own header in the file, its name and extra fields not counted.
_HEADER_BYTES = 30


def require_separate_parts(archive: zipfile.ZipFile, *, may_be_deflated: bool) -> None:
    """Refuses a zip whose parts share bytes, reach beyond the file, or are compressed in an unusual way.

    Args:
        archive: The open zip.
        may_be_deflated: Whether parts may be compressed with deflate; their readers must ask for a number of bytes.

    Raises:
        ValueError: naming the part.
    """
    end, before = 0, ""
    for part in sorted(archive.infolist(), key=lambda part: part.header_offset):
        is_stored = part.compress_type == zipfile.ZIP_STORED
        if not is_stored and not (may_be_deflated and part.compress_type == zipfile.ZIP_DEFLATED):
            allowed = "stored or deflated" if may_be_deflated else "stored as they are, not compressed"
            raise ValueError(f"The parts of the zip must be {allowed}. Received: {part.filename!r}")
        if is_stored and part.compress_size != part.file_size:
            sizes = f"{part.file_size} bytes in {part.compress_size}"
            raise ValueError(f"A stored part of the zip must have its own size. Received: {part.filename!r} of {sizes}")
        if part.header_offset < end:
            raise ValueError(f"The parts of the zip must not overlap. Received: {part.filename!r} in {before!r}")
        end, before = part.header_offset + _HEADER_BYTES + len(part.filename) + part.compress_size, part.filename
    if end > archive.start_dir:
        raise ValueError(f"The parts of the zip must lie in the file. Received: {before!r} up to byte {end}")
