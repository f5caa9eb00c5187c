"""Scored sleep stages of a night on its grid of 30 s, from the files of many scoring programs.

`reader` opens the file and knows which dialect it is; a module of each family of dialects
(`lines`, `table`, `xml`, `yasa`, `wfdb`, `annotations`) turns it into scored spans of time;
`scorers` settles who is believed; `grid` lays the spans on clips of 30 s. What words and numbers
mean stands in `vocabulary` alone.
"""

from input_pipeline.readers.hypnogram.grid import Hypnogram, grid
from input_pipeline.readers.hypnogram.reader import read_hypnogram
from input_pipeline.readers.hypnogram.vocabulary import SCHEMES, Scheme, word_stage

__all__ = ["SCHEMES", "Hypnogram", "Scheme", "grid", "read_hypnogram", "word_stage"]
