//! Sessions in Redis, shared by the replicas of a server.
//!
//! | key | type | content |
//! |---|---|---|
//! | `{prl}:format` | string | version of the format |
//! | `{prl}:session:NAME` | list | events, oldest first; expires after the time to live |
//! | `{prl}:sessions` | sorted set | names by last access in ms since the Unix epoch |
//!
//! Every operation is one script, which Redis runs as a whole, by Redis' own clock. What an
//! acknowledged event survives is a matter of Redis' settings (`appendonly`, `appendfsync`).

use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo, RedisError, Script,
};
use tokio::sync::Mutex;

use crate::FORMAT;
use crate::encoding::{decode, encode};
use crate::error::{Error, Result};
use crate::limits::SessionLimits;
use crate::session_store::{Event, SavedSession, SessionStore};

/// Time limit of a connection attempt and of an operation.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Time after a failed connection attempt in which requests fail at once.
const BACK_OFF: Duration = Duration::from_millis(250);

/// Common prefix of the keys; the braces place all of them in one slot of a cluster.
pub(crate) const FORMAT_KEY: &str = "{prl}:format";
const INDEX_KEY: &str = "{prl}:sessions";
const SESSION_PREFIX: &str = "{prl}:session:";

/// Script that returns the time: milliseconds since the Unix epoch in `now`.
const CLOCK: &str =
    "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) ";

/// KEYS: index, session. ARGV: name, ttl, maximum events, maximum sessions, prefix, idle, events.
/// Returns the number of events, or -1 - that number if it is too large. `idle` is the age of a
/// restored session, which replaces the present one, or empty.
const ADD: &str = "
    local ttl, idle = tonumber(ARGV[2]), 0
    if ARGV[6] ~= '' then idle = tonumber(ARGV[6]) redis.call('DEL', KEYS[2]) end
    local total = redis.call('LLEN', KEYS[2]) + #ARGV - 6
    if total > tonumber(ARGV[3]) then return -1 - total end
    for i = 7, #ARGV, 1000 do
        redis.call('RPUSH', KEYS[2], unpack(ARGV, i, math.min(i + 999, #ARGV)))
    end
    if total == 0 then return 0 end
    redis.call('PEXPIRE', KEYS[2], math.max(1, ttl - idle))
    redis.call('ZADD', KEYS[1], now - idle, ARGV[1])
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ttl)
    local extra = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[4])
    if extra > 0 then
        local oldest = redis.call('ZPOPMIN', KEYS[1], extra)
        for i = 1, #oldest, 2 do redis.call('DEL', ARGV[5] .. oldest[i]) end
    end
    return total";

/// KEYS: index, session. ARGV: name, ttl. Returns the events.
const READ: &str = "
    local events = redis.call('LRANGE', KEYS[2], 0, -1)
    if #events > 0 then
        redis.call('PEXPIRE', KEYS[2], ARGV[2])
        redis.call('ZADD', KEYS[1], now, ARGV[1])
    end
    return events";

/// KEYS: index, session. ARGV: name. Returns the age of the last access and the events.
const PEEK: &str = "
    local at = redis.call('ZSCORE', KEYS[1], ARGV[1]) or now
    return {math.max(0, now - at), redis.call('LRANGE', KEYS[2], 0, -1)}";

/// KEYS: index, session. ARGV: name. Returns the number of deleted sessions.
const DELETE: &str = "
    redis.call('ZREM', KEYS[1], ARGV[1])
    return redis.call('DEL', KEYS[2])";

/// KEYS: index. ARGV: ttl. Returns the number of sessions.
const COUNT: &str = "return redis.call('ZCOUNT', KEYS[1], '(' .. now - ARGV[1], '+inf')";

/// KEYS: index. ARGV: ttl. Returns the names, the least recently used first.
const NAMES: &str = "return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now - ARGV[1], '+inf')";

/// Sessions in Redis.
pub struct RedisStore {
    client: Client,
    /// The address without its password, for messages.
    address: String,
    limits: SessionLimits,
    link: Mutex<Link>,
    scripts: Scripts,
}

/// The connection, which all requests share.
#[derive(Default)]
struct Link {
    connection: Option<MultiplexedConnection>,
    /// The last failed attempt, and its error.
    failed: Option<(Instant, String)>,
}

struct Scripts {
    add: Script,
    read: Script,
    peek: Script,
    delete: Script,
    count: Script,
    names: Script,
}

impl RedisStore {
    /// A store at `url`: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`. Connects when it is first
    /// used, and again after a failure.
    ///
    /// # Errors
    /// [`Error::Address`] if that is no such address.
    pub fn new(url: &str, limits: SessionLimits) -> Result<Self> {
        let (client, address) = client(url)?;
        let script = |code: &str| Script::new(&format!("{CLOCK}{code}"));
        Ok(Self {
            client,
            address,
            limits,
            link: Mutex::default(),
            scripts: Scripts {
                add: script(ADD),
                read: script(READ),
                peek: script(PEEK),
                delete: script(DELETE),
                count: script(COUNT),
                names: script(NAMES),
            },
        })
    }

    /// Fails unless Redis answers and holds sessions of this format, or none.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Format`].
    pub async fn check(&self) -> Result<()> {
        self.connection().await.map(drop)
    }

    /// The shared connection; a new one if there is none.
    async fn connection(&self) -> Result<MultiplexedConnection> {
        let mut link = self.link.lock().await;
        if let Some(connection) = &link.connection {
            return Ok(connection.clone());
        }
        if let Some((at, cause)) = &link.failed
            && at.elapsed() < BACK_OFF
        {
            return Err(self.unavailable(cause.clone()));
        }
        match self.connect().await {
            Ok(connection) => {
                link.failed = None;
                Ok(link.connection.insert(connection).clone())
            }
            Err(error) => {
                let cause = match &error {
                    Error::Unavailable { cause, .. } => cause.clone(),
                    error => error.to_string(),
                };
                link.failed = Some((Instant::now(), cause));
                Err(error)
            }
        }
    }

    /// Connects and checks the version of the format, which is written if there is none.
    async fn connect(&self) -> Result<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT));
        let connected = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        let mut connection = connected.map_err(|error| self.failed(&error))?;
        let mut set = redis::cmd("SET");
        set.arg(FORMAT_KEY).arg(FORMAT).arg("NX");
        let set: redis::RedisResult<()> = set.query_async(&mut connection).await;
        set.map_err(|error| self.failed(&error))?;
        let mut get = redis::cmd("GET");
        let found = get.arg(FORMAT_KEY).query_async(&mut connection).await;
        let found: String = found.map_err(|error| self.failed(&error))?;
        if found != FORMAT.to_string() {
            return Err(Error::Format {
                store: self.address.clone(),
                // Redis may hold anything under that key.
                found: found.chars().take(32).collect(),
                supported: FORMAT,
            });
        }
        Ok(connection)
    }

    /// Runs a script about a session, or about all.
    async fn call<T: FromRedisValue>(
        &self,
        script: &Script,
        session: Option<&str>,
        args: &[&[u8]],
    ) -> Result<T> {
        let mut connection = self.connection().await?;
        let mut call = script.prepare_invoke();
        call.key(INDEX_KEY);
        if let Some(name) = session {
            call.key(format!("{SESSION_PREFIX}{name}")).arg(name);
        }
        for arg in args {
            call.arg(arg);
        }
        match call.invoke_async(&mut connection).await {
            Ok(reply) => Ok(reply),
            Err(error) => {
                if error.is_unrecoverable_error() || error.is_io_error() {
                    self.link.lock().await.connection = None;
                }
                Err(self.failed(&error))
            }
        }
    }

    /// Adds events to a session, or replaces it by one that was last used `idle` ms ago.
    async fn write(&self, name: &str, idle: &str, events: &[Event]) -> Result<usize> {
        let limits = [
            self.ttl(),
            self.limits.events.to_string(),
            self.limits.sessions.to_string(),
        ];
        let mut args: Vec<&[u8]> = Vec::with_capacity(5 + events.len());
        for limit in &limits {
            args.push(limit.as_bytes());
        }
        args.push(SESSION_PREFIX.as_bytes());
        args.push(idle.as_bytes());
        let mut encoded = Vec::with_capacity(events.len());
        for event in events {
            encoded.push(encode(event));
        }
        for event in &encoded {
            args.push(event);
        }
        let total: i64 = self.call(&self.scripts.add, Some(name), &args).await?;
        let count = |n: i64| {
            let count = usize::try_from(n).ok();
            count.ok_or_else(|| self.damaged(format!("the script returned {total}")))
        };
        if total < 0 {
            return Err(Error::SessionTooLong {
                events: count(-1 - total)?,
                max: self.limits.events,
            });
        }
        count(total)
    }

    fn decode(&self, name: &str, found: &[Vec<u8>]) -> Result<Vec<Event>> {
        let mut events = Vec::with_capacity(found.len());
        for bytes in found {
            let event = decode(bytes);
            let unreadable = || self.damaged(format!("session {name:?} has an unreadable event"));
            events.push(event.ok_or_else(unreadable)?);
        }
        if events.len() > self.limits.events {
            let (count, max) = (events.len(), self.limits.events);
            let cause = format!("session {name:?} has {count} events, more than {max}");
            return Err(self.damaged(cause));
        }
        Ok(events)
    }

    fn ttl(&self) -> String {
        // Redis' times are signed, and a sorted set's scores exact up to 2^53.
        self.limits.ttl_ms().min(1 << 50).to_string()
    }

    fn failed(&self, error: &RedisError) -> Error {
        // A reply of another type than the script's is not this program's.
        if error.kind() == redis::ErrorKind::UnexpectedReturnType {
            return self.damaged(error.to_string());
        }
        self.unavailable(error.to_string())
    }

    fn unavailable(&self, cause: String) -> Error {
        Error::Unavailable {
            store: self.address.clone(),
            cause,
        }
    }

    fn damaged(&self, cause: String) -> Error {
        Error::Damaged {
            store: self.address.clone(),
            cause,
        }
    }
}

#[async_trait]
impl SessionStore for RedisStore {
    async fn add(&self, name: &str, events: Vec<Event>) -> Result<usize> {
        self.write(name, "", &events).await
    }

    async fn events(&self, name: &str) -> Result<Option<Vec<Event>>> {
        let ttl = self.ttl();
        let args = [ttl.as_bytes()];
        let found: Vec<Vec<u8>> = self.call(&self.scripts.read, Some(name), &args).await?;
        let events = self.decode(name, &found)?;
        Ok((!events.is_empty()).then_some(events))
    }

    async fn delete(&self, name: &str) -> Result<bool> {
        let deleted: i64 = self.call(&self.scripts.delete, Some(name), &[]).await?;
        Ok(deleted > 0)
    }

    async fn count(&self) -> Result<usize> {
        let ttl = self.ttl();
        self.call(&self.scripts.count, None, &[ttl.as_bytes()])
            .await
    }

    async fn names(&self) -> Result<Vec<String>> {
        let ttl = self.ttl();
        self.call(&self.scripts.names, None, &[ttl.as_bytes()])
            .await
    }

    async fn saved(&self, name: &str) -> Result<Option<SavedSession>> {
        let (idle, found): (u64, Vec<Vec<u8>>) =
            self.call(&self.scripts.peek, Some(name), &[]).await?;
        let events = self.decode(name, &found)?;
        Ok((!events.is_empty()).then(|| SavedSession {
            session: name.to_owned(),
            idle: Duration::from_millis(idle),
            events,
        }))
    }

    async fn restore(&self, session: SavedSession) -> Result<()> {
        if session.idle < self.limits.ttl {
            let idle = session.idle.as_millis().to_string();
            self.write(&session.session, &idle, &session.events).await?;
        }
        Ok(())
    }
}

/// A client of the Redis at a URL, and the address without its password.
pub(crate) fn client(url: &str) -> Result<(Client, String)> {
    let bad = |cause: String| Error::Address {
        url: without_password(url),
        cause,
    };
    if !url.starts_with("redis://") {
        return Err(bad("not an address of Redis".into()));
    }
    let info = url.into_connection_info();
    let info = info.map_err(|error| bad(error.to_string()))?;
    let address = format!("redis://{}", info.addr());
    let client = Client::open(info).map_err(|error| bad(error.to_string()))?;
    Ok((client, address))
}

/// An address without what stands before its `@`.
fn without_password(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, host)) => format!("redis://..@{host}"),
        None => url.to_owned(),
    }
}
