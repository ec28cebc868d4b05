"""Classes of lightseq.proto's messages, as Protocol Buffers' own implementation makes them."""

import re
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TYPES = {"float": 2, "int32": 5, "bool": 8, "string": 9}  # of FieldDescriptorProto
MESSAGE, OPTIONAL, REPEATED = 11, 1, 3


def _classes() -> dict:
    text = Path(__file__).with_name("lightseq.proto").read_text()
    file = descriptor_pb2.FileDescriptorProto(name="lightseq.proto", syntax="proto3")
    for name, body in re.findall(r"message (\w+) \{(.*?)\}", text, re.DOTALL):
        message = file.message_type.add(name=name)
        for repeated, kind, field, number in re.findall(r"(repeated )?(\w+) (\w+) = (\d+);", body):
            added = message.field.add(
                name=field,
                number=int(number),
                label=REPEATED if repeated else OPTIONAL,
                type=TYPES.get(kind, MESSAGE),
            )
            if kind not in TYPES:
                added.type_name = f".{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(message.name))
        for message in file.message_type
    }


CLASSES = _classes()
FAMILIES = {name.lower(): CLASSES[name] for name in ("Transformer", "Bert", "Gpt")}


def fill(message, model):
    """Sets the fields of a message from a model, of which it leaves out what it does not have."""
    fields = message.DESCRIPTOR.fields_by_name
    for name, value in model.settings.items():
        if name in fields["model_conf"].message_type.fields_by_name:
            setattr(message.model_conf, name, value)
    for name in model.shapes():
        part, *index, field = name.split("/")
        if part not in fields:
            continue
        place = getattr(message, part)
        if index:
            while len(place) <= int(index[0]):
                place.add()
            place = place[int(index[0])]
        if field in place.DESCRIPTOR.fields_by_name:
            getattr(place, field).extend(model.float32(name).ravel())
    return message
