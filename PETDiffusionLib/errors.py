"""What the engine raises for people: an error with a stable code and one sentence, and the wish to stop."""


class PETDiffusionError(Exception):
    """Something that the user can understand and act on.

    `code` is stable and meant for programs ("no-unit", "not-pet", "bad-file", "missing-weight" ...);
    `sentence` is meant for people: what was expected, what was found, what to do.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class Cancelled(Exception):
    """The user asked to stop; raised by a progress callback and passed on untouched by everything below it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, in Python or in torch on any device (which says it in words alone)."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    said = str(error).lower() if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or any(word in said for word in words)
