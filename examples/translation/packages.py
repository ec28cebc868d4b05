"""Gets translation catalogues out of the packages of Debian, Ubuntu and their relatives.

Packages are downloaded and unpacked in a folder of this program. Nothing is installed.
"""

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# Programs with many translated sentences. {language} is the code of the language in lower case,
# with hyphens. Not every distribution has every package: those that are missing are left out.
PACKAGES = """
anjuta-common apt aptitude-common ardour-data audacity-data balsa bash binutils-common
claws-mail-i18n coreutils darktable dia-common digikam-data dpkg dpkg-dev e2fsprogs
epiphany-browser-data evince-common evolution-common evolution-data-server-common filezilla-common
findutils gcc-12-locales gcc-13-locales gcc-14-locales geany-common gedit-common gimp-data git
gnome-control-center-data gnome-shell-common gnome-software-common gnucash-common gnumeric-common
gnupg-l10n gramps grub-common hexchat-common homebank-data hugin-data inkscape kate5-data
kate6-data kdenlive-data kmymoney-common krita-l10n libc-l10n libglib2.0-data libgtk-3-common
libgtk-4-common libreoffice-l10n-{language} language-pack-{language}-base
language-pack-gnome-{language}-base lyx-common mc-data nautilus-data pidgin-data remmina-common
rhythmbox-data shotwell-common synaptic tar totem-common util-linux-locales virt-manager vlc-l10n
wget xournalpp yelp
"""


class Package(NamedTuple):
    """What apt knows about a package."""

    name: str
    version: str
    size: int


def default_packages(languages: Sequence[str]) -> list[str]:
    """The names above for `languages`, English left out."""
    codes = [language.lower().replace("_", "-") for language in languages if language != "en"]
    names = [
        pattern.format(language=code) for pattern in PACKAGES.split() for code in codes or ["en"]
    ]
    return list(dict.fromkeys(names))


def find_packages(names: Sequence[str]) -> list[Package]:
    """Those of `names` that apt can download.

    Raises:
      RuntimeError: apt is missing, or knows none of them.
    """
    for program in ("apt-cache", "apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise RuntimeError(
                f"{program} is missing: this needs Debian, Ubuntu or a relative of them. "
                "Elsewhere, give a folder of .mo or .po files with --catalogues."
            )
    # The lists of a fresh system or container are empty.
    found = _known(names) or (_update_lists() and _known(names))
    if not found:
        raise RuntimeError(
            "apt knows none of the packages with translations: update its lists with "
            "`apt-get update` (as root, or with sudo) and try again."
        )
    return found


def _known(names: Sequence[str]) -> list[Package]:
    shown = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    ).stdout
    found = {}
    for record in shown.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Size): (.*)$", record, re.MULTILINE))
        if len(fields) == 3:
            package = Package(fields["Package"], fields["Version"], int(fields["Size"]))
            found.setdefault(package.name, package)
    return [found[name] for name in names if name in found]


def _update_lists() -> bool:
    """Updates apt's lists where this user may; returns whether that went well."""
    command = ["apt-get", "-qq", "update"]
    if os.geteuid() != 0:
        if shutil.which("sudo") is None:
            return False
        command = ["sudo", "-n", *command]
    print("updating the lists of apt", flush=True)
    return subprocess.run(command, check=False).returncode == 0


def download(package: Package, folder: Path) -> Path:
    """Downloads a package into `folder` unless it is there, and returns its path.

    Raises:
      RuntimeError: the download failed.
    """
    path = folder / f"{package.name}_{package.version.replace(':', '%3a')}.deb"
    if path.exists():
        return path
    # apt writes under the final name from the start, so it works in a folder of its own and only
    # complete files leave it.
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    completed = subprocess.run(
        ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package.name],
        cwd=partial,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    files = list(partial.glob("*.deb"))
    if completed.returncode != 0 or len(files) != 1:
        raise RuntimeError(
            f"apt-get could not download {package.name} (`apt-get update` may help):\n"
            f"{completed.stdout.strip()}"
        )
    files[0].replace(path)
    partial.rmdir()
    return path


def unpack_catalogues(deb: Path, languages: Sequence[str], folder: Path) -> int:
    """Unpacks the catalogues of `languages` in a package into `folder`; returns how many.

    Raises:
      RuntimeError: the package cannot be read.
    """
    wanted = re.compile(
        r"(?:^|/)(" + "|".join(map(re.escape, languages)) + r")/LC_MESSAGES/[^/]+\.mo$"
    )
    count = 0
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE
    ) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    match = wanted.search(member.name)
                    if match and member.isfile():
                        target = folder / match.group(1) / "LC_MESSAGES" / Path(member.name).name
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(archive.extractfile(member).read())
                        count += 1
        except tarfile.TarError as error:
            raise RuntimeError(
                f"{deb} cannot be read ({error}): delete it and try again"
            ) from error
        process.stdout.read()
    if process.returncode != 0:
        raise RuntimeError(f"{deb} cannot be read: delete it and try again")
    return count
