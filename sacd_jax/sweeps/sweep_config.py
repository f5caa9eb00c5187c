"""The settings of a sweep: the rows of a table, and the teachers that they share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from input_pipeline.datasets.settings import DatasetSettings
from input_pipeline.errors import UserError
from sacd_jax.config import Name, RunConfig, Seed, check_names
from sacd_jax.schema import Range, Settings

Seeds = Annotated[tuple[Seed, ...], Range("different seeds", lambda s: 0 < len(s) == len(set(s)))]


@dataclass(frozen=True)
class Row(Settings):
    """A line of the table; its runs differ in the seed alone.

    Attributes:
        name: in the table.
        run: the training; each seed of the sweep takes the place of its own.
        group: in the table; the teacher, say.
    """

    name: Name
    run: RunConfig
    group: str = ""


@dataclass(frozen=True)
class Judgement(Settings):
    """How a sweep's rows are judged, fixed before the first of them is trained.

    Attributes:
        figure: that decides; of each test subject under each seed.
        split: whose subjects are looked at.
        test: `subjects_and_seeds` is `report.crossed`, both at random.
        correction: of p over the rows of one group.
        level: a corrected p below it is a difference.
    """

    figure: Literal["accuracy", "macro_f1", "kappa"] = "accuracy"
    split: Literal["test"] = "test"
    test: Literal["subjects_and_seeds"] = "subjects_and_seeds"
    correction: Literal["holm", "none"] = "holm"
    level: Annotated[float, Range("0 to 1", lambda x: 0 < x < 1)] = 0.05


@dataclass(frozen=True)
class SweepConfig(Settings):
    """A table and the runs behind it.

    Attributes:
        name: of the table's files.
        dataset: that all runs share.
        rows: key -> row, in order. The runs' folders are named after the keys. `embeddings_of` of a
            row's run may be the key of another row: that row's run with the same seed.
        teachers: name -> a run that is trained once; rows name it in `teacher.pretrained`.
        seeds: of each row.
        title: above the table.
        reference: name of the row that the others are judged against.
        paper: which of the paper's tables stands beside it; a key of `table.PAPER`, or "".
        notes: sentences below the table.
        judgement: fixes how rows are judged, and is stored before the first run
            (`sweeps.preregistration`); None judges accuracy, uncorrected.
    """

    name: Name
    dataset: DatasetSettings
    rows: dict[str, Row]
    teachers: dict[str, RunConfig] = field(default_factory=dict)
    seeds: Seeds = (0, 1, 2)
    title: str = ""
    reference: str = ""
    paper: str = ""
    notes: tuple[str, ...] = ()
    judgement: Judgement | None = None

    shortcuts: ClassVar[Mapping[str, tuple[str, ...]]] = {"row": ("rows", "*", "run")}
    """`--config.row.passes=8` sets the passes of every row."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(self.rows, "rows")
        check_names(self.teachers, "teachers")
        for key, row in self.rows.items():
            lender = row.run.embeddings_of
            if lender in self.rows and self.rows[lender].run.embeddings_of is not None:
                raise UserError(
                    f"rows.{key}.run.embeddings_of is {lender!r}, which learns from embeddings "
                    "itself: expected a row whose network sees clips"
                )
        labels = [(row.group, row.name) for row in self.rows.values()]
        for label in labels:
            if labels.count(label) > 1:
                raise UserError(f"rows has several rows of group and name {label}, expected one")
        if self.reference and self.reference not in [name for _, name in labels]:
            raise UserError(f"reference is {self.reference!r}, expected the name of a row")
        if self.judgement is not None and not self.reference:
            raise UserError("judgement is set, but reference is not: expected the name of a row")
