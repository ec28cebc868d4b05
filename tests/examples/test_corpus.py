"""The corpus of the translation example, from catalogues written by hand."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "translation"
sys.path.insert(0, str(EXAMPLE))

import corpus  # noqa: E402
import filters  # noqa: E402
import packages  # noqa: E402
from catalogues import Entry, read_catalogue  # noqa: E402
from corpus import Pair  # noqa: E402

HEADER = "Content-Type: text/plain; charset={}\n"

PO = r"""
# A comment
msgid ""
msgstr ""
"Project-Id-Version: x\n"
"Content-Type: text/plain; charset=UTF-8\n"

#: somewhere.c:1
msgid "Open the file"
msgstr "Öffne die Datei"

msgctxt "menu"
msgid ""
"Close "
"the \"window\""
msgstr "Schließe das \"Fenster\""

#, fuzzy, c-format
msgid "Doubtful text"
msgstr "Zweifelhaft"

msgid "One file"
msgid_plural "%d files"
msgstr[0] "Eine Datei"
msgstr[1] "%d Dateien"

msgid "Not translated"
msgstr ""

#~ msgid "Obsolete text"
#~ msgstr "Veraltet"
"""


def compile_catalogue(entries: dict, charset: str = "UTF-8", order: str = "<") -> bytes:
    """A .mo file: keys with their context and plural form as gettext joins them."""
    entries = {"": HEADER.format(charset), **entries}
    keys = sorted(entries)
    strings = [k.encode(charset) for k in keys] + [entries[k].encode(charset) for k in keys]
    tables, data = b"", b""
    start = 28 + 8 * len(strings)
    for string in strings:
        tables += struct.pack(f"{order}2I", len(string), start + len(data))
        data += string + b"\0"
    count = len(keys)
    head = struct.pack(f"{order}7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0)
    return head + tables + data


def test_po(tmp_path):
    path = tmp_path / "de.po"
    path.write_text(PO, encoding="utf-8")
    assert read_catalogue(path) == [
        Entry("", "Open the file", "Öffne die Datei"),
        Entry("menu", 'Close the "window"', 'Schließe das "Fenster"'),
    ]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("charset", ["UTF-8", "ISO-8859-15"])
def test_mo(tmp_path, order, charset):
    path = tmp_path / "x.mo"
    entries = {
        "Open the file": "Öffne die Datei",
        "menu\x04Close it": "Schließe es",
        "One file\0%d files": "Eine Datei\0%d Dateien",
        "Not translated": "",
    }
    path.write_bytes(compile_catalogue(entries, charset, order))
    assert sorted(read_catalogue(path)) == [
        Entry("", "Open the file", "Öffne die Datei"),
        Entry("menu", "Close it", "Schließe es"),
    ]


@pytest.mark.parametrize("keep", [0, 3, 20, 40, 100])
def test_damaged_mo(tmp_path, keep):
    path = tmp_path / "x.mo"
    path.write_bytes(compile_catalogue({"Open the file": "Öffne die Datei"})[:keep])
    with pytest.raises(ValueError, match="catalogue"):
        read_catalogue(path)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("Open", "Öffnen"),  # one word
        ("Open the <b>file</b>", "Öffne die <b>Datei</b>"),
        ("Open the &quot;file", "Öffne die Datei"),
        ("Open %s now", "Öffne %s jetzt"),
        ("Open %(name)s now", "Öffne %(name)s jetzt"),
        ("Open {} now", "Öffne {} jetzt"),
        ("Open ${HOME} now", "Öffne ${HOME} jetzt"),
        ("See https://example.org", "Siehe dort"),
        ("open|the file", "Öffne die Datei"),
        ("set my_own_variable", "setze Variable"),
        ("First part\n\nsecond part", "Erster Teil zweiter Teil"),
        ("Media player", "Media player"),  # not translated
        ("12:30 4711 + 1", "12:30 4711 plus"),  # no letters
        ("Open the \u2764 file", "Öffne die Datei"),
        ("Open it", "Öffne diese eine Datei hier und jetzt und dann auch noch die anderen"),
        ("word " * 61, "Wort " * 61),
    ],
)
def test_no_sentences(source, target):
    assert filters.clean_pair(source, target) is None


@pytest.mark.parametrize(
    ("source", "target", "cleaned"),
    [
        ("Open the _file", "_Datei öffnen", ("Open the file", "Datei öffnen")),
        ("Open the &file", "&Datei öffnen", ("Open the file", "Datei öffnen")),
        ("Open the ~file...", "~Datei öffnen...", ("Open the file...", "Datei öffnen...")),
        ("Open the file(_F)", "Datei öffnen(_D)", ("Open the file", "Datei öffnen")),
        ("Open\nthe  file\u2026", "Datei\u00a0öffnen", ("Open the file...", "Datei öffnen")),
    ],
)
def test_cleaning(source, target, cleaned):
    assert filters.clean_pair(source, target) == cleaned


def test_languages_without_latin_letters_or_spaces():
    assert filters.clean_pair("Open the file", "Открыть файл", target_language="ru")
    assert filters.clean_pair("Open the file", "फ़ाइल खोलें", target_language="hi")
    text = "Open this file in the other window again"
    assert filters.clean_pair(text, "在另一个窗口中再次打开此文件", target_language="zh_CN")


def test_first_translation_of_a_sentence_stays():
    pairs = [Pair("Open it.", "Öffne es."), Pair("open it", "Mach es auf"), Pair("x", "y")]
    assert corpus.filter_pairs(pairs) == [Pair("Open it.", "Öffne es.")]


def sentences(count: int) -> list[Pair]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = [a + b + c for a in letters for b in letters for c in letters][:count]
    return [Pair(f"we call it {n} today", f"wir nennen es heute {n}") for n in names]


def test_split_depends_on_the_sentences_alone():
    pairs = sentences(3000)
    split = corpus.split_pairs(pairs, dev=50, test=100)
    assert [len(part) for part in split] == [2850, 50, 100]
    assert sorted(pairs) == sorted([*split.train, *split.dev, *split.test])
    assert corpus.split_pairs(pairs[::-1], dev=50, test=100) == split
    # A pair more moves at most one pair into or out of each held-out part.
    more = corpus.split_pairs([*pairs, Pair("this is a new one", "neu")], dev=50, test=100)
    assert len(set(more.test) & set(split.test)) >= 99


def test_small_corpus_is_not_held_out_as_a_whole():
    split = corpus.split_pairs(sentences(60))
    assert [len(part) for part in split] == [54, 2, 4]


def test_no_short_sentence_is_held_out_and_no_held_out_sentence_trained():
    pairs = [*sentences(400), *(Pair(f"it {p.target}"[:9], p.target) for p in sentences(300))]
    held_out = corpus.split_pairs(pairs)
    copies = [Pair(p.source.upper() + " 2!", p.target) for p in held_out.dev + held_out.test]
    split = corpus.split_pairs([*pairs, *copies])
    tested = split.dev + split.test
    assert all(len(pair.source.split()) >= 4 for pair in tested)
    assert not {filters.fold(p.source) for p in split.train} & {
        filters.fold(p.source) for p in tested
    }


def write_catalogues(folder: Path) -> None:
    for language, words in (("de", "wir nennen es heute"), ("fr", "nous disons ici")):
        entries = {p.source: f"{words} {p.source.split()[3]}" for p in sentences(40)}
        path = folder / language / "LC_MESSAGES" / "some.mo"
        path.parent.mkdir(parents=True)
        path.write_bytes(compile_catalogue(entries))
    (folder / "some.de.po").write_text(PO, encoding="utf-8")
    (folder / "de" / "LC_MESSAGES" / "broken.mo").write_bytes(b"nothing")


def test_catalogues_of_a_language_and_of_two(tmp_path, capsys):
    write_catalogues(tmp_path)
    english_german = set(corpus.catalogue_pairs([tmp_path], "en", "de"))
    assert len(english_german) == 42
    assert Pair("Open the file", "Öffne die Datei") in english_german
    assert "broken.mo is left out" in capsys.readouterr().err
    german_english = set(corpus.catalogue_pairs([tmp_path], "de", "en"))
    assert german_english == {Pair(*reversed(pair)) for pair in english_german}
    german_french = set(corpus.catalogue_pairs([tmp_path], "de", "fr"))
    assert len(german_french) == 40
    assert Pair("wir nennen es heute aab", "nous disons ici aab") in german_french


def test_command_line(tmp_path):
    write_catalogues(tmp_path / "in")
    command = [sys.executable, str(EXAMPLE / "corpus.py"), str(tmp_path / "out")]
    command += ["--catalogues", str(tmp_path / "in")]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "train 39  dev 1  test 2" in first.stdout
    for side in ("source", "target"):
        files = (tmp_path / "out").glob(f"*.{side}")
        assert sum(len(file.read_text().splitlines()) for file in files) == 42
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "already" in again.stdout
    failed = subprocess.run([*command[:-1], "/none"], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.strip().endswith("/none is no folder")


def test_package_names_follow_the_language():
    names = packages.default_packages(["pt_BR"])
    assert "libreoffice-l10n-pt-br" in names
    assert len(names) == len(set(names))


def test_without_apt_there_is_one_clear_sentence(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="--catalogues"):
        packages.find_packages(["bash"])
