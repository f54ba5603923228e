"""Silence while weights are read."""

import transformers


class quiet:
    """Silence the loader's own progress bar and notices: ours say what matters."""

    def __enter__(self) -> None:
        self._level = transformers.logging.get_verbosity()
        self._bar = transformers.logging.is_progress_bar_enabled()
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        transformers.logging.set_verbosity(self._level)
        if self._bar:
            transformers.logging.enable_progress_bar()
