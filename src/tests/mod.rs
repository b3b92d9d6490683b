//! Unit tests across several folders.

mod guide;
mod hostile_input;
