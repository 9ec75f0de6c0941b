"""For the reference: a field's `#:` comment or the words in its type are its docstring; symbol tables keep shape."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import griffe

__all__ = ["FieldComments"]

MARK = "#:"
TABLE = re.compile(r"^(=+(?: +=+)+)\n(.*?)\n\1$", re.MULTILINE | re.DOTALL)  # reStructuredText's, which Markdown lacks


class FieldComments(griffe.Extension):
    """Reads `name: type  #: meaning`, lines of `#: meaning` above a name, and `name: Annotated[..., "meaning"]`."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Show symbol tables as they stand in the source."""
        if obj.docstring:
            obj.docstring.value = TABLE.sub(lambda found: re.sub(r"(?m)^", "    ", found[2]), obj.docstring.value)

    def on_attribute_instance(self, *, node: ast.AST | griffe.ObjectNode, attr: griffe.Attribute, **_: Any) -> None:
        """Give the attribute the comment that its source line has, or the ones above it."""
        if attr.docstring or attr.lineno is None or not isinstance(attr.filepath, Path):
            return
        lines = attr.filepath.read_text(encoding="utf-8").splitlines()
        last = (attr.endlineno or attr.lineno) - 1
        said = [lines[last].partition(MARK)[2].strip()]
        above = attr.lineno - 2
        while not said[0] and above >= 0 and lines[above].strip().startswith(MARK):
            said.insert(1, lines[above].strip().removeprefix(MARK).strip())
            above -= 1
        text = " ".join(filter(None, said)) or _words(node)
        if text:
            attr.docstring = griffe.Docstring(text, lineno=attr.lineno, parent=attr)


def _words(node: ast.AST | griffe.ObjectNode) -> str:
    """What an `Annotated` type says last, where that is text."""
    hint = node.annotation if isinstance(node, ast.AnnAssign) else None
    if not (isinstance(hint, ast.Subscript) and ast.unparse(hint.value) == "Annotated"):
        return ""
    last = hint.slice.elts[-1] if isinstance(hint.slice, ast.Tuple) else None
    return last.value if isinstance(last, ast.Constant) and isinstance(last.value, str) else ""
