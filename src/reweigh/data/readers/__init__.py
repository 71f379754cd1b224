"""Readers, ONE FILE A DATA SET: `read(raw, **options) -> RawData`. Modules without a `read` hold what several share."""
