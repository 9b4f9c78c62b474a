//! Integration tests of the session stores.

mod backup;
mod contract;
mod disk;
mod item_changes;
mod redis;
mod redis_server;
