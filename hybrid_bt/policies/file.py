"""The file of a frozen policy: one ONNX model that ends with its own manifest.

    file = G + M
    G    an ONNX ModelProto, serialised without metadata
    M    one further ModelProto field, `metadata_props` {key: "hybrid_bt", value: manifest as JSON}

Serialised protobuf messages merge when they are joined, so G + M is itself a valid ONNX model that any tool opens.
The manifest holds the length and sha256 of G and a sha256 of itself, and M has one canonical encoding: every altered,
missing or added byte is found. This guards against damage; it is no signature, anyone can write a new file.

Protobuf's wire format is read by hand, so that neither onnx nor protobuf is needed at run time:

    message = fields,   field = varint tag (number << 3 | wire type), then varint | length + bytes

Only what the freezer writes is let through to onnxruntime: the operators below, no custom domain, no subgraph, no data
outside the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple

from hybrid_bt.errors import PolicyError, os_errors
from hybrid_bt.policies.manifest import FORMAT_VERSION, Manifest, canonical_json

MAX_BYTES = 64 * 2**20  #: a policy of this house has some 10 KB to 2 MB
OPERATORS = frozenset({"Add", "Cast", "Clip", "Gemm", "MatMul", "Mul", "ReduceMean", "Relu", "Slice", "Split", "Tanh"})
METADATA_KEY = b"hybrid_bt"
REFETCH = "fetch or freeze the file again"
TRUST = "if you know who made the file, --trust lets SB3 load it"

# Field numbers of onnx.proto3.
MODEL_GRAPH, MODEL_METADATA = 7, 14
NODE, NAME, INITIALIZER, INPUT, OUTPUT = 1, 2, 5, 11, 12  #: of a graph
NODE_INPUT, NODE_OUTPUT, NODE_OP, NODE_ATTRIBUTE = 1, 2, 4, 5
_VARINT, _LENGTH = 0, 2  # wire types; those of 8 and of 4 bytes stand in no message that is looked at
_MAX_VARINT = 10  # bytes of a 64-bit varint

_NODE, _TENSOR = "node (custom operator?)", "tensor (external data?)"
#: message -> its fields that are let through, and what is in them where that is looked at
_ALLOWED = {
    "model": dict.fromkeys((1, 2, 8), "") | {MODEL_GRAPH: "graph"},  # ir_version, producer_name, opset_import
    "graph": dict.fromkeys((NAME, INPUT, OUTPUT), "") | {NODE: _NODE, INITIALIZER: _TENSOR},
    _NODE: dict.fromkeys((NODE_INPUT, NODE_OUTPUT, NODE_OP, NODE_ATTRIBUTE), ""),  # a domain (7) is a custom operator's
    _TENSOR: dict.fromkeys((1, 2, 8, 9), ""),  # dims, data_type, name, raw_data; external data would be 13 and 14
}


class Field(NamedTuple):
    """A field of a message."""

    number: int
    value: bytes  #: empty for numbers: only lengths and strings are looked at
    raw: bytes  #: tag and all


def fields(message: bytes) -> Iterator[Field]:
    """The fields of a message, in order; IndexError where it breaks off, ValueError where it is no protobuf."""
    at = 0
    while at < len(message):
        start, value = at, b""
        tag, at = _read_varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _read_varint(message, at)
        elif kind == _LENGTH:
            size, at = _read_varint(message, at)
            value, at = message[at : at + size], at + size
        else:
            raise ValueError(f"wire type {kind}")
        if at > len(message):
            raise IndexError("message breaks off")
        if tag >> 3 == 0:
            raise ValueError("field 0")
        yield Field(tag >> 3, value, message[start:at])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Value and the place after it; IndexError past the end, ValueError if over-long."""
    value = 0
    for i in range(_MAX_VARINT):
        byte = data[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError("over-long varint")


def made(number: int, content: str | bytes) -> bytes:
    """A field that holds a text or a message."""
    value = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | _LENGTH) + _varint(len(value)) + value


def number(of: int, value: int) -> bytes:
    """A field that holds a whole number."""
    return _varint(of << 3 | _VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def refused(name: str, why: str, remedy: str = REFETCH) -> PolicyError:
    """What is said of a policy that cannot be used."""
    return PolicyError(f"policy: {name} {why}; {remedy}")


def read_bytes(path: Traversable, limit: int = MAX_BYTES, wanted: str = "a frozen policy (*.onnx)") -> bytes:
    """The file's bytes.

    Raises
    ------
    PolicyError
        If the file is missing, unreadable, or larger than `limit`, and so cannot be what is `wanted`.
    """
    if not path.is_file():
        raise PolicyError(f"policy: no file {path}; give the path of {wanted}")
    with os_errors(PolicyError, f"policy: {path} cannot be read", "check its permissions"), path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise PolicyError(f"policy: {path} is larger than {limit} bytes; give {wanted}")
    return data


def pack(graph: bytes, manifest: Manifest) -> tuple[bytes, Manifest]:
    """File bytes of `graph` with its manifest, and the manifest with the graph's length and hash filled in."""
    sealed = manifest.model_copy(update={"graph_sha256": hashlib.sha256(graph).hexdigest(), "graph_bytes": len(graph)})
    return graph + _metadata(sealed.sealed_json().encode()), sealed


def unpack(data: bytes, name: str) -> Manifest:
    """Check a policy file byte by byte; `name` is that of the file, for messages.

    Raises
    ------
    PolicyError
        If the file is no ONNX model, has no manifest, is damaged or newer, or holds what no frozen policy holds.
    """
    last, text = _last_field(data, name)
    manifest = checked_manifest(text, name)
    if last != _metadata(text) or manifest.sealed_json().encode() != text:
        raise refused(name, "has a manifest that was altered")
    graph = data[: -len(last)]
    if len(graph) != manifest.graph_bytes or hashlib.sha256(graph).hexdigest() != manifest.graph_sha256:
        raise refused(name, f"has {len(graph)} bytes of network that do not match its manifest: damaged")
    try:
        _check(graph, "model")
    except (IndexError, ValueError) as error:
        remedy = "freeze it with hybrid_bt, not another exporter"
        raise refused(name, f"holds what no frozen policy holds: {error}", remedy) from error
    return manifest


def _metadata(text: bytes) -> bytes:
    return made(MODEL_METADATA, made(1, METADATA_KEY) + made(2, text))


def _last_field(data: bytes, name: str) -> tuple[bytes, bytes]:
    """The field that the manifest is in, and its text."""
    if data[:2] == b"PK":
        why = "is a zip, such as SB3 saves, not a frozen policy"
        raise refused(name, why, f"freeze it (hybrid-bt policy import-sb3); or, {TRUST}, in hybrid-bt run")
    try:
        *_, last = fields(data)
        key, text = fields(last.value)
        if (last.number, key.number, key.value, text.number) != (MODEL_METADATA, 1, METADATA_KEY, 2):
            raise ValueError(f"field {last.number} at its end")
    except (IndexError, ValueError) as error:
        why = f"does not end with a hybrid_bt manifest (foreign, empty, truncated or lengthened: {error})"
        raise refused(name, why) from error
    return last.raw, text.value


def checked_manifest(text: bytes, name: str) -> Manifest:
    """The manifest in a text that `Manifest.sealed_json` wrote; PolicyError if it was altered, or is newer."""
    try:
        raw: dict[str, Any] = dict(json.loads(text))
        claimed = raw.pop("manifest_sha256", None)
        found = hashlib.sha256(canonical_json(raw).encode()).hexdigest()
    except (ValueError, TypeError, RecursionError) as error:
        raise refused(name, f"has a manifest that is not JSON ({error}): damaged") from error
    # The hash comes before the version, so that damage is not taken for a newer format.
    if claimed != found:
        raise refused(name, "has a manifest that does not match its own sha256: altered")
    version = raw.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise refused(name, f"has format version {version}, newer than {FORMAT_VERSION}", "upgrade hybrid_bt")
    return Manifest.checked(raw, f"policy: the manifest of {name} is wrong at", REFETCH)


def _check(message: bytes, what: str) -> None:
    """Let through only what the freezer writes."""
    inside = _ALLOWED[what]
    for field in fields(message):
        if field.number not in inside:
            raise ValueError(f"field {field.number} of a {what}")
        if inside[field.number]:
            _check(field.value, inside[field.number])
        elif what == _NODE and field.number == NODE_OP and field.value.decode() not in OPERATORS:
            raise ValueError(f"operator {field.value.decode()!r}")
