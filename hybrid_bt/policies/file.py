"""The file of a frozen policy: one ONNX model that ends with its own manifest.

    file = G + M
    G    an ONNX ModelProto, serialised without metadata
    M    one further ModelProto field, `metadata_props` {key: "hybrid_bt", value: manifest as JSON}

Serialised protobuf messages merge when they are joined, so G + M is itself a valid ONNX model that any tool opens.
The manifest holds the length and sha256 of G and a sha256 of itself, and M has one canonical encoding: every altered,
missing or added byte is found. This guards against damage; it is no signature, anyone can write a new file.

The protobuf wire format is read by hand (`onnx_wire`), so that neither onnx nor protobuf is needed at run time. Only
what the freezer writes is let through to onnxruntime: the operators below, no custom domain, no subgraph, no data
outside the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hybrid_bt.errors import PolicyError
from hybrid_bt.policies import wire
from hybrid_bt.policies.manifest import FORMAT_VERSION, Manifest, canonical_json

MAX_BYTES = 64 * 2**20  #: a policy of this house has some 10 KB to 2 MB
OPERATORS = frozenset({"Add", "Cast", "Clip", "Gemm", "MatMul", "Mul", "ReduceMean", "Relu", "Slice", "Split", "Tanh"})
METADATA_KEY = b"hybrid_bt"
REFETCH = "fetch or freeze the file again"

# Fields of each message that are let through.
_MODEL_FIELDS = {1, 2, wire.MODEL_GRAPH, 8}  # ir_version, producer_name, graph, opset_import
_GRAPH_FIELDS = {wire.NODE, 2, wire.INITIALIZER, wire.INPUT, wire.OUTPUT}  # 2 is the name
_NODE_FIELDS = {1, 2, wire.NODE_OP, 5}  # input, output, op_type, attribute; a domain (7) is a custom operator's
_TENSOR_FIELDS = {1, 2, 8, 9}  # dims, data_type, name, raw_data; external data would be 13 and 14


def read_bytes(path: Path, limit: int = MAX_BYTES, wanted: str = "a frozen policy (*.onnx)") -> bytes:
    """The file's bytes.

    Raises
    ------
    PolicyError
        If the file is missing, unreadable, or larger than `limit`, and so cannot be what is `wanted`.
    """
    if not path.is_file():
        raise PolicyError(f"policy: no file {path}; give the path of {wanted}")
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise PolicyError(f"policy: {path} cannot be read ({error.strerror}); check its permissions") from error
    if len(data) > limit:
        raise PolicyError(f"policy: {path} is larger than {limit} bytes; give {wanted}")
    return data


def pack(graph: bytes, manifest: Manifest) -> tuple[bytes, Manifest]:
    """File bytes of `graph` with its manifest, and the manifest with the graph's length and hash filled in."""
    sealed = manifest.model_copy(update={"graph_sha256": hashlib.sha256(graph).hexdigest(), "graph_bytes": len(graph)})
    return graph + _metadata(sealed.sealed_json()), sealed


def unpack(data: bytes, name: str) -> Manifest:
    """Check a policy file byte by byte.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Of the file, for messages.

    Returns
    -------
    Manifest

    Raises
    ------
    PolicyError
        If the file is no ONNX model, has no manifest, is damaged or newer, or holds what no frozen policy holds.
    """
    last = _last_field(data, name)
    text = _manifest_text(last, name)
    manifest = _manifest(text, name)
    if last.raw != _metadata(text.decode()) or manifest.sealed_json().encode() != text:
        raise PolicyError(f"policy: the manifest of {name} was altered; {REFETCH}")
    graph = data[: -len(last.raw)]
    if len(graph) != manifest.graph_bytes or hashlib.sha256(graph).hexdigest() != manifest.graph_sha256:
        raise PolicyError(
            f"policy: the network in {name} does not match its manifest ({len(graph)} bytes, sha256 "
            f"{hashlib.sha256(graph).hexdigest()[:12]}..., not {manifest.graph_bytes} bytes, "
            f"{str(manifest.graph_sha256)[:12]}...): damaged; {REFETCH}"
        )
    _check_graph(graph, name)
    return manifest


def _metadata(text: str) -> bytes:
    return wire.made(wire.MODEL_METADATA, wire.made(1, METADATA_KEY) + wire.made(2, text))


def _last_field(data: bytes, name: str) -> wire.Field:
    if data[:2] == b"PK":
        raise PolicyError(f"policy: {name} is a zip, such as SB3 saves, not a frozen policy; freeze the model first")
    try:
        fields = list(wire.fields(data))
    except IndexError as error:
        raise PolicyError(f"policy: {name} breaks off after {len(data)} bytes (truncated?); {REFETCH}") from error
    except ValueError as error:
        raise PolicyError(f"policy: {name} is not an ONNX file, or damaged ({error}); {REFETCH}") from error
    if not fields:
        raise PolicyError(f"policy: {name} is empty; {REFETCH}")
    return fields[-1]


def _manifest_text(field: wire.Field, name: str) -> bytes:
    try:
        entry = list(wire.fields(field.value)) if field.number == wire.MODEL_METADATA else []
    except (IndexError, ValueError) as error:
        raise PolicyError(f"policy: the manifest entry of {name} is damaged ({error}); {REFETCH}") from error
    if [part.number for part in entry] != [1, 2] or entry[0].value != METADATA_KEY:
        raise PolicyError(
            f"policy: {name} does not end with a hybrid_bt manifest (foreign, cut or lengthened); {REFETCH}"
        )
    return entry[1].value


def _manifest(text: bytes, name: str) -> Manifest:
    try:
        raw: dict[str, Any] = dict(json.loads(text))
        claimed = raw.pop("manifest_sha256", None)
        found = hashlib.sha256(canonical_json(raw).encode()).hexdigest()
    except (ValueError, TypeError, RecursionError) as error:
        raise PolicyError(f"policy: the manifest of {name} is not JSON ({error}): damaged; {REFETCH}") from error
    # The hash comes before the version, so that damage is not taken for a newer format.
    if claimed != found:
        raise PolicyError(f"policy: the manifest of {name} does not match its own sha256: altered; {REFETCH}")
    version = raw.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise PolicyError(
            f"policy: {name} has format version {version}, this code reads up to {FORMAT_VERSION}; upgrade hybrid_bt"
        )
    return Manifest.checked(raw, f"policy: the manifest of {name} is wrong at", REFETCH)


def _check_graph(graph: bytes, name: str) -> None:
    """Let through only what the freezer writes."""
    try:
        for field in _only(graph, _MODEL_FIELDS, "model"):
            for part in _only(field.value, _GRAPH_FIELDS, "graph") if field.number == wire.MODEL_GRAPH else ():
                if part.number == wire.INITIALIZER:
                    list(_only(part.value, _TENSOR_FIELDS, "tensor (external data?)"))
                elif part.number == wire.NODE:
                    for item in _only(part.value, _NODE_FIELDS, "node (custom operator?)"):
                        if item.number == wire.NODE_OP and item.value.decode() not in OPERATORS:
                            raise ValueError(f"operator {item.value.decode()!r}")
    except (IndexError, ValueError) as error:
        raise PolicyError(
            f"policy: {name} holds what no frozen policy holds: {error}; freeze it with hybrid_bt, not another exporter"
        ) from error


def _only(message: bytes, allowed: set[int], what: str) -> Iterator[wire.Field]:
    for field in wire.fields(message):
        if field.number not in allowed:
            raise ValueError(f"field {field.number} of a {what}")
        yield field
