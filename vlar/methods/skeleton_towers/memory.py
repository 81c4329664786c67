"""Memory attention: a recurrent memory weighs the frames, and the sequence is a picture for a CNN.

Xie et al., "Memory attention networks for skeleton-based action recognition", IJCAI 2018.

Letters: N clips, M people, C coordinates, T frames, J joints of all people, H width of the memory.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from vlar.methods.skeleton_towers.network import BodyAnswer, Given, TowerBody


class MemoryAttention(nn.Module):
    """Frames recalibrated by a memory of the clip: ``x + W (h w)``, h the memory, w the weights.

    A recurrent network over both directions, summed, is the memory. Its mean over the width gives
    one number a frame, from which a bottleneck of two layers finds the weight of every frame.

    Args:
        joints: J.
        frames: T.
        width: H.
        reduction: T divided by it is the width of the bottleneck.
    """

    def __init__(self, joints: int, frames: int, width: int = 64, reduction: int = 16) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(joints, width), nn.Linear(width, joints)
        self.memory = nn.GRU(width, width, batch_first=True, bidirectional=True)
        small = max(frames // reduction, 2)
        self.weigh = nn.Sequential(
            nn.Linear(frames, small), nn.ReLU(), nn.Linear(small, frames), nn.Sigmoid()
        )

    def recalled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Memory (N, T, H) and weights of the frames (N, T), 0 to 1, of x (N, T, J)."""
        memory = self.memory(self.enter(x))[0].unflatten(2, (2, -1)).sum(dim=2)
        return memory, self.weigh(memory.mean(dim=2))

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, J) to (N, T, J)."""
        memory, weights = self.recalled(x)
        return x + self.leave(memory * weights[..., None])


class MemoryAttentionNetwork(TowerBody):
    """Each coordinate is a picture of frames by the joints of all people.

    Memory attention, with the same weights for all coordinates, and a residual CNN of nine layers
    read it: a stem and a block for each of the widths.
    """

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        config, widths = given.config, given.widths
        joints = len(given.joints) * config.people
        self.attention = MemoryAttention(joints, config.frames, widths[0])
        stem = nn.Conv2d(given.channels, widths[0], 3, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(widths[0]), nn.ReLU())
        pairs = enumerate(itertools.pairwise([widths[0], *widths]), start=1)
        self.blocks = nn.Sequential(*(_block(*pair, 1 + (n in given.halved)) for n, pair in pairs))
        self.width = widths[-1]

    def forward(self, x: Tensor, seen: Tensor) -> BodyAnswer:
        """Streams (N, M, C, T, V) and ``seen`` (N, M, T, V) to the mean of the last picture."""
        pictures = x.permute(0, 2, 3, 1, 4).flatten(3)  # (N, C, T, J)
        clear = self.attention(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
        return BodyAnswer(self.blocks(self.stem(clear)).mean(dim=(2, 3)))


def _block(inputs: int, outputs: int, stride: int) -> BasicBlock:
    if stride == 1 and inputs == outputs:
        return BasicBlock(inputs, outputs)
    skip = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return BasicBlock(inputs, outputs, stride, nn.Sequential(skip, nn.BatchNorm2d(outputs)))
