"""What tests share: projects, synthetic records, runs, ways to tamper; and where the project is."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
