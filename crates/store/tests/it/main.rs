//! Integration tests of the session stores.

mod backup;
mod contract;
mod disk;
mod redis;
mod redis_server;
