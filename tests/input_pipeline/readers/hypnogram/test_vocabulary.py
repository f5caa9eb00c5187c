"""Words of many programs, and what may be shown of those that are none."""

import pytest

from input_pipeline.errors import UserError
from input_pipeline.readers.hypnogram import SCHEMES, word_stage
from input_pipeline.readers.hypnogram.vocabulary import (
    find_word,
    looks_like_scoring,
    shown,
    text_stage,
)

FULL = {
    0: "Sleep stage W;SLEEP-S0;Stage Wake;stage 0;Sleep_stage_W;SlpStgWake;SDO:WakeState",
    1: "Sleep stage 1;Sleep stage N1;Sleep_stage_1;SLEEP-S1;stage1;SlpStg1;NREM stage 1;Stage-N1;"
    "Stage 1 sleep;SDO:NonRapidEyeMovementSleep-N1;Stage N1@@EEG F4-A1;  sLEEP  sTAGE  n1 ",
    2: "Sleep stage 2;SLEEP-S2;Stadium 2;Schlafstadium N2;stage_2;NREM STAGE 2;N2 sleep",
    3: "Sleep stage 3;Sleep stage 4;Sleep stage 3/4;SLEEP-S4;Stage N4;stage3;Stage 4 sleep",
    4: "Sleep stage R;SLEEP-REM;Stage REM;stage r;SlpStgREM;SDO:RapidEyeMovementSleep",
    -1: "Sleep stage ?;Movement time;SLEEP-MT;SLEEP-UNSCORED;Stage M;Sleep stage unscored",
}
BARE = {
    0: "W|Wake|wake|AWAKE|WK|S0|Wach|Éveil",
    1: "N1|n1|S1|NREM1|NREM 1|N-1|NonREM1|non-REM 1",
    2: "N2|S2|NREM2|nrem_2",
    3: "N3|N4|S3|S4|NREM3|NREM4|N3/N4|SWS",
    4: "R|REM|rem|REM sleep",
    -1: "?|Unknown|Unscored|MT|M|movement|artifact|ART|Artefact|L|Lights|Lights On|n/a|None|U",
}
PAIRS = {
    **{"Wake|0": 0, "Stage 1 sleep|1": 1, "Stage 2 sleep|2": 2, "Stage 4 sleep|4": 3},
    **{"REM sleep|5": 4, "Unscored|9": -1, "Movement|6": -1, "Unsure|Unsure|Unsure": -1, "N1|1": 1},
}


def test_words_that_say_that_they_are_stages():
    listed = {word: stage for stage, words in FULL.items() for word in words.split(";")}
    for text, stage in (listed | PAIRS).items():
        word = find_word(text)
        assert word is not None and (word.stage, word.full) == (stage, True), text


def test_bare_words():
    for stage, texts in BARE.items():
        for text in texts.split("|"):
            word = find_word(text)
            assert word is not None and (word.stage, word.full) == (stage, False), text


@pytest.mark.parametrize(
    ("text", "scoring"),
    [
        *((t, True) for t in ("Sleep stage 5", "N5", "N2 (auto)", "stage", "Deep sleep", "NREM")),
        *((t, True) for t in ("Wake|Stage 1 sleep", "Sleep 2", "SW")),
        *((t, False) for t in ("Sleep apnea", "REM burst", "Sleep onset", "4", "Arousal|Arousal")),
        *((t, False) for t in ("", "N1|2 Mustermann", "Lights on for care", "x" * 100_000)),
    ],
)
def test_what_is_no_stage(text, scoring):
    assert word_stage(text) is None and looks_like_scoring(text) is scoring


@pytest.mark.parametrize(
    "text",
    [
        *("Erika Mustermann", "24.12.1957", "Stage Erika", "N2 Erika", "N2 24 12", "E M", "1957"),
        *("Sleep stage 1957", "N1|241257", "x" * 1000, "N 2 4", "W R N S"),
    ],
)
def test_foreign_text_is_not_shown(text):
    said = shown(text)
    assert said.endswith(")") and "characters" in said
    with pytest.raises(UserError) as raised:
        text_stage(text, None, "line 1")
    assert text not in str(raised.value)
    assert shown("Sleep stage N2@@" + text) == "'Sleep stage N2'"


def test_words_of_scoring_are_shown():
    for text in ("Sleep stage 5", "N5", "N2 (auto)", "REM", "SLEEP-S9", "W R N"):
        assert shown(text) == repr(text)


def test_every_scheme_knows_all_stages():
    for scheme in SCHEMES.values():
        assert set(scheme.stages.values()) - {-1} == set(range(5))
