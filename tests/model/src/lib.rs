//! Model checks of larder's own files; see `tests/`.
