"""Placeholder: H1 writes this file."""


def stft(*args):
    raise NotImplementedError


istft = stft_adjoint = istft_adjoint = stft
