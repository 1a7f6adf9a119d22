"""Teachers who say less than they know: what a student would miss if dark knowledge were what it learns from.

Each wraps a teacher and stands in its place in `training.train`.
"""

import torch
from torch import Tensor, nn

SOFT, TOP, PERMUTED = "soft", "top", "permuted"
SURE = 100.0  # logits by which the one class is above the others: its probability is 1 in float32


class _Saying(nn.Module):
    """Stands in the place of a teacher, which maps images (N, C, H, W) to logits (N, K)."""

    def __init__(self, teacher: nn.Module):
        super().__init__()
        self.teacher = teacher


class TopAnswer(_Saying):
    """Say which class a teacher puts first, and nothing else.

    A student that learns from it at temperature 1 learns hard labels: the loss is the cross-entropy with that class.

    Parameters
    ----------
    teacher : nn.Module
        Maps images (N, C, H, W) to logits (N, K).
    """

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to `SURE` for the first class and 0 for the others: (N, K)."""
        logits = self.teacher(images)
        return torch.zeros_like(logits).scatter(1, logits.argmax(1, keepdim=True), SURE)


class Permuted(_Saying):
    """Put a teacher's answers for all classes but its first one into random order, image by image.

    The student still sees how sure the teacher is, and of which class; which others it thought of is lost. The order is
    drawn from torch's default generator each time.

    Parameters
    ----------
    teacher : nn.Module
        Maps images (N, C, H, W) to logits (N, K).
    """

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to the same logits (N, K), those behind the first one in random order."""
        logits = self.teacher(images)
        value, place = logits.sort(1, descending=True)
        drawn = torch.rand_like(logits)[:, 1:].argsort(1) + 1
        value = torch.cat([value[:, :1], value.gather(1, drawn)], 1)
        return torch.zeros_like(logits).scatter(1, place, value)


def saying(teacher: nn.Module, answers: str) -> nn.Module:
    """Let a teacher say 'soft' answers (its own), its 'top' answer alone, or 'permuted' ones; else a ValueError."""
    known = {SOFT: lambda own: own, TOP: TopAnswer, PERMUTED: Permuted}
    if answers not in known:
        raise ValueError(f"answers={answers!r}: expected one of {', '.join(map(repr, known))}")
    return known[answers](teacher)
