"""TOML -> the tuples that equations take."""

from hybrid_bt.config.config import MODES, RESERVED, Config, NewsConfig, keys_of, load_config, mode_text, overridden

__all__ = ["MODES", "RESERVED", "Config", "NewsConfig", "keys_of", "load_config", "mode_text", "overridden"]
