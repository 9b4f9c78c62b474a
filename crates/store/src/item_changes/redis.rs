//! Changes of items in Redis, shared by the replicas of a server.
//!
//! | key | type | content |
//! |---|---|---|
//! | `{prl}:item_version` | string | latest version of the changes |
//! | `{prl}:items` | hash | document by item |
//! | `{prl}:item_versions` | sorted set | items by the version of their document |

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prl_items::{ChangeStore, ChangeStoreError, Since};
use redis::{Client, Connection, FromRedisValue, Script};

use crate::FORMAT;
use crate::error::{Error, Result};
use crate::redis::{FORMAT_KEY, client};

/// Time limit of a connection attempt and of an operation.
const TIMEOUT: Duration = Duration::from_secs(1);

const KEYS: [&str; 3] = ["{prl}:item_version", "{prl}:items", "{prl}:item_versions"];

/// ARGV: items and documents in turn. Returns the new version.
const PUT: &str = "
    local version = redis.call('INCR', KEYS[1])
    for i = 1, #ARGV, 2 do
        redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
        redis.call('ZADD', KEYS[3], version, ARGV[i])
    end
    return version";

/// ARGV: version. Returns the latest version, and the later items and documents in turn. A version
/// beyond the latest is of a Redis that has lost its data since: everything is later then.
const SINCE: &str = "
    local latest = tonumber(redis.call('GET', KEYS[1]) or '0')
    local version = tonumber(ARGV[1])
    if version > latest then version = 0 end
    local found = {}
    for _, item in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. version, '+inf')) do
        found[#found + 1] = item
        found[#found + 1] = redis.call('HGET', KEYS[2], item) or ''
    end
    return {latest, found}";

/// Changes of items in Redis.
pub struct RedisChangeStore {
    client: Client,
    /// The address without its password, for messages.
    address: String,
    connection: Mutex<Option<Connection>>,
    put: Script,
    since: Script,
}

impl RedisChangeStore {
    /// A store at a URL as of [`RedisStore::new`](crate::RedisStore::new). Connects when it is
    /// first used, and again after a failure.
    ///
    /// # Errors
    /// [`Error::Address`] if that is no such address.
    pub fn new(url: &str) -> Result<Self> {
        let (client, address) = client(url)?;
        Ok(Self {
            client,
            address,
            connection: Mutex::default(),
            put: Script::new(PUT),
            since: Script::new(SINCE),
        })
    }

    fn call<T: FromRedisValue>(
        &self,
        what: &str,
        script: &Script,
        args: &[&[u8]],
    ) -> std::result::Result<T, ChangeStoreError> {
        let failed = |cause: String| {
            let store = self.address.clone();
            ChangeStoreError::caused_by(what, Error::Unavailable { store, cause })
        };
        let mut held = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => self.connect().map_err(|error| failed(error.to_string()))?,
        };
        let mut call = script.prepare_invoke();
        for key in KEYS {
            call.key(key);
        }
        for arg in args {
            call.arg(arg);
        }
        let result = call.invoke(&mut connection);
        // After an error the connection may hold the rest of an answer.
        let result = result.map_err(|error| failed(error.to_string()))?;
        *held = Some(connection);
        Ok(result)
    }

    fn connect(&self) -> redis::RedisResult<Connection> {
        let mut connection = self.client.get_connection_with_timeout(TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        let mut set = redis::cmd("SET");
        set.arg(FORMAT_KEY).arg(FORMAT).arg("NX");
        set.exec(&mut connection)?;
        let found: String = redis::cmd("GET").arg(FORMAT_KEY).query(&mut connection)?;
        if found != FORMAT.to_string() {
            let found: String = found.chars().take(32).collect();
            let what = format!("format {found}, this program reads format {FORMAT}");
            return Err((redis::ErrorKind::InvalidClientConfig, "other format", what).into());
        }
        Ok(connection)
    }
}

impl ChangeStore for RedisChangeStore {
    fn put(&self, changes: &[(String, Vec<u8>)]) -> std::result::Result<u64, ChangeStoreError> {
        let mut args: Vec<&[u8]> = Vec::with_capacity(2 * changes.len());
        for (item, document) in changes {
            args.push(item.as_bytes());
            args.push(document);
        }
        self.call("changes of items not stored", &self.put, &args)
    }

    fn since(&self, version: u64) -> std::result::Result<Since, ChangeStoreError> {
        let version = version.to_string();
        let (latest, found): (u64, Vec<Vec<u8>>) = self.call(
            "changes of items not read",
            &self.since,
            &[version.as_bytes()],
        )?;
        let mut changes = Vec::with_capacity(found.len() / 2);
        for pair in found.chunks_exact(2) {
            let [item, document] = pair else { continue };
            let damaged = |_| {
                let store = self.address.clone();
                let cause = "an item's name is not UTF-8".to_owned();
                ChangeStoreError::caused_by("changes of items", Error::Damaged { store, cause })
            };
            let item = String::from_utf8(item.clone()).map_err(damaged)?;
            changes.push((item, document.clone()));
        }
        Ok((latest, changes))
    }
}
