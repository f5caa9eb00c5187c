"""Command: builds a dataset of clips from the nights of a manifest, or from simulated nights."""

import argparse
from pathlib import Path

from input_pipeline.clips import ClipSettings
from input_pipeline.command_errors import one_line_errors
from input_pipeline.datasets import DatasetSettings, data_card, prepare
from input_pipeline.datasets.dataset_files import DatasetInfo, read_info
from input_pipeline.datasets.s3ve_release import CHANNELS, RATE, ReleaseSettings
from input_pipeline.datasets.settings import FRAME_STORAGES, NAMES
from input_pipeline.datasets.ucf51 import Ucf51Settings
from input_pipeline.readers.units import UNITS
from input_pipeline.splits import AHI_GROUPINGS, MODES, SPLITS, SplitSettings

_EXAMPLES = """examples:
  python -m input_pipeline.build --dataset s3ve --manifest nights.csv --out data
  python -m input_pipeline.build --dataset simulated --nights 24 --hours 1 \\
      --height 48 --width 64 --test-fraction 0.33 --out data
  python -m input_pipeline.build --dataset s3ve_release --release S3VE --out data
  python -m input_pipeline.build --manifest nights.csv --out /shared/data --runner FlinkRunner \\
      -- --flink_master=host:8081 --environment_type=LOOPBACK
  python -m input_pipeline.build --dataset ucf51 --videos UCF-101 \\
      --embeddings audiocnn14embed512_features.tar.gz --out data

A training that asks for the same data finds them in the folder of --out (its --data_dir), or takes
the folder that is printed at the end itself. Beside the data lies a card (data_card.md): what is in
them, what was left out and why. A build that was broken off goes on with the nights that it had
done; one that is there already is not built again.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m input_pipeline.build",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    clips, split = ClipSettings(), SplitSettings()
    add = parser.add_argument
    add("--dataset", choices=NAMES, default="s3ve", help="where nights come from")
    add("--manifest", type=Path, help="s3ve: CSV file with one row a night")
    add(
        "--out",
        type=Path,
        required=True,
        help="folder in which the dataset gets a folder of its own",
    )
    add("--height", type=int, default=clips.height, help="rows of a stored frame (%(default)s)")
    add("--width", type=int, default=clips.width, help="columns of a stored frame (%(default)s)")
    add(
        "--frame-rate",
        type=float,
        default=clips.frame_rate,
        help="frames stored a second (%(default)s)",
    )
    add(
        "--eeg-rate",
        type=float,
        help=f"EEG samples stored a second ({clips.eeg_rate:g}; s3ve_release: {RATE:g}, as it is)",
    )
    add(
        "--eeg-band",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="band-pass of the EEG in Hz, without delay (none)",
    )
    add("--eeg-notch", type=float, help="frequency of the mains to take out, in Hz (none)")
    add(
        "--max-missing",
        type=float,
        default=clips.max_missing,
        help="share of its frames a clip may lack (%(default)s)",
    )
    add(
        "--split-mode",
        choices=MODES,
        default=split.mode,
        help="paper_val validates on clips of training subjects: a leak, named in every table; "
        "leave_one_subject_out tests on the subject of --fold",
    )
    add("--fold", type=int, default=split.fold, help="leave_one_subject_out: number of the subject")
    add(
        "--ahi-groups",
        type=int,
        choices=tuple(AHI_GROUPINGS),
        default=split.ahi_groups,
        help="groups by AHI that are split each by itself (%(default)s); fewer for small cohorts",
    )
    add("--split-seed", type=int, default=split.seed, help="another seed, other test subjects")
    add(
        "--test-fraction", type=float, default=split.test_fraction, help="of subjects (%(default)s)"
    )
    add(
        "--validation-fraction",
        type=float,
        default=split.validation_fraction,
        help="of training subjects (%(default)s)",
    )
    add(
        "--frame-storage",
        choices=FRAME_STORAGES,
        default=FRAME_STORAGES[0],
        help="frames in files of their own, read one by one (%(default)s), or whole clips in TFDS "
        "records",
    )
    add("--split-file", type=Path, help="splits.json of another dataset, instead of a new split")
    add(
        "--skip-unusable",
        action="store_true",
        help="leave out nights that cannot be used, and say so, instead of refusing to build",
    )
    add("--nights", type=int, help="simulated: number of subjects")
    add("--hours", type=float, help="simulated: length of the window cut from each night")
    add("--simulation-seed", type=int, help="simulated: another seed, other nights")
    add("--release", type=Path, help="s3ve_release: folder with the authors' files")
    add("--eeg-channel", choices=tuple(CHANNELS), help="s3ve_release: of whole nights (C4-M1)")
    add("--eeg-unit", choices=tuple(UNITS), help="s3ve_release: of the EEG, which its files lack")
    add("--embeddings", type=Path, help="ucf51: the published archive of audio embeddings")
    add("--videos", type=Path, help="ucf51: folder of UCF101's videos; embeddings alone without")
    add("--jobs", type=int, help="nights decoded at once (number of cores)")
    add("--runner", help="decode nights on this Apache Beam runner: DirectRunner, FlinkRunner …")
    add("beam_options", nargs="*", metavar="-- OPTIONS", help="of the Beam pipeline, after --")
    return parser


def _settings(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> DatasetSettings:
    if arguments.dataset == "ucf51":
        if arguments.embeddings is None:
            parser.error("--dataset ucf51 needs --embeddings")
        return DatasetSettings("ucf51", ucf51=Ucf51Settings(arguments.embeddings, arguments.videos))
    if arguments.embeddings or arguments.videos:
        parser.error("--embeddings and --videos are for --dataset ucf51")
    released = arguments.dataset == "s3ve_release"
    if not released and (arguments.release or arguments.eeg_channel or arguments.eeg_unit):
        parser.error("--release, --eeg-channel and --eeg-unit are for --dataset s3ve_release")
    if released and arguments.release is None:
        parser.error("--dataset s3ve_release needs --release")
    eeg_rate = arguments.eeg_rate
    if eeg_rate is None:
        eeg_rate = RATE if released else ClipSettings.eeg_rate
    clips = ClipSettings(
        frame_rate=arguments.frame_rate,
        eeg_rate=eeg_rate,
        height=arguments.height,
        width=arguments.width,
        max_missing=arguments.max_missing,
        eeg_band_hz=tuple(arguments.eeg_band) if arguments.eeg_band else None,
        eeg_notch_hz=arguments.eeg_notch,
    )
    split = SplitSettings(
        seed=arguments.split_seed,
        mode=arguments.split_mode,
        test_fraction=arguments.test_fraction,
        validation_fraction=arguments.validation_fraction,
        ahi_groups=arguments.ahi_groups,
        fold=arguments.fold,
    )
    chosen = {
        "nights": arguments.nights,
        "hours": arguments.hours,
        "seed": arguments.simulation_seed,
    }
    chosen = {name: value for name, value in chosen.items() if value is not None}
    simulation = None
    if arguments.dataset == "simulated":
        from input_pipeline.simulation import SimulationSettings

        simulation = SimulationSettings(
            height=clips.height, width=clips.width, frame_rate=clips.frame_rate, **chosen
        )
    elif chosen:
        parser.error("--nights, --hours and --simulation-seed are for --dataset simulated")
    release = None
    if released:
        taken = {"channel": arguments.eeg_channel, "unit": arguments.eeg_unit}
        taken = {name: value for name, value in taken.items() if value is not None}
        release = ReleaseSettings(arguments.release, **taken)
    return DatasetSettings(
        name=arguments.dataset,
        manifest=arguments.manifest,
        release=release,
        simulation=simulation,
        clips=clips,
        split=split,
        split_file=arguments.split_file,
        skip_unusable=arguments.skip_unusable,
        frame_storage=arguments.frame_storage,
    )


def summary(info: DatasetInfo) -> str:
    """A line for each split: subjects, nights, clips, and clips of each stage (UCF51: videos)."""
    lines = [
        f"{info.name}{' (simulated nights)' if info.simulated else ''}, split {info.split_mode}"
    ]
    for split in SPLITS:
        count = info.counts[split]
        if info.name == "ucf51":
            lines.append(
                f"  {split:<10} {count['clips']:>7} videos of {len(info.classes)} classes in "
                f"{count['subjects']} groups; each holds {', '.join(info.inputs)}"
            )
            continue
        stages = "  ".join(f"{name} {number}" for name, number in count["stages"].items())
        lines.append(
            f"  {split:<10} {count['subjects']:>4} subjects {count['nights']:>4} nights "
            f"{count['clips']:>7} clips   {stages}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Entry point of the command."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    settings = _settings(arguments, parser)
    beam_options = None
    if arguments.runner:
        if settings.ucf51 is not None:
            parser.error("--runner decodes nights; ucf51 has none")
        beam_options = [f"--runner={arguments.runner}", *arguments.beam_options]
    elif arguments.beam_options:
        parser.error("what follows -- are options of a Beam pipeline: expected --runner, too")
    folder = prepare(settings, arguments.out, arguments.jobs, beam_options=beam_options)
    info = read_info(folder)
    print(summary(info))
    card = data_card.read_card(folder, info)
    if card is not None:
        print("\n".join([*data_card.notes(card), data_card.left_out(card)]))
        print(f"data card: {folder / data_card.TEXT_FILE}")
    print(folder)


if __name__ == "__main__":
    with one_line_errors():
        main()
