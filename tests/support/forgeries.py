"""Records with values that no run could have left."""

import copy


def forged(body, changes):
    """A copy of a record's body with other values: a.b.0.c -> value; numbers are places in a list."""
    body = copy.deepcopy(body)
    for path, value in changes.items():
        *way, last = (int(key) if key.isdigit() else key for key in path.split("."))
        part = body
        for key in way:
            part = part[key]
        part[last] = value
    return body
