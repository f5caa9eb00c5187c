"""Writes simulated nights in the files a hospital would deliver."""

import argparse
from dataclasses import fields
from pathlib import Path

from input_pipeline.command_errors import one_line_errors
from input_pipeline.simulation import SimulationSettings
from input_pipeline.simulation.nights import simulate_nights

_HELP = {
    "nights": "number of nights, each of a different sleeper",
    "hours": "length in hours of the window cut from each night at random; 0 keeps whole nights",
    "windows": "windows cut from each night; each becomes a recording",
    "height": "height of the video in pixels",
    "width": "width of the video in pixels",
    "frame_rate": "frames per second",
    "seed": "random seed; another one gives other nights",
    "eeg_rate": "EEG samples per second",
    "difficulty": "spread of the EEG within a stage",
    "label_noise": "scoring errors, relative to the disagreement of two human scorers",
    "video_spread": "spread of breathing and movement within a stage",
    "wake_hours": "hours awake in bed after the last sleep",
    "crf": "H.264 quality; above 25 breathing is lost",
    "dropped_frames": "share of frames the camera loses",
}

_EXAMPLE = """example:
  python -m input_pipeline.simulate --out nights --nights 24 --hours 1
      24 sleepers, an hour of each, 48x64 pixels at 2 frames per second: about 140 MB
  python -m input_pipeline.simulate --out nights --nights 4 --hours 0 \
      --height 240 --width 320 --fps 25
      four whole nights as a clinic's camera records them
"""


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and simulates."""
    parser = argparse.ArgumentParser(
        prog="python -m input_pipeline.simulate",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the nights")
    for field in fields(SimulationSettings):
        names = [f"--{field.name.replace('_', '-')}"]
        if field.name == "frame_rate":
            names.append("--fps")
        parser.add_argument(
            *names,
            dest=field.name,
            type=field.type,
            default=field.default,
            metavar="N" if field.type is int else "X",
            help=f"{_HELP[field.name]} (default {field.default})",
        )
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: all cores)")
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", help="also draw one night into this file"
    )
    parser.add_argument(
        "--night", metavar="ID", help="night to draw (default: that with most of its rarest stage)"
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="also measure how well plain classifiers stage from EEG, pixels and hidden signals",
    )
    arguments = vars(parser.parse_args(argv))
    out, jobs, figure, drawn, measured = (
        arguments.pop(name) for name in ("out", "jobs", "figure", "night", "measure")
    )
    if jobs is not None and jobs < 1:
        parser.error("--jobs: expected 1 or more")
    settings = SimulationSettings(**arguments)
    nights = simulate_nights(settings, out, jobs)
    print(f"{len(nights)} simulated recordings in {out}; their manifest is {out / 'nights.csv'}")
    if figure is not None:
        from input_pipeline.simulation.figure import choose_night, draw_night

        night = choose_night(nights, out, drawn)
        draw_night(settings, night, out, figure)
        print(f"figure of {night.night_id} in {figure}")
    if measured:
        from input_pipeline.simulation.measure import as_markdown, measure

        print(as_markdown(measure(settings, out)))


if __name__ == "__main__":
    with one_line_errors():
        main()
