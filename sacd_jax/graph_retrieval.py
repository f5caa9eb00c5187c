"""Do the structure graphs of a finished SACD run recognise each other on clips not trained on?

A group of clips has a graph in video and a graph in EEG. Among the EEG graphs of several groups the
nearest to a video graph should be that of its own group, and the other way round. Beside it stands
how far the stages alone would lead that both networks predict: groups matched by their mean
probabilities.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from input_pipeline.command_errors import one_line_errors
from input_pipeline.errors import UserError
from input_pipeline.splits import SPLITS
from sacd_jax import parallel
from sacd_jax.training.graph_retrieval import MODES, embed, measure

EXAMPLE = "python -m sacd_jax.graph_retrieval --workdir runs/demo/sacd --split test"


def _show(facts: Mapping[str, Any]) -> None:
    print(
        f"step {facts['step']}, split {facts['split']}, {facts['draws']} draws of "
        f"{facts['groups']} groups of {facts['clips_per_graph']} clips; trained on "
        f"{facts['batch_mode']} ones; chance {facts['chance']:.3f}, "
        f"rank {(facts['groups'] + 1) / 2:g}"
    )
    print(f"{'groups':<11}{'by':<8}{'video->EEG':>11}{'EEG->video':>11}{'rank':>7}", end="")
    print(f"{'own':>9}{'other':>9}")
    for mode in MODES:
        for way, one in facts[mode].items():
            print(f"{mode:<11}{way:<8}{one['video_to_eeg']:>11.3f}", end="")
            print(f"{one['eeg_to_video']:>11.3f}{one['mean_rank']:>7.2f}", end="")
            print(f"{one['distance_own']:>9.3g}{one['distance_other']:>9.3g}")


def main(argv: list[str] | None = None) -> None:
    """Command line; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m sacd_jax.graph_retrieval",
        description=__doc__,
        epilog=f"example: {EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--split", default="test", choices=SPLITS, help="part of the data")
    parser.add_argument("--groups", type=int, default=16, help="candidates of a draw")
    parser.add_argument("--clips_per_graph", type=int, help="clips of a group; as in training")
    parser.add_argument("--draws", type=int, default=50, help="draws that are averaged")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    arguments = parser.parse_args(argv)
    for name, least in (("groups", 2), ("draws", 1), ("clips_per_graph", 2)):
        given = getattr(arguments, name)
        if given is not None and given < least:
            raise UserError(f"--{name} is {given}, expected at least {least}")
    parallel.initialize()
    embedded = embed(arguments.workdir, arguments.split)
    size = arguments.clips_per_graph or embedded.objective.clips_per_graph
    facts = {
        "split": arguments.split,
        "step": embedded.step,
        "groups": arguments.groups,
        "clips_per_graph": size,
        "draws": arguments.draws,
        "batch_mode": embedded.batch_mode,
        "chance": 1 / arguments.groups,
        **measure(embedded, arguments.groups, size, arguments.draws, arguments.seed),
    }
    if arguments.json:
        print(json.dumps(facts))
    else:
        _show(facts)


if __name__ == "__main__":
    with one_line_errors():
        main()
