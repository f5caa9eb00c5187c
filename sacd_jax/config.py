"""The settings of an experiment: frozen values, complete and checked when they are made."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from input_pipeline.datasets.settings import DatasetSettings
from input_pipeline.errors import UserError
from input_pipeline.groups import BATCH_MODES
from input_pipeline.sampling import Sampling
from sacd_jax.schema import FrozenDict, Range, Settings, as_json, build, with_new_names

__all__ = [
    "AugmentConfig",
    "EncoderConfig",
    "Experiment",
    "ObjectiveConfig",
    "OptimizerConfig",
    "RunConfig",
    "as_json",
    "build",
    "check_names",
]

Count = Annotated[int, Range("at least 1", lambda n: n >= 1)]
Seed = Annotated[int, Range("0 to 2147483647", lambda n: 0 <= n < 2**31)]
Positive = Annotated[float, Range("more than 0", lambda x: x > 0)]
NotNegative = Annotated[float, Range("0 or more", lambda x: x >= 0)]
CountOrZero = Annotated[int, Range("0 or more", lambda n: n >= 0)]
Share = Annotated[float, Range("0 to 1", lambda x: 0 <= x <= 1)]
Decay = Annotated[float, Range("0 to less than 1", lambda x: 0 <= x < 1)]
Name = Annotated[str, Range("a name", bool)]
Size = Annotated[
    tuple[int, ...],
    Range("(height, width) or ()", lambda size: len(size) in (0, 2) and min(size, default=1) >= 1),
]
Interval = Annotated[
    tuple[float, ...],
    Range("two ascending numbers above 0", lambda p: not p or (len(p) == 2 and 0 < p[0] <= p[1])),
]
Fold = Annotated[
    tuple[int, ...],
    Range(
        "() or (fold, folds, seed), as (0, 4, 0)",
        lambda f: not f or (len(f) == 3 and 0 <= f[0] < f[1] and f[1] >= 2 and f[2] >= 0),
    ),
]
BatchMode = Annotated[str, Range(f"one of {', '.join(BATCH_MODES)}", BATCH_MODES.__contains__)]


Control = Literal[
    "none",
    "shift_1",
    "shift_10",
    "shuffled_within_subject",
    "shuffled_across_subjects",
    "other_night",
]
ClassWeights = Literal["none", "attnsleep", "inverse", "effective_number"]


@dataclass(frozen=True)
class EncoderConfig(Settings):
    """A network and the weights it starts from.

    Attributes:
        name: in `sacd_jax.models`.
        options: of the network.
        pretrained: where all of its weights come from: a folder written by `convert`, a finished
            run's folder, or the name of an earlier run of the same experiment. "" draws them.
        parts: loads only these submodules; submodule name -> run or folder to load it from.
    """

    name: Name
    options: dict[str, Any] = field(default_factory=dict)
    pretrained: str = ""
    parts: dict[str, Name] = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectiveConfig(Settings):
    """A distillation method.

    Attributes:
        name: in `sacd_jax.objectives`.
        options: of the method.
        weights: loss term -> its factor; a term that is not here keeps the method's own.
    """

    name: Name
    options: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, NotNegative] = field(default_factory=dict)

    renamed_options: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "sacd": {"group_size": "clips_per_graph"}
    }
    """Method -> former name of an option -> its name."""

    def __post_init__(self) -> None:
        super().__post_init__()
        renamed = self.renamed_options.get(self.name, {})
        options = FrozenDict(with_new_names(self.options, renamed, "options"))
        object.__setattr__(self, "options", options)


@dataclass(frozen=True)
class OptimizerConfig(Settings):
    """See `sacd_jax.tasks.optimizer.make`; defaults follow the paper and its code base (CCL).

    Attributes:
        name: the update rule.
        learning_rate: its highest value in the run.
        per_batch: clips of an update that `learning_rate` is for; with others it is higher or lower
            in proportion (Goyal et al. 2017). 0 takes it as it is.
        rise: `constant`, `step`: share of the run over which the rate rises to its value.
        schedule: how it moves; see `sacd_jax.tasks.optimizer.schedule`.
        milestones: `step`: shares of the run at which the rate is multiplied by `decay`.
        decay: see `milestones`.
        warmup: `one_cycle`: share of the run in which the rate rises.
        momentum: of sgd.
        weight_decay: added to the gradient; `adamw` decouples it.
        clip_norm: largest norm of the gradient of all parameters together; 0 does not clip.
        factors: submodule of the student -> factor of its learning rate; 0 freezes it, weight decay
            included.
    """

    name: Literal["sgd", "adam", "amsgrad", "adamw"] = "sgd"
    learning_rate: NotNegative = 1e-3
    per_batch: CountOrZero = 0
    rise: Share = 0.0
    schedule: Literal["constant", "step", "one_cycle"] = "step"
    milestones: tuple[Share, ...] = (0.5, 0.75)
    decay: Share = 0.1
    warmup: Share = 0.15
    momentum: Decay = 0.9
    weight_decay: NotNegative = 5e-4
    clip_norm: NotNegative = 0.0
    factors: dict[str, NotNegative] = field(default_factory=dict)


@dataclass(frozen=True)
class AugmentConfig(Settings):
    """What is done to a training clip inside the jitted step; evaluation crops the centre.

    Attributes:
        crop: (height, width) in pixels; () takes the stored frame whole.
        flip: probability of a left-right mirror; one draw a clip for all its frames.
        scale: share of the frame's area that is cropped, from and to; the crop is then resampled to
            the size of `crop`. Evaluation shrinks the frame until its shorter side is that of
            `crop`, then crops the centre (UCF51's protocol). () crops without resampling.
        ratio: width to height of a crop with `scale`, from and to.
    """

    crop: Size = ()
    flip: Share = 0.5
    scale: Interval = ()
    ratio: Interval = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale and not (self.crop and self.ratio):
            raise UserError("scale is set, but crop or ratio is not")
        if self.scale and self.scale[1] > 1:
            raise UserError(f"scale is {self.scale}, expected shares of the frame's area up to 1")


@dataclass(frozen=True)
class RunConfig(Settings):
    """One training: what learns, from what, how, for how long.

    Attributes:
        task: `classify` learns from labels, `distill` from a teacher as well. `boost` trains no
            network: gradient boosting on signals of the pictures (`sacd_jax.training.rival`).
        student: the network that learns. Its option `domains` set to "subjects" gives it a domain
            for each training subject.
        teacher: of `distill`; its weights are lent by `teacher.pretrained`.
        objective: the method of `distill`.
        optimizer: how the weights move.
        sampling: which frames of a clip are seen. Video networks take the number of frames a moment
            from it, so it is no option of theirs.
        augment: what is done to a training clip.
        seed: of first weights, order of clips, augmentation, dropout and banks.
        batch_size: clips in a step, over all devices and processes.
        accumulate: steps whose mean gradient makes one update, where memory lacks for larger
            batches; statistics, banks and key encoders go on step by step.
        batch_mode: one of `input_pipeline.groups.BATCH_MODES`.
        consecutive_clips: clips of a group in `contiguous` batches, of a sequence in `sequences`.
        passes: length of the run in passes over the train split.
        class_weights: of the cross-entropy; a rule of `sacd_jax.tasks.class_weights`.
        ogm_ge: alpha of OGM-GE, which holds back the leading modality of a student `fusion` of one
            layer in the first half of the run (`sacd_jax.tasks.modulation`); 0 does not.
        logit_adjustment: tau; the cross-entropy adds tau times the logarithm of each class's share
            of the training labels to its logit, so that the network need not bid low for rare
            classes (Menon et al. 2021); predictions are made without.
        label_fraction: share of the training subjects whose labels are used, the same subjects for
            every run with this seed (`input_pipeline.labels`).
        unlabelled: what training clips without a label do: they are left out, or `distill` from the
            teacher in all terms but the cross-entropy, which counts by the labelled share of the
            batch.
        pseudo_label_confidence: least probability of the teacher's likeliest class for it to be an
            unlabelled clip's class where a method chooses by class (negatives, banks); None: such
            choices leave the clip out.
        teacher_cache: run the frozen teacher over the split once, and read its outputs from then on
            (`sacd_jax.cache_teacher`).
        teacher_folds: the stored outputs of each training clip come from one of so many networks
            that are trained as the teacher was, but without a part of the subjects, that of the
            clip among them (`sacd_jax.training.teacher_folds`); 0 takes the teacher's own.
        teacher_control: joins each training clip with the stored teacher outputs of another one, to
            see what a teacher is worth that does not know the clip; a key of
            `input_pipeline.controls.CONTROLS`.
        without_fold: (fold, folds, seed): trains, and chooses its network, without the subjects of
            one of so many parts, counted from 0 (`input_pipeline.subject_folds`).
        teacher_trainable: the teacher trains with the student.
        embeddings_of: a finished run, by its name in the experiment or its folder: the student
            reads that network's stored embeddings of the clips in place of the clips. None: clips.
        key_encoder_decay: of the student's moving average, which makes the keys of memory banks.
        key_encoder_every: the average computes keys in every so many-th step alone, and the
            student's bank takes those; 2 saves half of its forward passes.
        select: which network is kept: that of the `best` validation accuracy, or the `last`.
        evaluate_every_passes: how often the validation split is predicted.
        checkpoint_every_passes: how often the state is saved.
        measure_terms: at each evaluation, log what the losses are on validation clips, and whether
            they know a clip's own partner there (`sacd_jax.training.held_out`).
        log_every_steps: over how many steps a line of the training log is averaged.
        eval_batch_size: clips predicted at a time.
        precision: what networks compute in; `auto` is bfloat16 on TPU and GPU, float32 on a CPU.
            Parameters, statistics, losses, banks, averages and the optimizer are float32.
        data_shares: parts of the training split from which each batch takes equally many clips, so
            that of as many processes each reads the files of one part alone (docs/pods.md).
        read_threads: threads that read training batches; what is read does not depend on them.
    """

    task: Literal["classify", "distill", "boost"]
    student: EncoderConfig
    teacher: EncoderConfig | None = None
    objective: ObjectiveConfig | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    sampling: Sampling = field(default_factory=Sampling)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    seed: Seed = 0
    batch_size: Count = 16
    accumulate: Count = 1
    batch_mode: BatchMode = "shuffled"
    consecutive_clips: Count = 16
    passes: Positive = 80.0
    class_weights: ClassWeights = "none"
    ogm_ge: NotNegative = 0.0
    logit_adjustment: NotNegative = 0.0
    label_fraction: Share = 1.0
    unlabelled: Literal["leave_out", "distill"] = "leave_out"
    pseudo_label_confidence: Share | None = None
    teacher_cache: bool = False
    teacher_folds: Annotated[int, Range("0, or 2 or more", lambda n: n == 0 or n >= 2)] = 0
    teacher_control: Control = "none"
    without_fold: Fold = ()
    teacher_trainable: bool = False
    embeddings_of: Name | None = None
    key_encoder_decay: Share = 0.999
    key_encoder_every: Count = 1
    select: Literal["best", "last"] = "best"
    evaluate_every_passes: Positive = 1.0
    checkpoint_every_passes: Positive = 1.0
    measure_terms: bool = False
    log_every_steps: Count = 10
    eval_batch_size: Count = 64
    precision: Literal["float32", "bfloat16", "auto"] = "auto"
    data_shares: Count = 1
    read_threads: Count = 2

    renamed: ClassVar[Mapping[str, str]] = {"group_size": "consecutive_clips"}

    @property
    def uses_unlabelled(self) -> bool:
        """Whether clips without a label are trained on."""
        return self.unlabelled == "distill"

    def __post_init__(self) -> None:
        super().__post_init__()
        distill = self.task == "distill"
        for name in ("teacher", "objective"):
            if distill and getattr(self, name) is None:
                raise UserError(f"{name} is not set, expected for task 'distill'")
            if not distill and getattr(self, name) is not None:
                raise UserError(f"{name} is set, but task is {self.task!r}")
        if self.teacher_cache and not distill:
            raise UserError(f"teacher_cache is set, but task {self.task!r} has no frozen teacher")
        if self.teacher_trainable and not distill:
            raise UserError(f"teacher_trainable is set, but task {self.task!r} has no teacher")
        if self.teacher_cache and self.teacher_trainable:
            raise UserError("teacher_cache is set, but the teacher trains: expected it False")
        for name in ("teacher_folds", "teacher_control", "measure_terms"):
            if getattr(self, name) not in (0, "none") and not self.teacher_cache:
                raise UserError(f"{name} is set, expected teacher_cache True with it")
        if self.without_fold and self.task != "classify":
            raise UserError(f"without_fold is set, expected task 'classify', not {self.task!r}")
        if self.embeddings_of is not None and self.task != "classify":
            raise UserError(f"embeddings_of is set, but task is {self.task!r}: expected 'classify'")
        if self.uses_unlabelled and not distill:
            raise UserError(f"unlabelled is 'distill', but task {self.task!r} has no teacher")
        if self.uses_unlabelled and self.batch_mode == "balanced":
            raise UserError(
                "unlabelled is 'distill', but batch_mode 'balanced' repeats clips by their label: "
                "expected 'shuffled' or 'contiguous'"
            )
        of_student = self.student.options
        fused = self.student.name == "fusion" and not of_student.get("frozen")
        if self.ogm_ge and not (fused and of_student.get("layers", 1) == 1 and not distill):
            raise UserError(
                "ogm_ge is set, expected task 'classify' of a student fusion with layers 1 that is "
                "not frozen"
            )
        if self.logit_adjustment and self.batch_mode == "balanced":
            raise UserError(
                "logit_adjustment is set, but batch_mode 'balanced' shows every class alike: "
                "expected another batch_mode"
            )
        if self.pseudo_label_confidence is not None and not self.uses_unlabelled:
            raise UserError("pseudo_label_confidence is set, expected unlabelled 'distill' with it")
        grouped = self.batch_mode in ("contiguous", "sequences")
        if grouped and self.batch_size % self.consecutive_clips:
            raise UserError(
                f"batch_size is {self.batch_size}, expected a multiple of "
                f"consecutive_clips {self.consecutive_clips}"
            )
        if self.data_shares > 1 and self.batch_mode not in ("shuffled", "contiguous"):
            raise UserError(
                f"data_shares is {self.data_shares}, but batch_mode is {self.batch_mode!r}: "
                "expected 'shuffled' or 'contiguous'"
            )
        groups = self.batch_size // (self.consecutive_clips if grouped else 1)
        if groups % self.data_shares:
            raise UserError(
                f"data_shares is {self.data_shares}, expected a divisor of the {groups} "
                f"{'groups of clips' if grouped else 'clips'} of a batch"
            )
        # Runs of earlier versions said it twice, in the network's options as well.
        lags = len(self.sampling.lags_s)
        for name in ("student", "teacher"):
            network = getattr(self, name)
            if network is not None:
                options = _without_lags(network.options, lags, f"{name}.options")
                object.__setattr__(self, name, dataclasses.replace(network, options=options))


def _without_lags(options: Mapping[str, Any], lags: int, where: str) -> dict[str, Any]:
    """Options of a network, and of those within it, without the number of frames a moment."""
    if options.get("lags", lags) != lags:
        raise UserError(
            f"{where}.lags is {options['lags']!r}, but sampling.lags_s has {lags}: "
            "expected lags_s alone"
        )
    return {
        name: _without_lags(value, lags, f"{where}.{name}") if isinstance(value, Mapping) else value
        for name, value in options.items()
        if name != "lags"
    }


def check_names(names: Mapping[str, Any], what: str) -> None:
    """Refuses names that cannot stand in a path of the command line or name a folder.

    Raises:
        UserError: names the first.
    """
    for name in names:
        if not re.fullmatch(r"[\w+-]+", name):
            raise UserError(
                f"{what} has {name!r}, expected a name of letters, digits, '_', '-' and '+'"
            )


@dataclass(frozen=True)
class Experiment(Settings):
    """A data set and the trainings on it.

    Attributes:
        dataset: that all runs share.
        runs: name -> training, in order: later ones may start from an earlier one's network. A
            single training may be called "": its folder is then the workdir itself.
    """

    dataset: DatasetSettings
    runs: dict[str, RunConfig]

    shortcuts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        name: ("runs", "*", name)
        for name in (*(f.name for f in dataclasses.fields(RunConfig)), *RunConfig.renamed)
    }
    """A setting of a run, given without a run's name, is that of every run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.runs:
            raise UserError("runs is empty, expected at least one training")
        if list(self.runs) != [""]:
            check_names(self.runs, "runs")
