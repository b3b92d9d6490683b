//! One test or more for each threat: the number in a test's name is the threat's.
//!
//! P: disclosure of private responses. W: poisoning. D: denial of service. C: control over what is invalidated.

mod denial;
mod disclosure;
mod invalidation_rights;
mod page;
mod poisoning;
mod remote;
