"""Tests that end in every way a test can end; `test_jobs` alone runs them."""

import os
from types import SimpleNamespace

import pytest

ONE = SimpleNamespace(name="tensorrt", precision="fp16")
OTHER = SimpleNamespace(name="torch", precision="bf16")


@pytest.mark.parametrize(("dtype", "batch"), [("fp16", 8)])
def test_right(record_property, dtype, batch):
    record_property("value", 0.5)
    record_property("unit", "of what is allowed")
    record_property("pid", os.getpid())


def test_gradient():
    assert 3.25 == 3.0, "the gradient is off"


def test_after_a_wrong_value(record_property):
    record_property("pid", os.getpid())


def test_lacks():
    pytest.skip("no such GPU")


@pytest.mark.skipif(True, reason="PyTorch sees no CUDA device")
def test_is_marked():
    raise AssertionError


def test_loses_the_gpu():
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_after_a_lost_gpu(record_property):
    record_property("pid", os.getpid())


def test_dies():
    os.write(2, b"terminate called\n")
    os.abort()


@pytest.mark.parametrize("subject", [ONE, OTHER], ids=lambda subject: subject.name)
def test_after_a_death(record_property, subject):
    record_property("pid", os.getpid())
