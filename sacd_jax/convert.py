"""Converts a network's public weights into a model that a run can start from (`pretrained`).

Reads zip files of `torch.save` and safetensors files, tensor by tensor; nothing is unpickled.
"""

import argparse
from pathlib import Path

from input_pipeline.command_errors import one_line_errors
from sacd_jax import pretrained
from sacd_jax.pretrained import Converted
from sacd_jax.runs import model_file

_EXAMPLE = """example:
  python -m sacd_jax.convert --architecture r3d_18 --checkpoint r3d18_KM_200ep.pth --out weights/r3d

then, in a run of a config:
  "student": {"name": "r3d_18", "pretrained": "weights/r3d"}"""


def _summary(converted: Converted, checkpoint: Path) -> list[str]:
    model, head = converted.model, converted.head_classes
    lines = [
        f"{model.encoder} with {model.num_classes} classes: "
        f"took {converted.tensors} tensors of {checkpoint.name}"
    ]
    if model.options:
        lines.append(f"options of the network: {model.options}")
    if head != model.num_classes:
        what = f"its classifier of {head} classes is left out" if head else "it has no classifier"
        lines.append(f"{what}: training starts a fresh one")
    if converted.unused:
        lines.append(f"never used by the network: {', '.join(converted.unused)}")
    if converted.beside:
        lines.append(f"not weights: {', '.join(converted.beside[:24])}")
    return lines


def main(argv: list[str] | None = None) -> None:
    """Command line; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m sacd_jax.convert",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--architecture",
        required=True,
        metavar="NAME",
        help=f"one of {', '.join(pretrained.ARCHITECTURES)}",
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="zip .pth or .safetensors"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--num-classes",
        type=int,
        metavar="N",
        help="number of classes (default: the file's); a classifier of another size is left out",
    )
    arguments = parser.parse_args(argv)
    if arguments.num_classes is not None and arguments.num_classes < 1:
        parser.error("--num-classes: expected 1 or more")
    converted = pretrained.convert(
        arguments.architecture, arguments.checkpoint, arguments.num_classes
    )
    new = model_file.save_new(arguments.out, converted.model)
    print("\n".join(_summary(converted, arguments.checkpoint)))
    print(f"model in {arguments.out}{'' if new else ', as it was already'}")


if __name__ == "__main__":
    with one_line_errors():
        main()
