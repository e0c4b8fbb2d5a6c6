"""The last config and bundle that this device ran well with, kept in its state directory.

A bad new one must not silence a device that nobody can visit: it goes on with these. They are
written only when they change, whole or not at all, and verified again like any other when used.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

CONFIG, BUNDLE, OVERRIDE, IDENTITY = "agent.yaml", "bundle.tflite", "override.yaml", "manifest.sha256"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What stands in the folder; ``override`` is None where no preprocessing was forced."""

    text: str
    bundle: Path
    override: Path | None


class LastGood:
    """A folder of its own below the state directory; nothing is made before ``keep``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> Kept | None:
        """None when nothing was kept, or not the whole of it."""
        bundle, override = self._folder / BUNDLE, self._folder / OVERRIDE
        try:
            text = (self._folder / CONFIG).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
        if not bundle.is_file():
            return None
        return Kept(text=text, bundle=bundle, override=override if override.is_file() else None)

    def keep(self, text: str, *, bundle: Path, manifest_sha256: str, override: Path | None) -> bool:
        """Keep these; whether anything had to be written. Raises OSError."""
        forced = override.read_bytes() if override else None
        same_bundle = self._bytes(IDENTITY) == manifest_sha256.encode() and (self._folder / BUNDLE).is_file()
        if same_bundle and self._bytes(CONFIG) == text.encode() and self._bytes(OVERRIDE) == forced:
            return False
        self._folder.mkdir(parents=True, exist_ok=True)
        # Without its config the folder counts as empty: a cut in the middle leaves no mixture.
        (self._folder / CONFIG).unlink(missing_ok=True)
        self._sync()
        if not same_bundle:
            self._copy(bundle)
            self._write(IDENTITY, manifest_sha256.encode())
        if forced is None:
            (self._folder / OVERRIDE).unlink(missing_ok=True)
        else:
            self._write(OVERRIDE, forced)
        self._sync()
        self._write(CONFIG, text.encode())
        self._sync()
        return True

    def _bytes(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except OSError:
            return None

    def _copy(self, bundle: Path) -> None:
        fresh = self._folder / f"{BUNDLE}.new"
        with bundle.open("rb") as source, fresh.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            target.flush()
            os.fsync(target.fileno())
        fresh.replace(self._folder / BUNDLE)

    def _write(self, name: str, content: bytes) -> None:
        fresh = self._folder / f"{name}.new"
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._folder / name)

    def _sync(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
