//! API keys: names, roles and quotas.

mod file;
mod quota;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub use file::KeysError;
use quota::Quota;

use crate::web::context::random;

/// Name of the key of `--api-key-file` or `PRL_API_KEY` in logs and metrics.
const DEFAULT_NAME: &str = "default";

/// API key with all roles. Has no `Debug`, so that it cannot be logged.
#[derive(Clone)]
pub struct ApiKey(SecretDigest);

impl ApiKey {
    /// Creates a key, trimmed of white space; `None` if it is empty.
    pub fn new(key: &str) -> Option<Self> {
        let key = key.trim();
        (!key.is_empty()).then(|| Self(SecretDigest::of(key.as_bytes())))
    }
}

/// What a key is allowed to do. Each route names the role that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reading: recommendations, catalogue, model.
    Ask,
    /// Writing: events and sessions.
    Write,
    /// Everything, administration included.
    Admin,
}

impl Role {
    /// The role in files and in the OpenAPI document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// SHA-256 of a key's secret. The secret itself is not kept.
#[derive(Clone)]
struct SecretDigest([u8; 32]);

impl SecretDigest {
    fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    fn from_hex(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        let is_hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hex {
            return None;
        }
        for (i, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Self(digest))
    }

    fn hex(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }
}

/// An entry of the keys.
pub(crate) struct Key {
    name: Arc<str>,
    digest: SecretDigest,
    roles: Vec<Role>,
    quota: Option<Arc<Quota>>,
}

impl Key {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether the key may use a route that needs this role.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.roles.contains(&role) || self.roles.contains(&Role::Admin)
    }

    /// Takes a request from the quota.
    ///
    /// # Errors
    /// Seconds until the next request is allowed.
    pub(crate) fn take(&self) -> Result<(), u64> {
        match &self.quota {
            Some(quota) => quota.take(std::time::Instant::now()),
            None => Ok(()),
        }
    }
}

/// The valid keys.
pub(crate) struct Keyring(Vec<Key>);

impl Keyring {
    /// Whether no key is configured at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key with this secret. Takes the same time whichever key matches, and if none does.
    pub(crate) fn find(&self, secret: &[u8]) -> Option<&Key> {
        let digest = SecretDigest::of(secret);
        let mut found = None;
        for key in &self.0 {
            if key.digest.0.ct_eq(&digest.0).into() {
                found = Some(key);
            }
        }
        found
    }
}

/// The keys of a server, replaced by [`reload`](Self::reload).
pub(crate) struct Keys {
    default: Option<ApiKey>,
    file: Option<PathBuf>,
    current: RwLock<Arc<Keyring>>,
}

impl Keys {
    /// The default key, if any, and those of the file, if any.
    ///
    /// # Errors
    /// If the file cannot be read or is invalid.
    pub(crate) fn open(default: Option<ApiKey>, file: Option<PathBuf>) -> Result<Self, KeysError> {
        let keys = Self {
            default,
            file,
            current: RwLock::new(Arc::new(Keyring(vec![]))),
        };
        keys.reload()?;
        Ok(keys)
    }

    /// Reads the file again. Keys that stay keep what is left of their quota. On failure the
    /// current keys stay.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(crate) fn reload(&self) -> Result<(), KeysError> {
        let old = self.current();
        let mut keys = Vec::new();
        if let Some(ApiKey(digest)) = &self.default {
            keys.push(Key {
                name: DEFAULT_NAME.into(),
                digest: digest.clone(),
                roles: vec![Role::Admin],
                quota: None,
            });
        }
        if let Some(file) = &self.file {
            keys.extend(file::read(file)?);
            file::check_unique(file, &keys)?;
        }
        for key in &mut keys {
            let same = old.0.iter().find(|old| old.name == key.name);
            if let Some(old) = same
                && old.quota == key.quota
            {
                key.quota.clone_from(&old.quota);
            }
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Keyring(keys));
        Ok(())
    }

    /// The keys that are valid now.
    pub(crate) fn current(&self) -> Arc<Keyring> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Path of the file, if there is one.
    pub(crate) fn file(&self) -> Option<&std::path::Path> {
        self.file.as_deref()
    }
}

/// Checks the text of a keys file.
///
/// # Errors
/// What is wrong with it.
pub fn check_keys(text: &str) -> Result<(), String> {
    file::parse(text).map(drop)
}

/// A random secret of 256 bits for a new key, and its SHA-256 as a keys file has it.
///
/// # Errors
/// If the operating system has no random bytes.
pub fn new_secret() -> std::io::Result<(String, String)> {
    let bytes: [u8; 32] = random();
    if bytes == [0; 32] {
        return Err(std::io::Error::other("no random bytes"));
    }
    let secret = format!("prl_{}", SecretDigest(bytes).hex());
    let digest = SecretDigest::of(secret.as_bytes()).hex();
    Ok((secret, digest))
}
