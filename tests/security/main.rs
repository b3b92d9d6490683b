//! One test or more for each threat: the number in a test's name is the threat's.
//!
//! P: disclosure of private responses. W: poisoning. D: denial of service. C: control over what is invalidated.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[path = "../support/mod.rs"]
mod support;

mod control;
mod denial;
mod disclosure;
mod page;
mod poisoning;
mod remote;
