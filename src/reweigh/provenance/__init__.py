"""Where numbers come from: `explain` walks one of them back to the raw bytes, `audit` checks the whole chain."""
