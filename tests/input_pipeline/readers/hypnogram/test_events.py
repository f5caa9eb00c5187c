"""Which annotations of an EDF+ file are stages, and what is said of the others."""

import pytest

from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers.hypnogram import read_hypnogram

from ...recordings import write_psg

DIALECTS = [
    "SLEEP-S0;SLEEP-S1;SLEEP-S2;SLEEP-S3;SLEEP-REM",
    "W;N1;N2;N3;R",
    "S0;S1;S2;S3;REM",
    "Wake;NREM1;NREM2;NREM3;REM",
    "Stage Wake;Stage N1;Stage N2;Stage N3;Stage REM",
    "Wake;stage1;stage2;stage3;REM",
    "wk;n1;n2;n3;rem",
    "Sleep stage W;Sleep stage 1;Sleep stage 2;Sleep stage 4;Sleep stage R",
    "Wake|0;Stage 1 sleep|1;Stage 2 sleep|2;Stage 3 sleep|3;REM sleep|5",
    "sleep_stage_w;Sleep_Stage_N1;sleep-stage-n2;SLEEP STAGE N3;Sleep  stage  R",
]
NIGHT = [0, 0, 1, 2, 2, 3, 4, 4, 0, 2, 1, 0]


@pytest.fixture
def read(tmp_path):
    """Stages and notes of a PSG with these annotations."""

    def read_events(events, **night):
        psg = write_psg(tmp_path / "psg.edf", 30 * len(NIGHT), rate=10, annotations=events)
        hypnogram = read_hypnogram(Night("n", "s", None, psg, **night))
        return hypnogram.stage.tolist(), " / ".join(hypnogram.notes)

    return read_events


def epochs(words, labels=NIGHT, seconds=30.0):
    return [(seconds * k, seconds, words[label]) for k, label in enumerate(labels)]


FULL = [f"Sleep stage {s}" for s in ("W", "N1", "N2", "N3", "R")]


@pytest.mark.parametrize("words", DIALECTS)
def test_dialects_of_annotations(read, words):
    assert read(epochs(words.split(";"))) == (NIGHT, "")


def test_bare_words_beside_full_ones_are_events(read):
    bursts = [(60.0, 30.0, "REM"), (95.0, 2.5, "REM"), (120.0, 30.0, "Wake"), (200, 4, "Movement")]
    stages, notes = read([*epochs(FULL), *bursts, (30.0, 30.0, "Movement")])
    assert stages == NIGHT
    assert "2 of 'REM', 1 of 'Wake' stand beside stages" in notes


def test_bare_words_that_last_no_whole_epoch_are_events(read):
    stages, notes = read([*epochs(["W", "N1", "N2", "N3", "R"]), (61, 3, "REM"), (95, 40, "W")])
    assert stages == NIGHT and "1 of 'REM', 1 of 'W'" in notes
    with pytest.raises(UserError, match="no annotation such as .*3 of 'REM'.*hypnogram_epoch_s"):
        read([(10, 2, "REM"), (20, 2, "REM"), (40, 3, "REM")])


@pytest.mark.parametrize("word", ["Sleep stage N1 bis", "N1 (auto)", "Einschlafen", "Stage light"])
def test_a_lost_stage_is_an_error_until_it_is_confirmed(read, word):
    words = [FULL[0], word, *FULL[2:]]
    with pytest.raises(UserError, match="2 of .*not understood, and there is no N1;") as raised:
        read(epochs(words))
    assert "Einschlafen" not in str(raised.value)
    stages, notes = read(epochs(words), hypnogram_confirm="lost_stage")
    assert stages == [-1 if label == 1 else label for label in NIGHT]
    assert notes.startswith("2 of ") and "left out" in notes


def test_a_strange_word_beside_all_stages_is_noted(read):
    stages, notes = read([*epochs(FULL), (31.0, 0.0, "Sleep stage 7")])
    assert stages == NIGHT and "1 of 'Sleep stage 7' look like scoring" in notes


@pytest.mark.parametrize("place", [0, 4, 11])
def test_a_strange_word_that_fills_a_place_of_the_scoring_is_noted(read, place):
    events = epochs(FULL)
    events[place] = (30.0 * place, 30.0, "Einschlafen")
    _, notes = read(events)
    assert "1 of 11 characters" in notes and "left out" in notes


def test_other_events_are_not_noted(read):
    others = [(3, 10, "Hypopnea"), (5, 0, "Lights off"), (90, 30, "Snoring"), (100, 12, "Arousal")]
    assert read([*epochs(FULL), *others]) == (NIGHT, "")


def test_numbers_are_stages_of_a_named_scheme(read):
    words = ["0", "1", "2", "3", "5"]
    with pytest.raises(UserError, match=r"no annotation such as|hypnogram_scheme"):
        read(epochs(words))
    assert read(epochs(words), hypnogram_scheme="profusion") == (NIGHT, "")


def test_epochs_of_20_s_give_clips_where_all_agree(read):
    events = epochs(["W", "N1", "N2", "N3", "R"], [0, 0, 0, 2, 2, 2, 4, 1, 4], 20.0)
    stages, _ = read([*events, (3.0, 13.0, "Hypopnea")])
    assert stages == [0, 0, 2, 2, -1, -1]


@pytest.mark.parametrize(("begin", "seconds"), [(7.0, 30.0), (0.0, 0.0)])
def test_bare_words_off_the_minute_or_without_a_length(read, begin, seconds):
    words = ["W", "N1", "N2", "N3", "R"]
    events = [(begin + 30 * k, seconds, words[label]) for k, label in enumerate(NIGHT[:-1])]
    assert read(events)[0][: len(events)] == NIGHT[:-1]


def test_two_scorings_that_disagree_are_refused(read):
    other = epochs(FULL, [0, 1, *NIGHT[2:]])
    with pytest.raises(UserError, match="overlap and disagree for 30 s.*scorer: consensus"):
        read([*epochs(FULL), *other])
    stages, _ = read([*epochs(FULL), *other], scorer="consensus")
    assert stages == [0, -1, *NIGHT[2:]]
    assert read([*epochs(FULL), *epochs(FULL)]) == (NIGHT, "")
