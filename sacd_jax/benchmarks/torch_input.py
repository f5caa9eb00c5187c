"""Batches of clips by PyTorch's DataLoader over a mapped file, to be compared with.

Imported by nothing: `torch_child` runs this file with the interpreter of an environment that has
PyTorch. Without worker processes: those read in parallel, but send each batch once more.
"""

import json
import sys
import time

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler


class Clips(Dataset):
    """Some frames of each clip of a file of uint8 clips, one after the other."""

    def __init__(self, file, shape, taken):
        self.videos, self.taken = np.memmap(file, np.uint8, "r", shape=tuple(shape)), taken

    def __len__(self):
        return len(self.videos)

    def __getitem__(self, row):
        return torch.from_numpy(self.videos[row][self.taken])


def main():
    def answer(**values):
        print(json.dumps(values), flush=True)

    # file, shape: of all clips; taken: indices of frames; batch, batches: of one run.
    settings = json.loads(sys.stdin.readline())
    batch, batches = settings.pop("batch"), settings.pop("batches")
    torch.set_num_threads(1)
    clips = Clips(**settings)
    rows = RandomSampler(clips, replacement=True, num_samples=batch * batches)
    answer(version=torch.__version__)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in DataLoader(clips, batch, sampler=rows):
            pass
        answer(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)


if __name__ == "__main__":
    main()
