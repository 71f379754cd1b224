"""The config: what runs exist (`grid`), what they are called (`names`), and the spec of each."""
