"""Records as tables, and what tuning runs choose."""
