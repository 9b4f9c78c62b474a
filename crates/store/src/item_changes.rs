//! Changes of items: the durable implementations of [`ChangeStore`](prl_items::ChangeStore).

mod disk;
mod redis;

pub use self::redis::RedisChangeStore;
pub use disk::DiskChangeStore;
