"""XML of Profusion and of NSRR: what is taken from which element."""

import pytest

from input_pipeline.errors import UserError


def profusion(stages, length="<EpochLength>30</EpochLength>", beside="") -> str:
    rows = "".join(f"<SleepStage>{stage}</SleepStage>" for stage in stages)
    stages = f"<SleepStages>{rows}</SleepStages>"
    return f"<CMPStudyConfig>{length}{beside}{stages}{beside}</CMPStudyConfig>"


def nsrr(*events: str) -> str:
    rows = "".join(f"<ScoredEvent>{event}</ScoredEvent>" for event in events)
    return f"<PSGAnnotation><ScoredEvents>{rows}</ScoredEvents></PSGAnnotation>"


def stage(concept: str, start: str, duration: str) -> str:
    return (
        f"<EventType>Stages|Stages</EventType><EventConcept>{concept}</EventConcept>"
        f"<Start>{start}</Start><Duration>{duration}</Duration>"
    )


def test_stages_stand_among_stages(read):
    beside = "<Old><SleepStage>5</SleepStage></Old><SleepStages><Note>5</Note></SleepStages>"
    assert read(profusion("0124", beside=beside)).stage.tolist() == [0, 1, 2, 3]


def test_an_epoch_without_a_stage_is_unscored_and_a_scheme_may_be_named(read):
    assert read(profusion(["0", "", "5"])).stage.tolist() == [0, -1, 4]
    assert read(profusion("014"), hypnogram_scheme="aasm").stage.tolist() == [0, 1, 4]


@pytest.mark.parametrize(("length", "seconds"), [("60", 60), ("60.", 60), ("+90.0", 90)])
def test_the_length_of_an_epoch(read, length, seconds):
    found = read(profusion("02", f"<EpochLength>{length}</EpochLength>")).stage.tolist()
    assert found == [0] * (seconds // 30) + [2] * (seconds // 30)


def test_events_have_their_own_times(read):
    apnoea = "<EventType>Respiratory</EventType><EventConcept>Wake|0</EventConcept>"
    timed = stage("Stage 2 sleep|2", "30.0", "60")
    text = nsrr(stage("Wake|0", "-30", "60"), apnoea, timed)
    found = read(text.replace("</PSGAnnotation>", "<Start>900</Start></PSGAnnotation>"))
    assert found.onset_s.tolist() == [-30, 0, 30, 60] and found.stage.tolist() == [0, 0, 2, 2]


def deep(levels: int) -> str:
    inner = profusion("02").removeprefix("<CMPStudyConfig>").removesuffix("</CMPStudyConfig>")
    return f"<CMPStudyConfig>{inner}{'<a>' * levels}{'</a>' * levels}</CMPStudyConfig>"


def test_fifty_elements_deep(read):
    assert read(deep(49)).stage.tolist() == [0, 2]
    with pytest.raises(UserError, match="more than 50 deep"):
        read(deep(50))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (profusion("02")[:-9], "not well formed in line 1"),
        (profusion(""), "Profusion XML without SleepStages"),
        (profusion("02", "<EpochLength>thirty</EpochLength>"), "EpochLength is not a number"),
        (profusion("02", "<EpochLength>0.05</EpochLength>"), "epochs of 0.05 s"),
        (profusion("02", "<EpochLength>3601</EpochLength>"), "epochs of 3601 s"),
        (profusion("07"), "line 1: '7' is no stage"),
        (nsrr(stage("Wake|0", "", "60")), "line 1: a stage without Start and Duration"),
        (nsrr(stage("Wake|0", "0", "")), "line 1: a stage without Start and Duration"),
    ],
)
def test_what_is_refused(read, text, message):
    with pytest.raises(UserError, match=message):
        read(text)
