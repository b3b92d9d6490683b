#![doc = include_str!("../README.md")]

mod database;
mod failures;
mod follower;
mod follower_builder;
mod health;
pub mod outbox;
mod position;
mod trigger;

pub use follower::Follower;
pub use follower_builder::FollowerBuilder;
pub use health::FollowerHealth;
pub use trigger::trigger;
