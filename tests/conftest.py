"""Few threads, because tests run beside others; torchaudio's stand-in before anything imports torchaudio."""

import torch

from multidiff.torchaudio_door import import_torchaudio

torch.set_num_threads(1)
import_torchaudio()
