"""Lines of a file, of which every byte is kept."""

import hashlib

import pytest

from tf_ls.inference.text_lines import LineReader, one_line


@pytest.fixture
def read(tmp_path):
    def read(content: bytes) -> LineReader:
        (tmp_path / "text").write_bytes(content)
        return LineReader(tmp_path / "text")

    return read


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\r\n\r\nb\r\n", ["a", "", "b"]),
        (b"a\r\nb\nc", ["a", "b", "c"]),
        (b"a\rb\n", ["a\rb"]),  # an old Macintosh's line break is none
        ("\ufeffä\u2028b\x0b\x0cc\x85".encode() + b"\n", ["\ufeffä\u2028b\x0b\x0cc\x85"]),
    ],
)
def test_lines(read, content, texts):
    lines = list(read(content))
    assert [line.text for line in lines] == texts
    assert b"".join(line.text.encode() + line.ending for line in lines) == content


@pytest.mark.parametrize("text", ["", " ", "\t ", "\u3000"])
def test_blank_lines(read, text):
    assert next(iter(read(text.encode() + b"\n"))).is_blank


def test_digest(read):
    content = b"a\r\nb\n\nc"
    reader = read(content)
    list(reader)
    assert reader.digest == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_what_is_no_utf8_is_refused_with_its_line(read, bad):
    with pytest.raises(ValueError, match=rf"line 3: not UTF-8 \(byte 4 .* 0x{bad[0]:02x}"):
        list(read(b"a\r\nb\nok " + bad + b"\nc\n"))


@pytest.mark.parametrize(
    ("text", "line"),
    [("a b", "a b"), ("a\nb\r\nc\rd", "a b c d"), ("\n", " "), ("a\ud800b", "a?b")],
)
def test_one_line(text, line):
    assert one_line(text) == line
