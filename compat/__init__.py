"""One small module per downstream project; none yet.

TESTED: distribution -> (the least version that was tested, the first that was not). `doctor` tells what else is here.
"""

TESTED: dict[str, tuple[str, str]] = {"torchaudio": ("2.11", "2.12")}
