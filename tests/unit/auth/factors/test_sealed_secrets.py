"""Secrets open with the key they are under, and for their owner alone."""

from __future__ import annotations

import pytest

from parley.auth.factors.sealed_secrets import SecretSeal, UnknownKey

OLD, NEW = b"o" * 32, b"n" * 32


def test_a_secret_opens_for_its_owner_alone() -> None:
    seal = SecretSeal([NEW])
    sealed = seal.seal(b"secret", "u_1")
    assert b"secret" not in sealed.data
    assert sealed.data != seal.seal(b"secret", "u_1").data
    assert seal.open(sealed, "u_1") == b"secret"
    with pytest.raises(UnknownKey):
        seal.open(sealed, "u_2")


def test_older_keys_open_and_the_first_one_seals() -> None:
    sealed = SecretSeal([OLD]).seal(b"secret", "u_1")
    both = SecretSeal([NEW, OLD])
    assert both.open(sealed, "u_1") == b"secret"
    assert both.seal(b"secret", "u_1").key == SecretSeal([NEW]).current
    with pytest.raises(UnknownKey):
        SecretSeal([NEW]).open(sealed, "u_1")


def test_what_was_changed_does_not_open() -> None:
    seal = SecretSeal([NEW])
    sealed = seal.seal(b"secret", "u_1")
    for place in range(len(sealed.data)):
        data = bytearray(sealed.data)
        data[place] ^= 1
        with pytest.raises(UnknownKey):
            seal.open(sealed._replace(data=bytes(data)), "u_1")
