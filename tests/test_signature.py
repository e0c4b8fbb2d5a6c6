"""Signed bundles: who is trusted, what is refused, and what a device does without cryptography."""

import base64
import subprocess
import sys
from pathlib import Path

import bundles
import pytest

from agent import archive, signature
from agent import bundle as bundle_files
from agent.errors import BundleError

pytest.importorskip("cryptography", reason="signing needs the extra 'signing'")
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# RFC 8032, section 7.1, test 2.
SECRET = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
MESSAGE = bytes.fromhex("72")
SIGNED = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
KEY = base64.b64encode(SECRET).decode()
TRUSTED = base64.b64encode(PUBLIC).decode()
OTHER_KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_TRUSTED = signature.public_key(OTHER_KEY, where="test")
KEY_ID = "39f713d0a644253f"  # sha256sum of the 32 public bytes


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("signed")
    return bundles.make_bundle(folder, count=40, vectors=True, key=KEY).read_bytes()


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return bundles.make_bundle(tmp_path_factory.mktemp("unsigned"), count=40, vectors=True).read_bytes()


def refusal(data: bytes, *keys: str) -> str:
    with pytest.raises(BundleError) as caught:
        bundle_files.read(data, name="b.tflite", trusted_keys=keys)
    return str(caught.value)


def replaced(data: bytes, name: str, content: bytes) -> bytes:
    opened = archive.read(data, where="test")
    files = {entry: opened.read(entry) for entry in opened.entries} | {name: content}
    return archive.append(data[: opened.start], files)


def test_the_arithmetic_is_that_of_the_rfc() -> None:
    assert signature.sign(MESSAGE, KEY, where="k") == PUBLIC + SIGNED
    assert signature.public_key(KEY, where="k") == TRUSTED
    assert signature.verify(MESSAGE, PUBLIC + SIGNED, [TRUSTED], where="s") == KEY_ID


def test_a_trusted_signature_is_named(signed: bytes) -> None:
    read = bundle_files.read(signed, name="b.tflite", trusted_keys=[OTHER_TRUSTED, TRUSTED])
    assert (read.signed_by, read.signature) == (KEY_ID, KEY_ID)


def test_without_keys_a_signature_is_reported_but_not_trusted(signed: bytes, unsigned: bytes) -> None:
    read = bundle_files.read(signed, name="b.tflite")
    assert (read.signed_by, read.signature) == (None, KEY_ID)
    read = bundle_files.read(unsigned, name="b.tflite")
    assert (read.signed_by, read.signature) == (None, None)


def test_unsigned_foreign_and_altered_bundles_are_refused(signed: bytes, unsigned: bytes) -> None:
    where = "b.tflite: litewatch/signature"
    assert refusal(unsigned, TRUSTED) == (f"{where}: not signed, and model.trusted_keys demands a signature")
    other = signature.key_id(base64.b64decode(OTHER_TRUSTED))
    assert refusal(signed, OTHER_TRUSTED) == (
        f"{where}: signed by key {KEY_ID}, which is not trusted (trusted: {other})"
    )
    manifest = archive.read(signed, where="b").read(bundle_files.MANIFEST)
    altered = manifest.replace(b'"training_run": null', b'"training_run": "42"')
    assert altered != manifest
    assert refusal(replaced(signed, bundle_files.MANIFEST, altered), TRUSTED) == (
        f"{where}: the signature is not that of key {KEY_ID}: altered"
    )
    # A forger who signs with his own key but claims to be ours.
    forged = PUBLIC + signature.sign(manifest, OTHER_KEY, where="k")[32:]
    assert refusal(replaced(signed, bundle_files.SIGNATURE, forged), TRUSTED) == (
        f"{where}: the signature is not that of key {KEY_ID}: altered"
    )
    assert refusal(replaced(signed, bundle_files.SIGNATURE, b"x")) == f"{where}: expected 96 bytes, got 1"


def test_without_cryptography_a_device_with_keys_refuses(
    signed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    assert refusal(signed, TRUSTED) == (
        "b.tflite: litewatch/signature: the signature cannot be checked, the package cryptography is "
        "missing: install litewatch[signing]"
    )
    assert bundle_files.read(signed, name="b.tflite").signature == KEY_ID


def test_keys_may_be_pem_as_openssl_writes_them(signed: bytes) -> None:
    pem = Ed25519PublicKey.from_public_bytes(PUBLIC).public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    assert signature.parse_public_key(pem.decode(), where="k") == PUBLIC
    assert bundle_files.read(signed, name="b", trusted_keys=[pem.decode()]).signed_by == KEY_ID


def test_a_new_key_signs_and_its_public_half_verifies() -> None:
    private = signature.new_private_key()
    public = signature.public_key(private, where="k")
    made = signature.sign(b"manifest", private, where="k")
    assert signature.verify(b"manifest", made, [public], where="s") == signature.key_id(
        base64.b64decode(public)
    )
    assert signature.new_private_key() != private


@pytest.mark.parametrize(
    "text", ["", "hello", TRUSTED[:-4], "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]
)
def test_a_broken_trusted_key_is_named_by_its_place(signed: bytes, text: str) -> None:
    assert refusal(signed, TRUSTED, text) == (
        "model.trusted_keys[1]: expected an Ed25519 public key (base64 of its 32 bytes, or PEM)"
    )


@pytest.mark.parametrize(
    "text", ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_a_broken_private_key_is_named(text: str) -> None:
    with pytest.raises(BundleError, match=r"^k\.pem: expected an Ed25519 private key"):
        signature.sign(b"", text, where="k.pem")


def test_openssl_accepts_the_signature(signed: bytes, tmp_path: Path) -> None:
    """Anyone can check a bundle without our code: docs/bundle.md shows these commands."""
    opened = archive.read(signed, where="b")
    (tmp_path / "manifest.json").write_bytes(opened.read(bundle_files.MANIFEST))
    (tmp_path / "signature").write_bytes(opened.read(bundle_files.SIGNATURE)[32:])
    public = Ed25519PrivateKey.from_private_bytes(SECRET).public_key()
    (tmp_path / "public.pem").write_bytes(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "public.pem"]
    try:
        done = subprocess.run(
            [*command, "-sigfile", "signature", "-in", "manifest.json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("skipped: no openssl command")
    assert "Signature Verified Successfully" in done.stdout + done.stderr
