"""Questions to the engine whose answers come later: what it has, and what a DICOM header says of SUV."""

from . import settings
from .engine import EngineError


class Questions:
    """Asks without waiting. Of one kind there is one question at a time: a new one replaces the one before."""

    def __init__(self) -> None:
        self._processes = {}

    def ask(self, kind, arguments, onAnswer) -> None:
        """Run the engine with arguments that make it print JSON; `onAnswer(answer, error)`, one of them None."""

        def onFinished(process) -> None:
            if self._processes.get(kind) is not process:
                return
            del self._processes[kind]
            try:
                answer, error = process.answer(), None
            except EngineError as failure:
                answer, error = None, failure
            onAnswer(answer, error)

        if kind in self._processes:
            self._processes[kind].cancel()
        self._processes[kind] = settings.engine().start(arguments, onFinished=onFinished)

    def stop(self) -> None:
        """Forget all questions, and return when their processes are gone."""
        processes, self._processes = self._processes, {}
        for process in processes.values():
            process.stop()
