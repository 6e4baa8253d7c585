"""Blocks of Tempo alone, by URL.

tempo+s3://bucket/prefix        what else is below the prefix is left out; s3://bucket/prefix reads both
tempo:///var/tempo/blocks       the same of a folder
"""

from __future__ import annotations

import re
from dataclasses import replace

from tracescope.errors import SourceError
from tracescope.places import masked
from tracescope.sources import Options, Source, folders, objects


def open_source(url: str, options: Options) -> Source:
    """Open ``tempo:///folder``, or ``tempo+s3://``, ``tempo+gs://`` and ``tempo+az://``.

    Raises
    ------
    SourceError
        It names a server.
    """
    inner = re.sub(r"^\s*tempo\+", "", url, flags=re.IGNORECASE)
    if inner != url:
        bucket = objects.open_bucket(inner, options)
        return replace(bucket, place=replace(bucket.place, shown=masked(url)), blocks=True)
    if not re.match(r"\s*tempo:/(//)?[^/]", url, flags=re.IGNORECASE):
        raise SourceError(
            f"{masked(url)} names a server; blocks of Tempo are read from where it stores them",
            "write tempo+s3://bucket/prefix or tempo:///folder",
        )
    folder = folders.open_folder(re.sub("tempo", "file", url, count=1, flags=re.IGNORECASE), options)
    return replace(folder, name=masked(url), blocks=True)
