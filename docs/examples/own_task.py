"""A task of one's own: waves of three frequencies, for any partition and algorithm.

python -m bench.train --task own_task.py:Waves:noise=0.3 --partition dirichlet:alpha=0.1
"""

from dataclasses import dataclass, field

import torch

from bench.tasks.own import TorchTask


@dataclass(frozen=True)
class Waves(TorchTask):
    """Noisy sine waves; the class is the frequency."""

    noise: float = field(default=0.2, metadata={"help": "standard deviation of the noise"})

    def model(self) -> torch.nn.Module:
        """Return a small convolution with a mean over time."""
        return torch.nn.Sequential(
            torch.nn.Conv1d(1, 8, 5),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool1d(4),
            torch.nn.Flatten(),
            torch.nn.Linear(32, 3),
        )

    def samples(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return waves (600, 1, 32) and their classes (600,); a fifth of them is held out."""
        label = torch.arange(600) % 3
        phase = 2 * torch.pi * torch.rand(600, 1)
        time = torch.linspace(0, 2 * torch.pi, 32)
        waves = torch.sin((1 + 2 * label[:, None]) * time + phase)
        return (waves + self.noise * torch.randn(600, 32))[:, None], label
