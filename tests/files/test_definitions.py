"""The table of fields against LightSeq's messages, and against the document that shows it."""

from pathlib import Path

import pytest
from lightseq_messages import FAMILIES as MESSAGES
from lightseq_messages import TYPES

from tf_ls.files.definitions import FAMILIES, FIRST_OWN_NUMBER, family_of, markdown

REPEATED = 3


def label(field):
    """Whether a field is repeated, in any version of Protocol Buffers."""
    try:
        return field.is_repeated
    except AttributeError:
        return field.label == REPEATED


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_and_fields_are_lightseqs(family):
    definition, message = FAMILIES[family], MESSAGES[family].DESCRIPTOR
    parts = {field.name: field for field in message.fields if field.name != "model_conf"}
    assert list(parts) == [n for n, p in definition.parts.items() if p.number < FIRST_OWN_NUMBER]
    everywhere = set()
    for name, part in parts.items():
        mine = definition.parts[name]
        assert (mine.number, mine.repeated) == (part.number, label(part))
        theirs = {field.name: field.number for field in part.message_type.fields}
        own = {n for n, f in mine.fields.items() if f.number >= FIRST_OWN_NUMBER}
        assert {n: f.number for n, f in mine.fields.items() if n not in own}.items() <= (
            theirs.items()
        )
        everywhere |= {(part.message_type.name, n) for n in set(theirs) & set(mine.fields)}
    # A source's embedding has not all fields of the message; together they have.
    assert everywhere == {
        (part.message_type.name, field.name)
        for part in parts.values()
        for field in part.message_type.fields
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_settings_are_lightseqs(family):
    definition, message = FAMILIES[family], MESSAGES[family].DESCRIPTOR.fields_by_name["model_conf"]
    assert definition.settings_number == message.number
    kinds = {number: kind for kind, number in TYPES.items()}
    theirs = {f.name: (f.number, kinds[f.type]) for f in message.message_type.fields}
    settings = definition.settings.items()
    mine = {n: (s.number, s.kind) for n, s in settings if s.number < FIRST_OWN_NUMBER}
    assert mine == theirs


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_numbers_are_taken_once(family):
    assert len({p.number for p in family.parts.values()} | {family.settings_number}) == 1 + len(
        family.parts
    )
    for fields in [p.fields for p in family.parts.values()] + [family.settings]:
        assert len({f.number for f in fields.values()}) == len(fields)
        assert all(0 < f.number < 1000 for f in fields.values())


def test_an_unknown_family():
    with pytest.raises(ValueError, match="family must be one of transformer, bert, gpt; got 't5'"):
        family_of("t5")


def test_the_document_shows_the_table():
    document = Path(__file__).resolve().parents[2] / "docs/model_files.md"
    for family in FAMILIES.values():
        assert markdown(family) in document.read_text()
