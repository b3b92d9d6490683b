//! Tests that look inside several folders.

mod hostile_input;
