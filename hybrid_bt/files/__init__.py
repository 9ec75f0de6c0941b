"""What goes into files: written whole, locked, appended to; numbers as texts."""

from hybrid_bt.files.whole import append_line, lock, whole_file, whole_folder, write_whole

__all__ = ["append_line", "lock", "whole_file", "whole_folder", "write_whole"]
