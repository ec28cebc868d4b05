"""Protocol Buffers' files against its own implementation, and what is refused."""

import struct

import numpy as np
import pytest
from lightseq_messages import FAMILIES as MESSAGES
from lightseq_messages import fill
from small_models import assert_same, small_model

from tf_ls import files
from tf_ls.files import protobuf_file, wire

FAMILIES = list(MESSAGES)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pb"


def read_bytes(path, data, family="transformer"):
    path.write_bytes(data)
    return files.read(path, family)


def message_of(family="transformer"):
    return fill(MESSAGES[family](), small_model(family, own=False))


# The same bytes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_are_those_of_protocol_buffers(path, family):
    files.write(small_model(family, own=False), path)
    assert path.read_bytes() == message_of(family).SerializeToString(deterministic=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_protocol_buffers_wrote(path, family):
    read = read_bytes(path, message_of(family).SerializeToString(), family)
    assert_same(read, small_model(family, own=False))


@pytest.mark.parametrize("family", FAMILIES)
def test_lightseq_skips_what_it_does_not_have(path, family):
    model = small_model(family)
    files.write(model, path)
    message = MESSAGES[family].FromString(path.read_bytes())
    message.DiscardUnknownFields()
    assert message == fill(MESSAGES[family](), model)


def test_settings_of_any_value(path):
    model = small_model("transformer")
    model.settings.update(length_penalty=-0.7, multilg_type=-(2**31), extra_decode_length=2**31 - 1)
    model.settings.update(sampling_method="", use_gelu=False, topk=0, topp=0.0)
    files.write(model, path)
    message = MESSAGES["transformer"].FromString(path.read_bytes())
    assert message.model_conf.multilg_type == -(2**31)
    assert message.model_conf.length_penalty == np.float32(-0.7)
    read = files.read(path, "transformer")
    assert read.settings["length_penalty"] == np.float32(-0.7)
    assert read.settings["multilg_type"] == -(2**31)
    assert not {"sampling_method", "use_gelu", "topk", "topp"} & read.settings.keys()
    assert read.setting("sampling_method") == "beam_search"
    assert read.setting("use_gelu") is False


# What other writers may do ------------------------------------------------------------------------


def field(number, data):
    return wire.encode_header(number, len(data)) + data


def test_numbers_that_are_not_packed(path):
    message = message_of()
    layer = message.encoder_stack[0]
    kernel = list(layer.ffn_first_kernel)
    layer.ClearField("ffn_first_kernel")
    unpacked = b"".join(wire.encode_key(9, wire.FIXED32) + struct.pack("<f", x) for x in kernel)
    layer_data = layer.SerializeToString() + unpacked
    layers = [layer_data, message.encoder_stack[1].SerializeToString()]
    message.ClearField("encoder_stack")
    data = message.SerializeToString() + b"".join(field(2, layer) for layer in layers)
    assert_same(read_bytes(path, data), small_model("transformer", own=False))


def test_numbers_and_messages_in_pieces(path):
    """Repeated fields are joined, of others the last one counts."""
    message = message_of()
    whole = message.trg_embedding.SerializeToString()
    kernel = list(message.trg_embedding.token_embedding)
    message.trg_embedding.ClearField("token_embedding")
    rest = message.trg_embedding.SerializeToString()
    assert rest != whole
    message.ClearField("trg_embedding")
    message.model_conf.head_num = 1
    pieces = [
        field(1, struct.pack(f"<{len(part)}f", *part)) for part in (kernel[:3], [], kernel[3:])
    ]
    data = field(3, pieces[0] + pieces[1]) + field(3, rest + pieces[2])
    data = message.SerializeToString() + data + field(5, b"\x08\x02")
    assert_same(read_bytes(path, data), small_model("transformer", own=False))


def test_unknown_fields_are_skipped(path):
    unknown = (
        b"".join(
            wire.encode_key(900, kind) + data
            for kind, data in ((wire.VARINT, b"\xff\x01"), (wire.FIXED64, b"8 bytes!"))
        )
        + wire.encode_key(901, wire.FIXED32)
        + b"four"
        + field(2**29 - 1, b"more")
    )
    message = message_of()
    embedding = message.src_embedding.SerializeToString()
    message.ClearField("src_embedding")
    settings = field(5, unknown)
    data = unknown + message.SerializeToString() + settings + field(1, unknown + embedding)
    assert_same(read_bytes(path, data), small_model("transformer", own=False))


# Refused ------------------------------------------------------------------------------------------


def test_every_truncated_file(path):
    data = message_of().SerializeToString()
    for length in range(0, len(data), 7):
        with pytest.raises(files.InvalidModelFile, match=str(path)):
            read_bytes(path, data[:length])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\x00", "transformer: the field number 0 at byte 0 is none"),
        (b"\xff" * 20, "transformer: the integer at byte 0 does not end"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "bytes, but only 0 are left"),
        (b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "integer at byte 1 does not end"),
        (b"\x0b\x0c", "transformer: a group at byte 0 cannot be read"),
        (b"\x0f", "transformer: the wire type 7 at byte 0 cannot be read"),
        (b"\x08\x01", "src_embedding: expected a length and bytes, got a varint"),
        (b"\x0a\x02\x08\x01", "src_embedding/token_embedding: expected a length and bytes, got a"),
        (b"\x0a\x05\x0a\x03abc", "src_embedding/token_embedding: 3 bytes are no multiple of 4"),
        (b"\x2a\x02\x0d\x01", "model_conf: field 1 at byte 2 has 4 bytes, but only 1 are left"),
        (b"\x2a\x05\x0d0000", "model_conf/head_num: expected a varint, got 4 bytes"),
        (b"\x2a\x06\x08\xff\xff\xff\xff\x0f", "model_conf/head_num: 4294967295 is no 32-bit"),
        (b"\x2a\x03\x42\x01\xff", r"model_conf/sampling_method: b'\\xff' is no UTF-8"),
        (b"\x2a\x43\x42\x41" + b"a" * 65, "model_conf/sampling_method: 65 bytes are too long"),
        (b"\x12\x00", "encoder_stack/0/multihead_norm_scale is missing"),
        (b"\x2a\x00", "encoder_stack is missing: it has no layers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bytes_that_are_no_model(path, data, message):
    with pytest.raises(files.InvalidModelFile, match=message):
        read_bytes(path, data)


def test_a_file_of_another_family(path):
    with pytest.raises(files.InvalidModelFile, match="trg_embedding/token_embedding: expected"):
        read_bytes(path, message_of("bert").SerializeToString())
    with pytest.raises(files.InvalidModelFile, match="model_conf/head_num: expected a varint"):
        read_bytes(path, message_of().SerializeToString(), "bert")


def test_floods_of_fields(path, monkeypatch):
    """What is small costs little, whatever it says."""
    monkeypatch.setattr(protobuf_file, "_MOST_ENTRIES", 1000)
    with pytest.raises(files.InvalidModelFile, match="more than 1000 fields"):
        read_bytes(path, b"\x12\x00" * 2000)
    with pytest.raises(files.InvalidModelFile, match="src_embedding: more than 1000 fields"):
        read_bytes(path, field(1, b"\x0a\x00" * 2000))
    monkeypatch.setattr(protobuf_file, "_MOST_PIECES", 10)
    one = field(1, b"0000")
    with pytest.raises(files.InvalidModelFile, match="token_embedding: in more than 10 pieces"):
        read_bytes(path, field(1, one * 20))
    alternating = b"\x0d0000\x150000"
    with pytest.raises(files.InvalidModelFile, match="in more than 10 pieces"):
        read_bytes(path, field(1, alternating * 20))


def test_precisions_that_contradict_each_other(path):
    message = message_of()
    data = message.SerializeToString()
    half = field(1, field(1001, b"00" * 20))
    with pytest.raises(files.InvalidModelFile, match="token_embedding: comes in more than one pre"):
        read_bytes(path, data + half)
    scales = field(1, field(4001, b"0000"))
    with pytest.raises(files.InvalidModelFile, match="token_embedding: has scales, but no numbers"):
        read_bytes(path, data + scales)
    message.src_embedding.ClearField("token_embedding")
    eight = field(1, field(3001, b"0" * 20))
    with pytest.raises(files.InvalidModelFile, match=r"\(scales\): expected 5 numbers, got 0"):
        read_bytes(path, message.SerializeToString() + eight)
    message = message_of()
    message.src_embedding.ClearField("norm_scale")
    eight = field(1, field(3003, b"0" * 4))
    with pytest.raises(files.InvalidModelFile, match="src_embedding/norm_scale: cannot be int8"):
        read_bytes(path, message.SerializeToString() + eight)


def test_more_than_2_gb(path, monkeypatch):
    monkeypatch.setattr(protobuf_file, "LARGEST_FILE", 1000)
    with pytest.raises(files.InvalidModelFile, match="are more than Protocol Buffers can have"):
        read_bytes(path, message_of().SerializeToString())
    with pytest.raises(files.InvalidModelFile, match="write HDF5"):
        protobuf_file.write(small_model("transformer"), path)
