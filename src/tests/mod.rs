//! Unit tests across several folders.

mod hostile_input;
