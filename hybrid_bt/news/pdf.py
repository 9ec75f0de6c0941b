"""Text of a PDF, read by pypdf in a process of its own, within limits of size, pages, time and memory.

A PDF is a program for a reader: it may loop, or unpack into more memory than there is. What happens to the child is an
error message here and nothing else.

    python -m hybrid_bt.news.pdf FILE  > {"text": ...} or {"error": ...}
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

from hybrid_bt.errors import NewsError

MAX_BYTES = 50_000_000
MAX_PAGES = 500
MAX_SECONDS = 60
MAX_MEMORY = 2_000_000_000  #: bytes of address space
MAX_TEXT = 4_000_000  #: characters that the child hands back


def pdf_text(path: Path) -> str:
    """All text of a PDF.

    Raises
    ------
    NewsError
        If the file is too large or too long, broken, encrypted, without text, or takes too much time or memory.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise NewsError(f"{path}: {size:,} bytes; a PDF may have {MAX_BYTES:,}: split it")
    command = [sys.executable, "-m", "hybrid_bt.news.pdf", str(path.absolute())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=MAX_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NewsError(f"{path}: the PDF was not read within {MAX_SECONDS} s; convert it to text") from None
    try:
        answer = json.loads(done.stdout)
        text, error = answer.get("text"), answer.get("error")
    except (ValueError, AttributeError):
        text, error = None, f"its reader died with status {done.returncode} (out of memory or time?)"
    if error is not None or not isinstance(text, str):
        raise NewsError(f"{path}: cannot read the PDF: {error}; repair it, or convert it to text")
    return text


def main(path: str) -> dict[str, str]:
    """Answer of the child."""
    _limit()
    logging.disable()  # pypdf warns about each oddity; only the result counts
    try:
        import pypdf
    except ImportError:
        return {"error": "pypdf is not installed: pip install 'hybrid_bt[news]'"}
    try:
        reader = pypdf.PdfReader(path)
        if reader.is_encrypted:
            return {"error": "it is encrypted"}
        if len(reader.pages) > MAX_PAGES:
            return {"error": f"it has {len(reader.pages)} pages, and {MAX_PAGES} are the limit"}
        text = ""
        for page in reader.pages:
            text += page.extract_text() + "\n"
            if len(text) > MAX_TEXT:
                return {"error": f"it has more than {MAX_TEXT:,} characters"}
    except Exception as error:  # whatever a hostile file provokes, the parent says it in one line
        return {"error": f"{type(error).__name__}: {str(error)[:200]}"}
    return {"text": text} if text.strip() else {"error": "it holds no text (scanned pages?)"}


def _limit() -> None:
    """Memory and processor time, where the system knows such limits (not on Windows)."""
    try:
        import resource
    except ImportError:
        return
    for kind, most in ((resource.RLIMIT_AS, MAX_MEMORY), (resource.RLIMIT_CPU, MAX_SECONDS)):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, hard))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])))
