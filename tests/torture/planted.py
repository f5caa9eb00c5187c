"""Names, dates and numbers of a person who does not exist, and whether a text shows any of them."""

WORDS = (
    "Quxemblatz",
    "Zephyrine",
    "Xylophonweg",
    "1931-07-23",
    "23.07.1931",
    "23-JUL-1931",
    "PIDX90817263",
    "0049-7071-554433",
)
"""Planted in every file that is damaged; no output may show five characters of one in a row."""

_LENGTH = 5


def leaks(text: str) -> list[str]:
    """The pieces of planted words in `text`, however they are cut and capitalised."""
    text = text.casefold()
    pieces = {
        word[k : k + _LENGTH].casefold() for word in WORDS for k in range(len(word) - _LENGTH + 1)
    }
    return sorted(piece for piece in pieces if piece in text)
