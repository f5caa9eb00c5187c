"""Files that no scoring program wrote: one line, soon, and without what stands in them."""

import random
import time

import pytest

from input_pipeline.errors import UserError

HEAD = "onset,duration,stage\n"
STAGE = (
    "<ScoredEvent><EventConcept>Wake|0</EventConcept><Start>0</Start><Duration>{}</Duration>"
    "</ScoredEvent>"
)


def overlapping(words: list[str]) -> str:
    chance = random.Random(0)
    return HEAD + "".join(
        f"{chance.uniform(0, 30_000):.2f},{chance.uniform(1, 3000):.2f},{chance.choice(words)}\n"
        for _ in range(60_000)
    )


HOSTILE = {
    "overlap": (overlapping(["W", "N1", "N2"]), "overlap and disagree"),
    "pauses": (HEAD + "".join(f"{0.6 * k:.1f},0.3,N2\n" for k in range(60_000)), "in one piece"),
    "long cell": (HEAD + f'0,30,"{"W" * 200_000}"\n', "line 2: an unbalanced quote"),
    "quote": (HEAD + '0,30,"W\n30,30,N1\n', "line 2: an unbalanced quote"),
    "digits": (HEAD + "9" * 5000 + ",30,W\n", "line 2: the onset is neither"),
    "number": ("9" * 5000, "5000 characters .digits. is no stage"),
    "epoch": ("Epoch,Stage\n" + "9" * 5000 + ",W\n", "line 2: the epoch's number"),
    "far": (HEAD + "0,30,W\n1e13,30,W\n", "at most 14 days"),
    "year": ("Time,Stage\n9999-12-31 23:59:59,W\n", "another date"),
    "lines": ("\n" * 5_000_000, "more than 1300000 lines"),
    "line": ("W," * 1_500_000, "more than 1300000 stages"),
    "commas": ("," * 1_200_000, "holds no stage"),
    "deep JSON": ('{"values":' + "[" * 200_000, "not well-formed JSON"),
    "JSON digits": ('{"values": [' + "9" * 10_000 + "]}", "not well-formed JSON"),
    "JSON types": ('{"values": [{}]}', "neither a word nor a number"),
    "entities": ('<!DOCTYPE a [<!ENTITY b "c">]><PSGAnnotation>&b;</PSGAnnotation>', "entities"),
    "other file": ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><PSGAnnotation/>', "document type"),
    "deep XML": ("<a>" * 100_000, "more than 50 deep"),
    "cut XML": ("<PSGAnnotation><Name>Erika</Name>", "not well formed in line 1"),
    "other XML": ("<Erika/>", "XML file of another program"),
    "XML text": ("<PSGAnnotation>" + "&#65;" * 500_000 + "</PSGAnnotation>", "no annotation"),
    "XML far": ("<PSGAnnotation>" + STAGE.format("9" * 12) + "</PSGAnnotation>", "at most 14 days"),
    "elan": ("time_base 1.0\nsampling_period 1\nepoch_nb 99\nepoch_list\n0\n", "epoch_nb says 99"),
    "rdann": ("Sample #  Aux\n" + ("[" + " " * 100_000 + "\n") * 20, "no sleep stages"),
    "words": (("W " * 50_000 + "\n") * 3, "line 1: 99999 characters"),
    "scorers": (
        HEAD.replace("stage", "stage,scorer") + "".join(f"0,30,W,p{k}\n" for k in range(20_000)),
        "20000 scorers",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text(read, kind):
    text, message = HOSTILE[kind]
    began = time.process_time()
    with pytest.raises(UserError, match=message) as raised:
        read(text)
    assert time.process_time() - began < 10  # a hang, not a slow machine
    said = str(raised.value)
    assert said.startswith("night n") and len(said) < 400 and "\n" not in said
    assert "Erika" not in said


def test_60_000_overlapping_events_that_agree(read):
    stages = read(overlapping(["N2"])).stage
    assert len(stages) > 1000 and (stages[1:-1] == 2).all()
