"""What tests share: projects, synthetic records, runs, ways to tamper."""
