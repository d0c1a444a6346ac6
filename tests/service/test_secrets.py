"""Secrets at rest: keys from the environment or a file, their replacement, and what is refused."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from service.secrets import KEY_FILE, SecretError, Secrets
from service.settings import ServiceSettings

CANARY = "canary-hunter2"


def secrets_of(data_dir: Path, key: str | None = None) -> Secrets:
    return Secrets.of(ServiceSettings(data_dir=data_dir, secret_key=key))  # type: ignore[arg-type]


def test_a_secret_comes_back_and_is_not_seen_in_what_is_stored(tmp_path: Path) -> None:
    stored = secrets_of(tmp_path).encrypt(CANARY, "database d1")

    assert CANARY not in stored
    assert secrets_of(tmp_path).decrypt(stored, "database d1") == CANARY


def test_the_key_file_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        boxes = list(pool.map(lambda _: secrets_of(tmp_path), range(8)))

    stored = boxes[0].encrypt(CANARY, "p")
    assert all(box.decrypt(stored, "p") == CANARY for box in boxes)
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    secrets_of(tmp_path)
    (tmp_path / KEY_FILE).chmod(mode)

    with pytest.raises(SecretError, match="chmod 600"):
        secrets_of(tmp_path)


def test_the_key_of_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    key = Fernet.generate_key().decode()

    secrets_of(tmp_path, key)

    assert not (tmp_path / KEY_FILE).exists()


def test_the_newest_key_encrypts_and_older_ones_still_decrypt(tmp_path: Path) -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    stored = secrets_of(tmp_path, old).encrypt(CANARY, "p")

    both = secrets_of(tmp_path, f"{new}, {old}")
    again = both.encrypt(CANARY, "p")

    assert both.decrypt(stored, "p") == CANARY
    assert secrets_of(tmp_path, new).decrypt(again, "p") == CANARY
    with pytest.raises(SecretError, match="none of the keys fits"):
        secrets_of(tmp_path, new).decrypt(stored, "p")


def test_a_secret_is_of_use_for_its_purpose_alone(tmp_path: Path) -> None:
    box = secrets_of(tmp_path)

    with pytest.raises(SecretError, match="database d2 cannot be decrypted: it was stored for something else"):
        box.decrypt(box.encrypt(CANARY, "database d1"), "database d2")


def test_a_secret_that_was_changed_is_refused_without_quoting_anything(tmp_path: Path) -> None:
    key = Fernet.generate_key().decode()
    box = secrets_of(tmp_path, key)
    stored = box.encrypt(CANARY, "p")

    for wrong in (stored[:-4] + "AAAA", CANARY, ""):
        with pytest.raises(SecretError, match="TUNEWRIGHT_SECRET_KEY") as refused:
            box.decrypt(wrong, "p")
        assert not any(word in str(refused.value) for word in (CANARY, key, stored))
        assert refused.value.__cause__ is None


@pytest.mark.parametrize("key", [CANARY, "x" * 44, " , "])
def test_what_is_no_key_is_refused_without_quoting_it(tmp_path: Path, key: str) -> None:
    with pytest.raises(SecretError, match="make one with") as refused:
        secrets_of(tmp_path, key)

    assert CANARY not in str(refused.value)


def test_no_directory_to_keep_a_key_in_is_said(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="set TUNEWRIGHT_SECRET_KEY"):
        secrets_of(tmp_path / "missing")


def test_settings_do_not_show_the_key(tmp_path: Path) -> None:
    settings = ServiceSettings(data_dir=tmp_path, secret_key=CANARY)  # type: ignore[arg-type]

    assert CANARY not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"
