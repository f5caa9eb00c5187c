"""Names, dates and numbers of a person who does not exist, and whether a text shows any of them."""

WORDS = (
    "Quxemblatz",
    "Zephyrine",
    "Xylophonweg",
    "1931-07-23",
    "23.07.1931",
    "23-JUL-1931",
    "Q7X1Z9K4W2",
    "0049-7071-5544-33",
)
"""Planted in every file that is damaged; no output may show five characters of one in a row. No
five are digits alone, which numbers of lines and bytes are as well."""


def leaks(text: str, length: int = 5) -> list[str]:
    """The pieces of planted words in `text`, however they are capitalised.

    Args:
        length: letters of a piece; 8 where numbers stand, for 0.1931 is no birth date.
    """
    text = text.casefold()
    pieces = {
        word[k : k + length].casefold() for word in WORDS for k in range(len(word) - length + 1)
    }
    return sorted(piece for piece in pieces if piece in text)
