"""Operators, geometry and routing have their arguments from mps_spectro_patch/arguments.py, in that order."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from mps_spectro_patch import ops, routing
from mps_spectro_patch.arguments import (
    ISTFT_SHARED,
    FeatureArguments,
    IstftArguments,
    LossArguments,
    StftArguments,
    schema,
)
from mps_spectro_patch.kernels import IstftGeometry, StftGeometry, features, stft_loss

CALL = FeatureArguments(400, 160, 320, 200, "reflect", 80, 1, 2.0, 0.0, 1.0, 0.0, "clamp", 1e-5, 20.0, 3.0, False)
OPERATORS = {
    "stft": (2, StftArguments._fields),
    "stft_adjoint": (2, ("samples", *StftArguments._fields, "complex_input")),
    "stft_window_gradient": (3, StftArguments._fields),
    "istft": (2, IstftArguments._fields),
    "istft_adjoint": (2, ("frames", *IstftArguments._fields[:ISTFT_SHARED])),
    "istft_window_gradient": (3, IstftArguments._fields[:ISTFT_SHARED]),
    "features": (3, FeatureArguments._fields),
    "features_gradient": (4, FeatureArguments._fields),
    "stft_loss": (3, LossArguments._fields),
    "stft_loss_gradient": (6, LossArguments._fields),
}


def names(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_takes_tensors_and_then_these_arguments(name):
    tensors, expected = OPERATORS[name]
    operator = getattr(getattr(torch.ops, ops.operators.NAMESPACE), name).default
    assert tuple(one.name for one in operator._schema.arguments[tensors:]) == expected


def test_a_schema_is_made_of_names_and_types():
    assert schema(IstftArguments, 4) == "SymInt n_fft, SymInt hop_length, SymInt win_length, SymInt trim"
    assert schema(StftArguments).endswith("SymInt pad, str pad_mode, bool normalized, bool onesided")


def test_geometry_has_the_same_order():
    assert names(StftGeometry) == ("rows", "samples", *StftArguments._fields)
    *shared, length, _ = IstftArguments._fields
    assert names(IstftGeometry) == ("rows", "frames", *shared, length)


def test_the_kernels_features_are_among_the_arguments():
    assert set(names(features.Features)) <= set(FeatureArguments._fields)


def test_the_kernels_terms_are_what_follows_the_framing_of_a_loss():
    assert names(stft_loss.Terms) == LossArguments._fields[5:]
    call = LossArguments(400, 160, 320, 200, "reflect", *LossArguments._fields[5:])
    assert call.stft() == StftArguments(400, 160, 320, 200, "reflect", False, True)


def test_the_spectrum_of_features_has_their_framing():
    assert CALL.stft() == StftArguments(400, 160, 320, 200, "reflect", False, True)


def test_the_linear_call_differs_in_width_and_scale_only():
    linear = CALL.linear(201)
    assert linear.scaling() == ("linear", 1.0, 1.0, 0.0) and linear.width == 201
    assert {name for name in CALL._fields if getattr(CALL, name) != getattr(linear, name)} == {
        "width", "scale", "amin", "factor", "offset"
    }  # fmt: skip


def test_routing_answers_with_named_arguments():
    x, window = torch.randn(2, 4000), torch.hann_window(400)
    call = routing.decide("stft", ("is_cpu",), (x, 400, 160, None, window, True, "reflect", False, None, True, None))
    assert call.arguments == StftArguments(400, 160, 400, 200, "reflect", False, True)
    assert call.arguments.pad == 200
    spectrum = torch.randn(2, 201, 26, dtype=torch.complex64)
    call = routing.decide("istft", ("is_cpu",), (spectrum, 400, 160, None, window, True, False, None, 4000, False))
    assert call.arguments == IstftArguments(400, 160, 400, 200, False, True, False, 4000, False)
    assert call.arguments.length == 4000
