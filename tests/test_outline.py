"""The outline of JSON text against a slow reading of it: documents, and what stands in large ones."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from laid_out import Text, laid_out

from tracescope.kernels.outline import DOCUMENT, MORE, STRAY, TOO_DEEP, Outline

Row = tuple[int, int, int]  # begin, end, depth


def outlined(text: str, small: int) -> list[Row]:
    """Lists and objects that stand in nothing small, in the order of their beginnings."""
    open_: list[list[int]] = []
    out: list[list[int]] = []
    inside = escaped = False
    for at, letter in enumerate(text.encode()):
        if inside:
            inside, escaped = escaped or letter != ord('"'), not escaped and letter == ord("\\")
        elif letter == ord('"'):
            inside = True
        elif letter in b"[{":
            out.append([at, -1, len(open_)])
            open_.append(out[-1])
        elif letter in b"]}":
            open_.pop()[1] = at + 1
    little = [(begin, end) for begin, end, _ in out if end - begin < small]
    return [
        (begin, end, depth)
        for begin, end, depth in out
        if not any(low < begin and end <= high for low, high in little)
    ]


def value(rng: random.Random, depth: int) -> Any:
    """Lists, objects and texts that look like brackets and quotes."""
    match rng.randrange(4 if depth < 4 else 2):
        case 0:
            return Text(
                rng.choice(("", "]", '"[', "\\", '\\"{', "}" * 9, "x" * 20 + "\\" + "y" * 9, "a" * 7 + '"'))
            )
        case 1:
            return rng.choice((True, None, 7, -1.5))
        case 2:
            return [value(rng, depth + 1) for _ in range(rng.randrange(5))]
        case _:
            return {f"k{k}]": value(rng, depth + 1) for k in range(rng.randrange(5))}


def read_in_pieces(text: bytes, size: int, small: int) -> list[list[Row]]:
    """Rows of one document after another, from pieces of so many bytes."""
    outline, found = Outline(small), []
    begin = at = 0
    while at < len(text):
        piece = np.frombuffer(text[at : at + size], np.uint8)
        done = 0
        while done < len(piece):
            done, why = outline.read(piece, done, at - begin)
            assert why in (MORE, DOCUMENT)
            if why == DOCUMENT:
                assert not outline.inside
                found.append([tuple(row) for row in outline.rows.tolist()])
                outline.begin()
                begin = at + done
            else:
                assert done == len(piece)
        at += len(piece)
    assert not outline.inside
    return found


@pytest.mark.parametrize("small", [0, 12, 40, 10**6])
def test_documents_are_outlined_however_they_come_in(small: int) -> None:
    """One after another with spaces and separators between, in pieces of any size."""
    rng = random.Random(small)
    for _ in range(12):
        texts = [laid_out([value(rng, 1) for _ in range(3)], rng, 0.1) for _ in range(3)]
        gaps = [rng.choice(("", "\n", "\x1e", " \t\r\n\x1e")) for _ in texts]
        whole = "".join(gap + text for gap, text in zip(gaps, texts, strict=True)).encode()
        wanted = [
            [(begin + len(gap), end + len(gap), depth) for begin, end, depth in outlined(text, small)]
            for gap, text in zip(gaps, texts, strict=True)
        ]
        for size in (1, 7, 8, 9, 50, len(whole)):
            assert read_in_pieces(whole, size, small) == wanted


def test_more_lists_than_there_is_room_for_are_all_told() -> None:
    """Room grows while a document is read."""
    text = "[" + ",".join(["[]"] * 3000) + "]"
    assert read_in_pieces(text.encode(), 1000, 0) == [outlined(text, 0)]
    assert read_in_pieces(text.encode(), 10**6, 10**5) == [outlined(text, 10**5)] == [[(0, len(text), 0)]]


def test_what_is_no_document_is_told_where_it_stands() -> None:
    """Between documents: a word, a quote, a bracket that closes nothing, a byte that is no space."""
    for stray in (b"x", b'"', b"]", b"}", b"7", b",", b"!"):
        piece = np.frombuffer(b" [1]\n " + stray + b" ", np.uint8)
        outline = Outline(0)
        assert outline.read(piece, 0, 0) == (4, DOCUMENT)
        outline.begin()
        assert outline.read(piece, 4, 0) == (6, STRAY)
    assert Outline(0).read(np.frombuffer(b" \t\n\r\x00\x1e\x1f", np.uint8), 0, 0)[1] in (MORE, STRAY)


def test_a_thousand_lists_in_one_another_are_read_and_no_more() -> None:
    deep = np.frombuffer(b"[" * 1000 + b"]" * 1000, np.uint8)
    assert Outline(0).read(deep, 0, 0) == (2000, DOCUMENT)
    outline = Outline(0)
    assert outline.read(np.frombuffer(b"[" * 1001, np.uint8), 0, 0) == (1000, TOO_DEEP)
    assert outline.inside
