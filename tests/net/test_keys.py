"""Where keys are found, and that a key that is not right is told without being shown."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import keyring
import keyring.backend
import keyring.errors
import pytest

from kit.errors import KeyRefused, KitError, MissingKey
from kit.net import keys

CANARY_KEY, CANARY_SECRET = "canary-key-4711", "canary-secret-4712"


class Memory(keyring.backend.KeyringBackend):
    """A keyring in memory."""

    priority = 1

    def __init__(self, entries: dict[str, str], locked: bool = False) -> None:
        self.entries, self.locked = entries, locked

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise keyring.errors.KeyringLocked("locked")
        return self.entries.get(username) if service == keys.SERVICE else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise AssertionError("the kit never writes to the keyring")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("KEY", "SECRET", "SECRET_FILE"):
        monkeypatch.delenv(f"PAPERTAPE_BINANCE_TESTNET_{name}", raising=False)
    return monkeypatch


def use(backend: keyring.backend.KeyringBackend, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(keyring.core, "_keyring_backend", backend)


def test_no_key_anywhere_is_none(environment: pytest.MonkeyPatch) -> None:
    assert keys.find("binance", "testnet") is None


def test_a_key_is_read_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PAPERTAPE_BINANCE_TESTNET_KEY", f" {CANARY_KEY}\n")
    environment.setenv("PAPERTAPE_BINANCE_TESTNET_SECRET", CANARY_SECRET)
    key = keys.find("binance", "testnet")
    assert key is not None
    assert (key.id, key.secret) == (CANARY_KEY, CANARY_SECRET)
    assert keys.find("binance", "live") is None


def test_a_secret_may_lie_in_a_file_and_pem_may_be_on_one_line(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----"
    (tmp_path / "secret.pem").write_text(pem + "\n")
    environment.setenv("PAPERTAPE_BINANCE_TESTNET_KEY", CANARY_KEY)
    environment.setenv("PAPERTAPE_BINANCE_TESTNET_SECRET_FILE", str(tmp_path / "secret.pem"))
    by_file = keys.find("binance", "testnet")
    environment.setenv("PAPERTAPE_BINANCE_TESTNET_SECRET", pem.replace("\n", "\\n"))
    by_text = keys.find("binance", "testnet")
    assert by_file is not None
    assert by_text is not None
    assert by_file.secret == by_text.secret == pem


@pytest.fixture
def dotenv(environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A ``.env`` with a key, for its owner's eyes, in the working directory."""
    environment.chdir(tmp_path)
    environment.delenv("PAPERTAPE_ENV_FILE", raising=False)
    path = tmp_path / ".env"
    name = "PAPERTAPE_BINANCE_TESTNET"
    path.write_text(f"# mine\nexport {name}_KEY={CANARY_KEY}\n{name}_SECRET='{CANARY_SECRET}'\nOTHER=${{HOME}}\n")
    path.chmod(0o600)
    return path


def test_a_key_is_read_from_dotenv_and_goes_into_no_environment(dotenv: Path) -> None:
    key = keys.find("binance", "testnet")
    assert key is not None
    assert (key.id, key.secret) == (CANARY_KEY, CANARY_SECRET)
    assert keys.whence("binance", "testnet") == ".env"
    assert CANARY_SECRET not in os.environ.values()
    assert keys.find("binance", "demo") is None
    assert keys.setting("OTHER") == "${HOME}", "nothing is expanded: secrets may hold dollars"


def test_the_environment_goes_before_dotenv_and_halves_of_both_are_not_joined(
    dotenv: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("PAPERTAPE_BINANCE_TESTNET_KEY", "another")
    with pytest.raises(MissingKey, match="the secret"):
        keys.find("binance", "testnet")
    environment.setenv("PAPERTAPE_BINANCE_TESTNET_SECRET", "one")
    key = keys.find("binance", "testnet")
    assert key is not None
    assert (key.id, key.secret) == ("another", "one")


def test_another_file_may_be_named_and_then_it_must_be_there(dotenv: Path, environment: pytest.MonkeyPatch) -> None:
    elsewhere = dotenv.rename(dotenv.with_name("my.env"))
    assert keys.find("binance", "testnet") is None
    environment.setenv("PAPERTAPE_ENV_FILE", str(elsewhere))
    assert keys.find("binance", "testnet") is not None
    elsewhere.unlink()
    with pytest.raises(MissingKey, match=r"my\.env can't be read"):
        keys.find("binance", "testnet")


def test_a_file_that_is_no_text_is_told_without_being_shown(dotenv: Path) -> None:
    dotenv.write_bytes(b"\xff\xfe canary")
    with pytest.raises(MissingKey, match=r"\.env can't be read as text") as caught:
        keys.find("binance", "testnet")
    assert caught.value.__context__ is None


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_is_no_place_for_a_secret(dotenv: Path, mode: int) -> None:
    dotenv.chmod(mode)
    with pytest.raises(KeyRefused, match=r"others on this machine can read \.env: `chmod 600 \.env`") as caught:
        keys.find("binance", "testnet")
    assert "canary" not in repr(caught.value)
    assert keys.find("binance", "demo") is None, "what holds no key of ours is nobody's business"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_file_that_git_tracks_is_no_place_for_a_secret(dotenv: Path) -> None:
    def git(*command: str) -> None:
        subprocess.run(["git", *command], cwd=dotenv.parent, check=True, capture_output=True)

    assert not keys.committable(dotenv)
    git("init")
    assert keys.find("binance", "testnet") is not None
    assert keys.committable(dotenv)
    git("add", "--force", ".env")
    with pytest.raises(KeyRefused, match=r"git tracks \.env.*make a new key"):
        keys.find("binance", "testnet")
    git("rm", "--cached", ".env")
    dotenv.with_name(".gitignore").write_text(".env\n")
    assert keys.find("binance", "testnet") is not None
    assert not keys.committable(dotenv)


def test_a_key_is_found_in_the_keyring(environment: pytest.MonkeyPatch) -> None:
    use(Memory({"binance:testnet:key": CANARY_KEY, "binance:testnet:secret": CANARY_SECRET}), environment)
    key = keys.find("binance", "testnet")
    assert key is not None
    assert key.secret == CANARY_SECRET
    assert keys.find("binance", "demo") is None


def test_a_locked_keyring_is_no_key(environment: pytest.MonkeyPatch) -> None:
    use(Memory({}, locked=True), environment)
    assert keys.find("binance", "testnet") is None


def test_a_keyring_backend_that_is_not_there_is_no_key() -> None:
    code = "from kit.net import keys; print(keys.find('binance', 'testnet'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHON_KEYRING_BACKEND": "no.such.Backend", "PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "None", done.stderr


@pytest.mark.parametrize(("half", "missing"), [("KEY", "the secret"), ("SECRET", "the key")])
def test_half_a_key_says_which_half_is_missing(environment: pytest.MonkeyPatch, half: str, missing: str) -> None:
    environment.setenv(f"PAPERTAPE_BINANCE_TESTNET_{half}", CANARY_SECRET)
    with pytest.raises(MissingKey, match=missing) as caught:
        keys.find("binance", "testnet")
    assert "PAPERTAPE_BINANCE_TESTNET_KEY" in str(caught.value)
    assert "canary" not in repr(caught.value)


def test_a_secret_file_that_cannot_be_read_is_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("PAPERTAPE_BINANCE_TESTNET_KEY", CANARY_KEY)
    environment.setenv("PAPERTAPE_BINANCE_TESTNET_SECRET_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(MissingKey, match="nowhere"):
        keys.find("binance", "testnet")


@pytest.mark.parametrize("spoiled", ["canary\nX-Other: 1", "canary key", "canäry"])
def test_what_cannot_be_a_key_is_refused_without_being_shown(environment: pytest.MonkeyPatch, spoiled: str) -> None:
    environment.setenv("PAPERTAPE_BINANCE_TESTNET_KEY", spoiled)
    environment.setenv("PAPERTAPE_BINANCE_TESTNET_SECRET", CANARY_SECRET)
    with pytest.raises(KeyRefused) as caught:
        keys.find("binance", "testnet")
    error: BaseException | None = caught.value
    while error is not None:
        assert isinstance(error, KitError)
        assert "canary" not in repr(error)
        assert "canäry" not in repr(error)
        error = error.__context__
