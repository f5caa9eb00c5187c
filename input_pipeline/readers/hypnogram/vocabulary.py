"""What the words and numbers of scoring programs mean. The one place that knows them.

The words are those of Luna's list (annot/nsrr-remap.cpp in remnrem/luna-base), of Sleep-EDF, HMC,
RemLogic (SLEEP-S0 … SLEEP-REM), Alice, Compumedics, Visbrain and YASA; case, spacing, `_`, `-` and
`/` do not count. R&K stages 3 and 4 are N3; movement time, artefacts, lights and what nobody
scored are unknown.
"""

import functools
import re
import unicodedata
from dataclasses import dataclass

from input_pipeline.errors import UserError
from input_pipeline.foreign_text import describe
from input_pipeline.stages import CLIP_SECONDS, UNKNOWN

_W, _N1, _N2, _N3, _REM = range(5)


@dataclass(frozen=True)
class Scheme:
    """What the numbers (or single letters) of a hypnogram file mean."""

    stages: dict[str, int]
    seconds: float = CLIP_SECONDS
    """Length of one value where a file has one value a line."""


_AASM = {"0": _W, "1": _N1, "2": _N2, "3": _N3, "4": _REM, "-1": UNKNOWN}
_R_AND_K = {"0": _W, "1": _N1, "2": _N2, "3": _N3, "4": _N3, "5": _REM}

SCHEMES: dict[str, Scheme] = {
    # The labels of this project, of AttnSleep, DeepSleepNet and braindecode.
    "aasm": Scheme(_AASM),
    "yasa": Scheme({**_AASM, "-2": UNKNOWN}),
    # Compumedics Profusion, as in SHHS and MESA.
    "profusion": Scheme({**_R_AND_K, "6": UNKNOWN, "9": UNKNOWN}),
    # Elan's .hyp files, as Visbrain writes them.
    "elan": Scheme({**_R_AND_K, "-1": UNKNOWN, "-2": UNKNOWN}),
    # St. Vincent / UCD database; its 8 stands in no key and is taken for unscored.
    "ucddb": Scheme(
        {
            **{"0": _W, "1": _REM, "2": _N1, "3": _N2, "4": _N3, "5": _N3},
            **{"6": UNKNOWN, "7": UNKNOWN, "8": UNKNOWN},
        }
    ),
    # Letters and R&K numbers as in Sleep-EDF's annotations.
    "sleep_edf": Scheme(
        {"W": _W, "1": _N1, "2": _N2, "3": _N3, "4": _N3, "R": _REM, "M": UNKNOWN, "?": UNKNOWN}
    ),
    "dreams": Scheme(
        {
            **{"5": _W, "4": _REM, "3": _N1, "2": _N2, "1": _N3, "0": _N3},
            **{"-1": UNKNOWN, "-2": UNKNOWN, "-3": UNKNOWN},
        },
        seconds=5.0,
    ),
}
"""Integer schemes by name (manifest column `hypnogram_scheme`). Numbers are never guessed at: 4
alone is N3 in one program and REM in the next."""

_WORDS = {
    **dict.fromkeys(("w", "wake", "awake", "wakefulness", "waking", "wk", "s0"), _W),
    **dict.fromkeys(("wach", "eveil"), _W),
    **dict.fromkeys(("sws", "slow wave"), _N3),
    **dict.fromkeys(("r", "rem"), _REM),
    **dict.fromkeys(
        (
            *("?", "u", "un", "uns", "unk", "unknown", "unscored", "not scored", "unsure"),
            *("notscored", "bewegung", "artefakt", "mouvement"),
            *("undefined", "undetermined", "indeterminate", "no stage", "none", "nan", "na", "n a"),
            *("m", "mt", "mvt", "movement", "movement time", "body movement"),
            *("art", "artefact", "artifact", "artefacts", "artifacts"),
            *("l", "lights", "lights on", "lights off", "lightson", "lightsoff"),
        ),
        UNKNOWN,
    ),
}
_WITH_SLEEP = ("w", "wake", "awake", "s0", "r", "rem", "mt", "unscored", "unknown", "unsure")
"""Words of `_WORDS` that mean stages behind "sleep" as well: "SLEEP-REM" does, "sleep movement"
not."""

_SYNONYMS = (  # the first two are names of the sleep domain ontology, as in newer NSRR files
    ("nonrapideyemovementsleep", "nrem"),
    ("rapideyemovementsleep", "rem"),
    ("wakestate", "wake"),
    ("nonrem", "nrem"),
    ("non rem", "nrem"),
)
_FORM = re.compile(
    r"(?P<sleep>sdo |sleep |slp ?|sleep(?=stage|stg|[ns]\d|nrem|rem))?"
    r"(?P<stage>(?:stage|stg|(?:schlaf)?stadium|stade) ?)?(?P<core>.+?)(?P<suffix> sleep)?"
)
_NREM = re.compile(
    r"(?P<nrem>nrem ?(?P<stage>(?:stage|stg) ?)?)?(?P<letter>[ns] ?)?(?P<number>[1-4]|3 [ns]?4)"
)


@dataclass(frozen=True)
class Word:
    """A word that means a stage."""

    stage: int
    """Label of `stages.STAGES`, or -1."""
    full: bool
    """Whether it says that it is a stage, as "Sleep stage R", "SLEEP-S2" or "REM sleep|5" do. A
    bare word such as "REM" or "Movement" may as well be an event."""


def fold(text: str) -> str:
    """The first 200 characters of `text` without case, accents, channel ("@@…") and kinds of
    spacing."""
    text = unicodedata.normalize("NFKD", text[:200].split("@@")[0])
    text = "".join(c for c in text if not unicodedata.combining(c)).casefold()
    return " ".join(re.sub(r"[\s_\-/:.\"']+", " ", text).split())


@functools.lru_cache(4096)
def find_word(text: str) -> Word | None:
    """The stage that a text means, or None if it is no word for a stage."""
    if len(text) > 200:
        return None
    first, *others = text.split("|")
    found = _find(first)
    if found is None or not others:
        return found
    for other in others:  # "Stage 1 sleep|1", "Unsure|Unsure": what follows only repeats
        again = _find(other)
        number = re.fullmatch(r"\s*\d\s*", other)
        if not number and (again is None or again.stage != found.stage):
            return None
    return Word(found.stage, True)


def _find(text: str) -> Word | None:
    word = fold(text)
    for synonym, usual in _SYNONYMS:
        word = word.replace(synonym, usual)
    form = _FORM.fullmatch(word)
    if form is None:
        return None
    sleep, stage, core, suffix = form.groups()
    if number := _NREM.fullmatch(core):
        # A number alone is a stage only where a word beside it says so.
        if not (stage or number["nrem"] or number["letter"]):
            return None
        full = bool(sleep or stage or suffix or number["stage"])
        return Word(min(int(number["number"][0]), _N3), full)
    if suffix and core not in ("r", "rem"):
        return None
    if stage and core == "0":
        return Word(_W, True)
    if core not in _WORDS or (sleep and not stage and core not in _WITH_SLEEP):
        return None
    return Word(_WORDS[core], bool(sleep or stage) or core == "movement time")


def word_stage(text: str) -> int | None:
    """The stage a word such as "Sleep stage 2", "N2" or "REM" means; None if it is no word for a
    stage."""
    word = find_word(text)
    return None if word is None else word.stage


_SCORING = frozenset(
    (
        *(
            "sleep",
            "slp",
            "stage",
            "stg",
            "slpstg",
            "stadium",
            "schlafstadium",
            "stade",
            "nrem",
            "rem",
        ),
        *("wake", "awake", "sws", "sw", "sr", "w", "r", "n", "s"),
    )
)
_BESIDE = frozenset(  # who scored, and what stands beside such words
    (
        *("auto", "automatic", "human", "hum", "manual", "expert", "scorer", "rater", "reader"),
        *("annotator", "observer", "consensus", "majority", "technician", "ai", "yasa", "usleep"),
        *("light", "deep", "slow", "wave", "quiet", "active", "transitional", "movement", "time"),
        *("non", "unscored", "unknown"),
    )
)
_TOKEN = re.compile(r"[^\W\d_]+|\d+|\W")


def _plain_tokens(text: str) -> list[str] | None:
    """The words and digits of a text that holds nothing else than words of scoring; else None."""
    plain = re.sub(r"[|()\[\]]", " ", fold(text))
    tokens = [token for token in _TOKEN.findall(plain) if token != " "]
    known = all(t in _SCORING or t in _BESIDE or (t.isdigit() and len(t) == 1) for t in tokens)
    few = sum(token.isdigit() for token in tokens) <= 1 and sum(len(t) == 1 for t in tokens) <= 3
    return tokens if known and few and len(text) <= 60 else None


def is_plain(text: str) -> bool:
    """Whether a text holds nothing but words of scoring and scorers, and so may be shown."""
    return _plain_tokens(text) is not None


def looks_like_scoring(text: str) -> bool:
    """Whether a text is made of words of scoring, such as "Sleep stage 5" or "N2 (auto)"."""
    if re.match(r"(sleep ?|slp ?)?(stage|stg)\b", fold(text)):
        return True
    tokens = _plain_tokens(text)
    return tokens is not None and any(token in _SCORING for token in tokens)


def is_number(text: str) -> bool:
    """Whether a text is a whole number of a few digits, as stages may be coded."""
    return bool(re.fullmatch(r"[+-]?\d{1,3}(\.0{0,6})?", text.strip()))


def shown(text: str) -> str:
    """The text where it holds nothing but words of scoring, else its kind and length."""
    word = text.split("@@")[0].strip()  # a channel or a comment may follow
    harmless = find_word(word) is not None or is_plain(word)
    return repr(word) if word and harmless and len(word) <= 60 else describe(text)


def text_stage(text: str, scheme: Scheme | None, where: str) -> int:
    """The stage that a cell or line means which must hold one.

    Args:
        scheme: what numbers mean; None where the user named none.
        where: begins the error, such as "night n1, hypnogram line 3".

    Raises:
        UserError: a number without a scheme, or text that is no stage.
    """
    key = text.strip().strip("\"'").strip()
    if is_number(key):
        key = str(int(float(key)))
        if scheme is None:
            raise UserError(
                f"{where}: the number {key}, and numbers mean different stages in different "
                "programs; name the scheme in the manifest column hypnogram_scheme "
                f"({', '.join(SCHEMES)})"
            )
    if scheme is not None and key in scheme.stages:
        return scheme.stages[key]
    stage = None if is_number(key) else word_stage(key)
    if stage is None:
        expected = "W, N1, N2, N3, REM or ?"
        if scheme is not None:
            expected = f"one of {', '.join(scheme.stages)} as in the named scheme"
        raise UserError(f"{where}: {shown(key)} is no stage; expected {expected}")
    return stage
