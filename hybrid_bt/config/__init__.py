"""TOML -> the tuples that equations take."""

from hybrid_bt.config.config import Config, Overrides, keys_of, load_config, mode_text, overridden

__all__ = ["Config", "Overrides", "keys_of", "load_config", "mode_text", "overridden"]
