"""Typed settings: values have their type, paths their place, and nothing changes in place."""

import copy
import json
import math
import pickle
from dataclasses import replace

import pytest

from input_pipeline.errors import UserError
from sacd_jax import schema
from sacd_jax.config import EncoderConfig, OptimizerConfig, RunConfig

RUN = RunConfig("classify", EncoderConfig("mlp", {"width": 8, "first": {"name": "mlp"}}))


def to(value):
    return lambda kind, old: value


def test_settings_cannot_be_changed_in_place() -> None:
    options = {"width": 8, "inner": {"a": [1, 2]}}
    network = EncoderConfig("mlp", options)
    options["inner"]["a"].append(3)
    assert network.options == {"width": 8, "inner": {"a": (1, 2)}}
    for change in (
        lambda: network.options.update(width=9),
        lambda: network.options.__setitem__("width", 9),
        lambda: network.options["inner"].pop("a"),
        lambda: setattr(network, "name", "x"),
    ):
        with pytest.raises((TypeError, AttributeError)):
            change()
    for same in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert same == network
    assert json.dumps(network.options) == '{"width": 8, "inner": {"a": [1, 2]}}'


def test_a_change_leaves_the_value_it_began_with() -> None:
    changes = {"student": {"options": {"width": to(9), "first": {"options": {"x": to(1)}}}}}
    new = schema.changed(RunConfig, RUN, changes)
    assert RUN.student.options == {"width": 8, "first": {"name": "mlp"}}
    assert new.student.options == {"width": 9, "first": {"name": "mlp", "options": {"x": 1}}}
    assert replace(new, student=RUN.student) == RUN


def test_changes_that_belong_together_act_at_once() -> None:
    networks = {"teacher": {"name": to("sen")}, "objective": {"name": to("pkt")}}
    changes = {"task": to("distill"), **networks}
    new = schema.changed(RunConfig, RUN, changes)
    assert new.teacher == EncoderConfig("sen") and new.objective is not None


def test_integers_serve_as_floats_and_lists_as_tuples() -> None:
    made = OptimizerConfig(learning_rate=1, milestones=[0.5])  # pyrefly: ignore[bad-argument-type]
    assert made == OptimizerConfig(learning_rate=1.0, milestones=(0.5,))
    assert isinstance(made.learning_rate, float)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_sise": to(3)}, "config.batch_sise is no setting: did you mean 'batch_size'?"),
        ({"zzz": to(3)}, "config.zzz is no setting: expected one of task, student,"),
        ({"batch_size": {"a": to(1)}}, "config.batch_size is 16: there is nothing below it to set"),
        ({"student": {"*": to(1)}}, "config.student.* is no setting"),
        ({"student": {"options": {"*": to(1)}}}, "config.student.options.*: expected the name"),
        ({"student": {"options": {"width": {"a": to(1)}}}}, "config.student.options.width is 8:"),
        ({"student": to(None)}, "config.student is None, expected settings"),
        ({"teacher": {"pretrained": to("a")}}, "config.teacher.name is not set"),
    ],
)
def test_a_wrong_path_is_named(changes, words: str) -> None:
    with pytest.raises(UserError) as error:
        schema.changed(RunConfig, RUN, changes)
    assert str(error.value).startswith(words)


@pytest.mark.parametrize(
    "value",
    [
        *("many", True, None, 1.5, 1j, b"1", (1,), {"a": 1}, [], 10**400, -(10**400), object),
        *(math.nan, math.inf, {1: 2}, {1}, ..., "\0", 2**63),
    ],
    ids=lambda value: repr(value)[:12],
)
def test_a_value_of_any_type_is_taken_or_refused_in_one_line(value) -> None:
    """Of every setting, groups and options included: never another error."""

    def paths(kind: type, tree) -> list:
        found = [("student", "options", "width"), ("optimizer", "factors", "stem")]
        for name in schema.as_json(tree):
            found.append((name,))
            below = getattr(tree, name)
            if hasattr(below, "__dataclass_fields__"):
                found += [(name, inner) for inner in vars(below)]
        return found

    refused = 0
    for path in paths(RunConfig, RUN):
        changes = to(value)
        for name in reversed(path):
            changes = {name: changes}
        try:
            made = schema.changed(RunConfig, RUN, changes)
            assert schema.build(RunConfig, json.loads(json.dumps(schema.as_json(made)))) == made
        except UserError as error:
            refused += 1
            assert str(error).startswith("config") and len(str(error)) < 400
    assert refused > 20


@pytest.mark.parametrize(
    "value", [None, [], "x", 3, {"run": {}}, {"task": {}}, {"task": "classify"}]
)
def test_a_stored_config_that_is_none_is_one_line(value) -> None:
    with pytest.raises(UserError, match="^runs/a/config.json"):
        schema.build(RunConfig, value, "runs/a/config.json")
