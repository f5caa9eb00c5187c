"""What a network said of each clip of a split, as one file; nothing in it is pickled."""

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Shaped

from input_pipeline.errors import UserError
from input_pipeline.files import whole_file

if TYPE_CHECKING:
    from input_pipeline.source import ClipSource  # with ArrayRecord, which staging does not need

# Every member carries a checksum; a flipped flag claims encryption (RuntimeError) or an unknown
# compression (NotImplementedError), a flipped size more memory than there is. Without its
# beginning it may be a single array (TypeError).
_BROKEN = (
    ValueError,
    TypeError,
    OSError,
    EOFError,
    KeyError,
    RuntimeError,
    MemoryError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
)
_OF_THE_CLIP = ("night_id", "subject_id", "clip_index", "ahi", "age", "sex")
_UNKNOWN = {"age": np.float32("nan"), "sex": np.str_("")}  # where an earlier version wrote none
_ORIGIN = ("data", "weights")
_KINDS = {"logits": "f", "index": "iu", "stage": "iu", "clip_index": "iu", "ahi": "f"}
_KINDS |= {"age": "f", "sex": "U", "embedding": "f", "night_id": "U", "subject_id": "U"}


@dataclass(frozen=True)
class Predictions:
    """Predictions on a split, in the split's order."""

    logits: Float[np.ndarray, "clips classes"]
    embedding: Float[np.ndarray, "clips dim"]
    index: Int[np.ndarray, " clips"]  # row in the split
    stage: Int[np.ndarray, " clips"]  # the truth; -1 where nobody scored
    night_id: Shaped[np.ndarray, " clips"]
    subject_id: Shaped[np.ndarray, " clips"]
    clip_index: Int[np.ndarray, " clips"]  # position in the night, in clips
    ahi: Float[np.ndarray, " clips"]  # nan where not known
    age: Float[np.ndarray, " clips"]  # years, nan where not known
    sex: Shaped[np.ndarray, " clips"]  # "M", "F" or ""

    @property
    def predicted(self) -> Int[np.ndarray, " clips"]:
        """The stage with the highest score."""
        return self.logits.argmax(-1)

    @property
    def probabilities(self) -> Float[np.ndarray, "clips classes"]:
        """The softmax of the scores."""
        shares = np.exp(self.logits - self.logits.max(-1, keepdims=True))
        return shares / shares.sum(-1, keepdims=True)


def mean_over_nights(
    values: Float[np.ndarray, " clips"],
    night_id: Shaped[np.ndarray, " clips"],
    subject_id: Shaped[np.ndarray, " clips"],
    subjects: Shaped[np.ndarray, " subjects"],
) -> Float[np.ndarray, " subjects"]:
    """What is known of each subject, such as the AHI: the mean over nights, as the split has it.

    Args:
        values: of the night that each clip is of; nan where not known.
        night_id: of each clip.
        subject_id: of each clip.
        subjects: in the order of the result.
    """
    _, first = np.unique(night_id, return_index=True)
    of, known = subject_id[first], values[first].astype(np.float64)
    means = np.full(len(subjects), np.nan)
    for at, subject in enumerate(subjects):
        mine = known[(of == subject) & np.isfinite(known)]
        if mine.size:
            means[at] = mine.mean()
    return means


def joined(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of one run on several splits, one after the other; `index` starts anew with
    each."""
    fields = Predictions.__dataclass_fields__
    return Predictions(**{f: np.concatenate([getattr(part, f) for part in parts]) for f in fields})


def write(
    path: Path, outputs: Mapping[str, np.ndarray], source: "ClipSource", weights: str = ""
) -> None:
    """Stores a network's outputs on a split with whose clips they are, whole or not at all.

    Args:
        outputs: `logits`, `embedding`, `stage` and `index`, one row a clip.
        source: the split.
        weights: identity of the network, see `model_file.identity`; "" for what is none.
    """
    clips = {name: getattr(source.table, name)[outputs["index"]] for name in _OF_THE_CLIP}
    origin = dict(zip(_ORIGIN, map(np.array, (source.fingerprint, weights)), strict=True))
    # Bytes first: an archive that meets a full disk complains once more when it is dropped.
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **outputs, **clips, **origin)
    with whole_file(path, content.tell()) as temporary:
        temporary.write_bytes(content.getbuffer())


def read(name: str, path: Path) -> Predictions:
    """Reads a file of predictions, sorted by row.

    Args:
        name: of the run, for error messages.
        path: of the file.

    Raises:
        UserError: the file is missing, truncated or not what it should be; names run and file.
    """
    where = f"run {name!r}: {path.name}"
    if not path.is_file():
        raise UserError(f"{where} is missing; evaluate the run first (looked in {path.parent})")
    fields = tuple(Predictions.__dataclass_fields__)
    try:
        # Opened here: NumPy would leave the file open when the archive is broken.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            absent = [field for field in fields if field not in {*file.files, *_UNKNOWN}]
            if absent:
                raise UserError(f"{where} lacks {', '.join(absent)}")
            values = {field: file[field] for field in fields if field in file.files}
    except _BROKEN as error:
        kind = type(error).__name__
        raise UserError(
            f"{where} cannot be read ({kind}); it is broken or truncated: evaluate the run again"
        ) from error
    logits = values["logits"]
    clips = len(logits) if logits.ndim == 2 else -1
    for field in _UNKNOWN.keys() - values.keys():
        values[field] = np.full(max(clips, 0), _UNKNOWN[field])
    for field in fields[1:]:
        shape = values[field].shape
        if shape[:1] != (clips,) or len(shape) != (2 if field == "embedding" else 1):
            raise UserError(
                f"{where}: {field} has shape {shape}, logits {logits.shape}; "
                "expected one row a clip in each"
            )
    for field, kinds in _KINDS.items():
        if values[field].dtype.kind not in kinds:
            raise UserError(f"{where}: {field} has dtype {values[field].dtype}: evaluate it again")
    if not clips:
        raise UserError(f"{where} holds no clips")
    for field, called in (("logits", "scores"), ("embedding", "embeddings")):
        bad = int((~np.isfinite(values[field])).any(-1).sum())
        if bad:
            raise UserError(f"{where}: {bad} of {clips} clips have {called} that are not finite")
    if values["stage"].min() < -1:
        raise UserError(f"{where}: a stage below -1, which stands for none: evaluate it again")
    if values["stage"].max() >= logits.shape[1] or len(np.unique(values["index"])) != clips:
        raise UserError(f"{where}: a stage beyond the {logits.shape[1]} classes, or a row twice")
    order = np.argsort(values["index"])
    return Predictions(**{field: value[order] for field, value in values.items()})


def read_origin(name: str, path: Path) -> dict[str, str]:
    """What a file of predictions was made from.

    Args:
        name: of the run, for error messages.
        path: of the file, as `read` has read it.

    Returns:
        `data`, the fingerprint of the split, and `weights`, the identity of the network; {} where
        the file is of an earlier version.

    Raises:
        UserError: the file is broken.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            if not set(_ORIGIN) <= set(file.files):
                return {}
            return {key: str(file[key][()])[:64] for key in _ORIGIN}
    except _BROKEN as error:
        raise UserError(
            f"run {name!r}: {path.name} cannot be read ({type(error).__name__}): evaluate the run "
            "again"
        ) from error


def check_data(runs: Mapping[str, Path], data: str) -> None:
    """Refuses predictions on another data set, such as one that was built before nights changed.

    Those of earlier versions, which do not say what they are of, pass.

    Args:
        runs: name -> file of predictions.
        data: fingerprint of the split that all of them should be of.

    Raises:
        UserError: names the first run.
    """
    for name, path in runs.items():
        if read_origin(name, path).get("data", data) != data:
            raise UserError(
                f"run {name!r} was tested on another data set than the one it stands beside here; "
                "train it on this one, in another folder"
            )


def check_same_clips(runs: Sequence[tuple[str, Predictions]]) -> None:
    """Raises a UserError that names both runs if two runs, by name, did not predict the same
    clips."""
    (name, ours), *others = runs
    for other, theirs in others:
        if len(ours.index) != len(theirs.index):
            raise UserError(
                f"runs {name!r} and {other!r} have {len(ours.index)} and {len(theirs.index)} "
                "clips; expected the same ones"
            )
        for field in ("index", "night_id", "subject_id", "clip_index", "stage"):
            differing = getattr(ours, field) != getattr(theirs, field)
            if differing.any():
                raise UserError(
                    f"runs {name!r} and {other!r} differ in {field} of {int(differing.sum())} "
                    "clips; expected the same ones"
                )
