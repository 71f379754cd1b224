"""Records as tables, and the choices that tuning runs make."""
