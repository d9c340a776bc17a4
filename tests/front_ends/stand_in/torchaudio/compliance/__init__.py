"""Stand-in for torchaudio.compliance."""
