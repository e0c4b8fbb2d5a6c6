"""Ed25519 signatures (RFC 8032) of a bundle's manifest, and the keys they need.

A signature file is the signer's raw 32-byte public key followed by the 64-byte signature. A key is
known by its *key id*: the first 16 hex digits of the SHA-256 of the public key. The key inside a
file says only who claims to have signed; trust comes from the keys the device was given.

``cryptography`` (extra ``signing``) is imported only when something is signed or checked.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.errors import BundleError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_BYTES = 32
SIGNATURE_BYTES = 64
_SPKI = bytes.fromhex("302a300506032b6570032100")
"""What precedes the 32 bytes of an Ed25519 key in a DER public key (RFC 8410, section 4)."""
_INSTALL = "the package cryptography is missing: install litewatch[signing]"


def key_id(public_key: bytes) -> str:
    """The short name of a key."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def parse_public_key(text: str, *, where: str) -> bytes:
    """The raw key from base64 of its 32 bytes, or from a PEM public key. Raises BundleError."""
    lines = text.strip().splitlines()
    pem = bool(lines) and lines[0].startswith("-----BEGIN PUBLIC KEY")
    try:
        raw = base64.b64decode("".join(lines[1:-1] if pem else lines), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if pem and raw.startswith(_SPKI):
        raw = raw.removeprefix(_SPKI)
    if len(raw) != KEY_BYTES:
        raise BundleError(f"{where}: expected an Ed25519 public key (base64 of its 32 bytes, or PEM)")
    return raw


def claimed_by(signature: bytes, *, where: str) -> str:
    """The key id a signature file names; nothing is verified. Raises BundleError when malformed."""
    if len(signature) != KEY_BYTES + SIGNATURE_BYTES:
        raise BundleError(f"{where}: expected {KEY_BYTES + SIGNATURE_BYTES} bytes, got {len(signature)}")
    return key_id(signature[:KEY_BYTES])


def verify(message: bytes, signature: bytes | None, trusted_keys: Sequence[str], *, where: str) -> str:
    """The id of the trusted key that signed ``message``.

    Raises BundleError when there is no signature, its key is not trusted, the message was altered,
    or ``cryptography`` is not installed: a device with trusted keys never loads what it cannot check.
    """
    keys = [
        parse_public_key(text, where=f"model.trusted_keys[{index}]")
        for index, text in enumerate(trusted_keys)
    ]
    if signature is None:
        raise BundleError(f"{where}: not signed, and model.trusted_keys demands a signature")
    claimed = claimed_by(signature, where=where)
    if signature[:KEY_BYTES] not in keys:
        known = ", ".join(map(key_id, keys))
        raise BundleError(f"{where}: signed by key {claimed}, which is not trusted (trusted: {known})")
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise BundleError(f"{where}: the signature cannot be checked, {_INSTALL}") from None
    try:
        Ed25519PublicKey.from_public_bytes(signature[:KEY_BYTES]).verify(signature[KEY_BYTES:], message)
    except (InvalidSignature, ValueError):
        raise BundleError(f"{where}: the signature is not that of key {claimed}: altered") from None
    return claimed


def sign(message: bytes, private_key: str, *, where: str) -> bytes:
    """The signature file for ``message``. ``private_key`` as in ``parse_private_key``."""
    key = _private(private_key, where)
    return _public_bytes(key) + key.sign(message)


def public_key(private_key: str, *, where: str) -> str:
    """The public half of a private key, as base64: what ``model.trusted_keys`` takes."""
    return base64.b64encode(_public_bytes(_private(private_key, where))).decode()


def new_private_key() -> str:
    """A fresh private key as PEM (PKCS 8, not encrypted)."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    except ImportError:
        raise BundleError(f"a key cannot be made, {_INSTALL}") from None
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _private(text: str, where: str) -> "Ed25519PrivateKey":
    """A private key from PEM (PKCS 8, not encrypted) or base64 of its raw 32 bytes."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise BundleError(f"{where}: nothing can be signed, {_INSTALL}") from None
    try:
        if "-----BEGIN" in text:
            key = load_pem_private_key(text.encode(), password=None)
        else:
            key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(text.strip(), validate=True))
    except (ValueError, TypeError, binascii.Error):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{where}: expected an Ed25519 private key (PEM without password, or base64)")
    return key


def _public_bytes(key: "Ed25519PrivateKey") -> bytes:
    return key.public_key().public_bytes_raw()
