"""The training step of 3-D ResNets in PyTorch, to be compared with. Imported by nothing.

`torch_child` runs this file with the interpreter of an environment that has PyTorch, and talks to
it by lines of JSON: settings first, then "step" for each step; it ends when the line closes.

The networks are those of pytorch/vision, models/video/resnet.py (torchvision_*), and of
kenshohara/3D-ResNets-PyTorch, models/resnet.py and resnet2p1d.py, in 18 layers with shortcut B.
"""

import json
import os
import sys
import time

import torch
from torch import nn

COLOURS = {
    True: ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
    False: ((0.4345, 0.4051, 0.3775), (0.2768, 0.2713, 0.2737)),
}
NAMES = {
    "r3d_18": (False, False),
    "r2plus1d_18": (True, False),
    "torchvision_r3d_18": (False, True),
    "torchvision_r2plus1d_18": (True, True),
}
"""Name -> whether its convolutions are factorized, whether it is torchvision's."""


def middle_channels(inputs, outputs, taps=(3, 3)):
    """Channels between the halves of a factorized convolution: as many parameters as whole."""
    time_taps, side = taps
    return (time_taps * side**2 * inputs * outputs) // (side**2 * inputs + time_taps * outputs)


def conv(inputs, outputs, kernel, stride=(1, 1, 1)):
    padding = tuple(k // 2 for k in kernel)
    return nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)


def conv3x3x3(inputs, outputs, stride, middle):
    """Whole where `middle` is 0, else spatial, BatchNorm, ReLU, temporal."""
    if not middle:
        return conv(inputs, outputs, (3, 3, 3), (stride,) * 3)
    return nn.Sequential(
        conv(inputs, middle, (1, 3, 3), (1, stride, stride)),
        nn.BatchNorm3d(middle),
        nn.ReLU(inplace=True),
        conv(middle, outputs, (3, 1, 1), (stride, 1, 1)),
    )


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride, factorized, shared_middle):
        super().__init__()
        first = middle_channels(inputs, outputs) if factorized else 0
        second = middle_channels(outputs, outputs) if factorized else 0
        self.main = nn.Sequential(
            conv3x3x3(inputs, outputs, stride, first),
            nn.BatchNorm3d(outputs),
            nn.ReLU(inplace=True),
            conv3x3x3(outputs, outputs, 1, first if shared_middle else second),
            nn.BatchNorm3d(outputs),
        )
        self.shortcut = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential(
                conv(inputs, outputs, (1, 1, 1), (stride,) * 3), nn.BatchNorm3d(outputs)
            )

    def forward(self, x):
        return torch.relu(self.main(x) + self.shortcut(x))


def network(factorized, torchvision, classes):
    taps = (3, 7) if torchvision else (7, 7)
    if factorized:
        middle = 45 if torchvision else middle_channels(3, 64, taps)
        stem = [
            conv(3, middle, (1, 7, 7), (1, 2, 2)),
            nn.BatchNorm3d(middle),
            nn.ReLU(inplace=True),
            conv(middle, 64, (taps[0], 1, 1)),
        ]
    else:
        stem = [conv(3, 64, (taps[0], 7, 7), (1, 2, 2))]
    stem += [nn.BatchNorm3d(64), nn.ReLU(inplace=True)]
    if not torchvision:
        stem.append(nn.MaxPool3d(3, 2, 1))
    blocks, inputs = [], 64
    for stage, width in enumerate((64, 128, 256, 512)):
        for i in range(2):
            stride = 2 if stage and not i else 1
            blocks.append(Block(inputs, width, stride, factorized, torchvision))
            inputs = width
    net = nn.Sequential(
        *stem, *blocks, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(512, classes)
    )
    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


class Step:
    """The network, its optimizer and one batch of random clips."""

    def __init__(
        self,
        model,
        classes,
        batch,
        frames,
        size,
        colours,
        bfloat16,
        learning_rate,
        momentum,
        weight_decay,
        device="cpu",
        compiled=False,
    ):
        """
        Args:
            model: a name in NAMES.
            classes: of the classifier.
            batch, frames, size, colours: of the clips, uint8; grey is repeated to three colours.
            bfloat16: autocast.
            learning_rate, momentum, weight_decay: of SGD.
            device: cpu or cuda; on cuda in channels_last_3d, with cuDNN's choice by trial.
            compiled: by torch.compile.
        """
        if model not in NAMES:
            raise SystemExit(f"no PyTorch equal of {model!r}: expected one of {', '.join(NAMES)}")
        factorized, torchvision = NAMES[model]
        torch.manual_seed(0)
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        self.mean, self.std = (
            torch.tensor(v, device=device).reshape(1, 3, 1, 1, 1) for v in COLOURS[torchvision]
        )
        self.layout = torch.channels_last_3d if device == "cuda" else torch.contiguous_format
        self.net = network(factorized, torchvision, classes).train()
        self.net = self.net.to(device, memory_format=self.layout)
        shape = (batch, frames, size, size, colours)
        self.clips = torch.randint(0, 256, shape, dtype=torch.uint8).to(device)
        self.stage = torch.randint(0, classes, (batch,)).to(device)
        self.device, self.bfloat16 = device, bfloat16
        self.loss = torch.compile(self.forward) if compiled else self.forward
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), learning_rate, momentum, weight_decay=weight_decay
        )

    def parameters(self):
        return sum(p.numel() for p in self.net.parameters())

    def forward(self):
        """The loss."""
        x = self.clips.permute(0, 4, 1, 2, 3).float() / 255
        x = (x.expand(-1, 3, -1, -1, -1) - self.mean) / self.std
        x = x.contiguous(memory_format=self.layout)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
            logits = self.net(x)
        return nn.functional.cross_entropy(logits.float(), self.stage)

    def run(self):
        """One step; returns its loss, for which it waits."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return loss.item()


def main():
    def answer(**values):
        print(json.dumps(values), flush=True)

    step = Step(**json.loads(sys.stdin.readline()))
    answer(version=torch.__version__, parameters=step.parameters())
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        loss = step.run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if loss != loss:
            raise SystemExit("the loss is not a number")
        answer(wall=wall, cpu=cpu)


if __name__ == "__main__":
    main()
