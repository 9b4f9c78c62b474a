"""Packs a wheel from an extension module that is already built, for tests: with the standard library
alone, and without the second build that maturin makes for releases.

    python pack_wheel.py target/debug/lib_prl.so DIRECTORY

Prints the wheel's path.
"""

import base64
import hashlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
NAME = "prl_recommender"


def version() -> str:
    """The version of the workspace."""
    manifest = (HERE / "../../Cargo.toml").read_text()
    return re.search(r'^version = "([^"]+)"', manifest, re.MULTILINE)[1]


def tag() -> str:
    """The tag: Python's stable ABI from 3.10, on this platform."""
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return f"cp310-abi3-{platform}"


def stripped(extension: Path, into: Path) -> Path:
    """The extension without its debug information, if there is a program that removes it."""
    copy = into / "_prl.abi3.so"
    if shutil.which("strip") is None:
        shutil.copy(extension, copy)
    else:
        subprocess.run(["strip", "--strip-debug", "-o", copy, extension], check=True)
    return copy


def pack(extension: Path, out: Path) -> Path:
    """Writes the wheel into `out`; its path."""
    own = version()
    info = f"{NAME}-{own}.dist-info"
    wheel = out / f"{NAME}-{own}-{tag()}.whl"
    metadata = f"Metadata-Version: 2.1\nName: {NAME.replace('_', '-')}\nVersion: {own}\nRequires-Python: >=3.10\n"
    files: list[tuple[str, bytes]] = [
        (f"{info}/METADATA", metadata.encode()),
        (f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: pack_wheel\nRoot-Is-Purelib: false\nTag: {tag()}\n".encode()),
        (f"{info}/entry_points.txt", b"[console_scripts]\nprl = prl._cli:main\n"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        files.append(("prl/_prl.abi3.so", stripped(extension, Path(folder)).read_bytes()))
    for source in sorted((HERE / "python/prl").iterdir()):
        if source.suffix in (".py", ".pyi") or source.name == "py.typed":
            files.append((f"prl/{source.name}", source.read_bytes()))
    records = []
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in files:
            archive.writestr(name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            records.append(f"{name},sha256={digest},{len(content)}")
        records.append(f"{info}/RECORD,,")
        archive.writestr(f"{info}/RECORD", "\n".join(records) + "\n")
    return wheel


if __name__ == "__main__":
    print(pack(Path(sys.argv[1]), Path(sys.argv[2])))
